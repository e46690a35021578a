"""What mounts of our own mean for what others mount."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event, Thread

import pytest

from rescue.system.mounts import in_private_mounts
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.loops import attached, mounted, sparse

pytestmark = pytest.mark.engine


def test_what_others_unmount_is_unmounted(tmp_path: Path) -> None:
    """A stick that was unmounted during a backup's proof is about to be pulled: nothing of ours may keep it mounted."""
    disk, point, inside = sparse(tmp_path / "disk", 16 * MIB), tmp_path / "point", tmp_path / "inside"
    inside.mkdir()
    run(["mkfs.ext4", "-q", "-F", str(disk)])
    began, end = Event(), Event()

    def hold() -> None:
        run(["mount", "-t", "tmpfs", "tmpfs", str(inside)])
        began.set()
        end.wait(60)

    thread = Thread(target=lambda: in_private_mounts(hold))
    with attached(disk) as device:
        in_use = Path("/sys/fs/ext4") / Path(device).name
        with mounted(device, point):
            thread.start()
            assert began.wait(60)
            assert in_use.exists()
            assert not os.path.ismount(inside)
        try:
            assert not in_use.exists()
        finally:
            end.set()
            thread.join()
    run(["e2fsck", "-fn", str(disk)])
