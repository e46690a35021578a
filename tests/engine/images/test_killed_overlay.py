"""A process that is killed while it holds an overlay which it serves itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.processes import children_of, is_alive

pytestmark = pytest.mark.engine


_HOLDS_DIRTY = """
import os, sys, time
from pathlib import Path
from rescue.engine.overlay import SourceBlocks, volume_overlay
from rescue.images.nbd.changed import Changed
from rescue.system.blockfile import FileSource
from rescue.system.mounts import in_private_mounts, mounted
source, folder, how = FileSource(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
keep = Changed.pwrite

def slowly(self, data, offset):  # so that it is killed before all is written
    time.sleep(0.05)
    keep(self, data, offset)

Changed.pwrite = slowly

def hold(path):
    with open(path, "wb" if how == "mounted" else "r+b") as file:
        for number in range(256):
            os.pwrite(file.fileno(), os.urandom(4096), (number + 100) << 17)
        print("held", flush=True)
        if how in ("open", "mounted"):
            time.sleep(1000)

def mount(path):
    with mounted(path, folder, "ext4", ["rw"]):
        hold(folder / "file")

with source, volume_overlay(SourceBlocks(source), 0, source.size) as overlay:
    in_private_mounts(lambda: mount(overlay.path)) if how == "mounted" else hold(overlay.path)
    if how == "settling":
        overlay.settle()
        print("done", flush=True)
print("done", flush=True)
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """The folders of pytest have names that are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="p-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("how", ["open", "mounted", "settling", "closing"])
def test_a_killed_process_never_waits_for_its_own_overlay(how: str, tmp_path: Path, short_folder: Path) -> None:
    """It has written what the kernel did not write out yet, and only itself could answer."""
    disk, point = tmp_path / "disk", tmp_path / "point"
    disk.touch()
    os.truncate(disk, 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(disk)])
    before = disk.read_bytes()
    point.mkdir()
    command = [sys.executable, "-c", _HOLDS_DIRTY, str(disk), str(point), how]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(short_folder)})
    assert job.stdout is not None
    try:
        assert job.stdout.readline() == b"held\n"
        children = children_of(job.pid)
        time.sleep(0.5)
        job.kill()
        job.wait(60)
        assert job.stdout.read() == b""
        end = time.monotonic() + 60
        while any(is_alive(child) for child in children):
            assert time.monotonic() < end
            time.sleep(0.01)
        subprocess.run(["sync"], timeout=300, check=True)
    finally:
        job.stdout.close()
        for child in children_of(job.pid):  # what it waits for; the machine is not left in that state
            os.kill(child, signal.SIGKILL)
        for mount in short_folder.glob("rescue-*/file-*"):
            subprocess.run(["fusermount3", "-uz", str(mount)], check=False)
    assert disk.read_bytes() == before
    assert not any(str(tmp_path) in line for line in Path("/proc/self/mounts").read_text().splitlines())
