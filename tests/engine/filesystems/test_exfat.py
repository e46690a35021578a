"""The used map of exFAT with the cluster sizes that mkfs.exfat makes, against both oracles."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.filesystems.exfat import used_map
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.filesystems.oracle import Case, Tree, checker, fill, prove, thin_out
from tests.hashes import digest

pytestmark = pytest.mark.engine


@contextmanager
def _mounted(path: Path, options: str = "rw") -> Iterator[Path]:
    """The file mounted by exfat-fuse, which takes nothing but a block device."""
    folder = path.with_name(path.name + ".mount")
    folder.mkdir(exist_ok=True)
    device = run(["losetup", "--find", "--show", str(path)]).text.strip()
    try:
        run(["mount.exfat-fuse", "-o", options, device, str(folder)])
        try:
            yield folder
        finally:
            run(["umount", str(folder)])
            _wait_for_unmount(device)
    finally:
        run(["losetup", "--detach", device])
    folder.rmdir()


def _wait_for_unmount(device: str) -> None:
    """umount returns before the FUSE process has written its last blocks and let go of the device."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            os.close(os.open(device, os.O_RDWR | os.O_EXCL))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"{device} is still in use")


def _make(*options: str) -> Callable[[Path], None]:
    return lambda path: _format(path, *options)


def _format(path: Path, *options: str) -> None:
    run(["mkfs.exfat", *options, str(path)])


def _populate(path: Path) -> None:
    with _mounted(path) as folder:
        fill(folder / "old", 1, 12 * MIB, xattrs=False, links=False)
        for number in range(900):
            (folder / f"a name in the root directory {number}").touch()
        thin_out(folder / "old", 2)
        fill(folder / "new", 3, 4 * MIB, xattrs=False, links=False)


def _read_back(path: Path) -> Tree:
    """Names and content: exFAT has no links and no attributes, and exfat-fuse fails when asked for the latter."""
    with _mounted(path, "ro") as folder:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): digest(p) for p in files}


def _case(name: str, *options: str, size: int = 128 * MIB) -> Case:
    why = "we keep what is behind the last cluster"
    check = checker("fsck.exfat", "-n")
    return Case(
        name, size, _make(*options), _populate, _read_back, check, "exfat", may_exceed=1 * MIB + 64 * KIB, why_exceeding=why
    )


_CASES = [
    *(_case(f"clusters of {size} KiB", "-c", f"{size}K") for size in (1, 2, 4, 8, 16, 32, 64)),
    _case("clusters of 512 bytes, a bitmap of many clusters", "-c", "512"),
    _case("clusters of 512 KiB", "-c", "512K", size=640 * MIB),
    _case("packed without alignment", "--pack-bitmap"),
    _case("an odd number of sectors", size=128 * MIB - 9 * 512),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_both_oracles_agree(case: Case, tmp_path: Path) -> None:
    prove(case, tmp_path, used_map)
