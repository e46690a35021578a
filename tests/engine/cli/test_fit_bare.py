"""A file system, or LUKS and LVM, on a disk without a table: onto a smaller and a larger one, like a partition."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import mounted, sparse
from tests.engine.volumes.stacks import ext4, group
from tests.hashes import digest

pytestmark = pytest.mark.engine

_MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "ntfs": ("mkfs.ntfs", "-q", "-F", "-f"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "vfat": ("mkfs.fat", "-F", "32"),
}
_SOUND = {"ext4": ("e2fsck", "-f", "-n"), "btrfs": ("btrfs", "check", "--readonly"), "xfs": ("xfs_repair", "-n")}


def _filled(path: Path, kind: str, size: int, megabytes: int) -> dict[str, bytes]:
    files = {f"file-{number}": os.urandom(4 * MIB) for number in range(megabytes // 4)}
    sparse(path, size)
    run([*_MKFS[kind], str(path)])
    if kind in ("ntfs", "vfat"):
        for name, content in files.items():
            (path.parent / name).write_bytes(content)
            copy = ["ntfscp", "-q", str(path)] if kind == "ntfs" else ["mcopy", "-i", str(path)]
            run([*copy, str(path.parent / name), name if kind == "ntfs" else f"::{name}"])
        return files
    with loop_device(str(path), offset=0, size=size, writable=True) as node, mounted(node, path.parent / "old") as point:
        for name, content in files.items():
            (point / name).write_bytes(content)
    return files


def _read(path: Path, kind: str, names: dict[str, bytes]) -> tuple[dict[str, bytes], int]:
    """The files, and how large the file system is."""
    if kind == "vfat":
        run(["fsck.fat", "-n", str(path)])
        sectors = int.from_bytes(path.open("rb").read(36)[32:], "little")
        return {name: run(["mtype", "-i", str(path), f"::{name}"]).stdout for name in names}, sectors * 512
    with loop_device(str(path), offset=0, size=path.stat().st_size) as node:
        if kind == "ntfs":
            run(["ntfsfix", "-n", node])
            sectors = int.from_bytes(Path(node).read_bytes()[40:48], "little")
            return {name: run(["ntfscat", node, name]).stdout for name in names}, sectors * 512
        run([*_SOUND[kind], node])
        with mounted(node, path.parent / "new", "-o", "ro") as point:
            found = os.statvfs(point)
            return {name: (point / name).read_bytes() for name in names}, found.f_blocks * found.f_frsize


@pytest.mark.parametrize("how", ["restore", "clone"])
@pytest.mark.parametrize("kind", _MKFS)
def test_a_file_system_on_the_whole_disk(kind: str, how: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    files = _filled(disk, kind, 1500 * MIB, 120)
    before = digest(disk)
    rescue = Rescue(tmp_path / "jobs")
    source = disk
    if how == "restore":
        (tmp_path / "store").mkdir()
        rescue.ok("backup", disk, tmp_path / "store", "--name", "x", "--no-verify")
        source = tmp_path / "store" / "x.img.zst"
    for size in (900 * MIB, 2500 * MIB):
        target = sparse(tmp_path / f"target-{size}.raw", size)
        told = rescue.ok(how, source, target, "--fit", "auto", "--yes", "--dry-run").out
        # FAT is made anew on the target, and what grows does so there.
        assert ("of memory until that is done" in " ".join(told.split())) == (size == 900 * MIB and kind != "vfat")
        rescue.ok(how, source, target, "--fit", "auto", "--yes")
        found, length = _read(target, kind, files)
        assert found == files
        assert 0.85 * size < length <= size
    assert digest(disk) == before


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_is_cut_off_does_not_look_whole(kind: str, tmp_path: Path) -> None:
    disk, target = tmp_path / "disk.raw", tmp_path / "target.raw"
    files = _filled(disk, kind, 1500 * MIB, 400)
    _filled(target, "ext4", 900 * MIB, 4)
    rescue = Rescue(tmp_path / "jobs")
    command = rescue.start("clone", disk, target, "--fit", "auto", "--yes")
    job = rescue.wait_until(60 * MIB)
    os.kill(rescue.pid(job), signal.SIGKILL)
    command.communicate()
    assert not run(["blkid", "-p", str(target)], ok=(0, 2)).stdout
    rescue.forget()
    rescue.ok("clone", disk, target, "--fit", "auto", "--yes")
    assert _read(target, kind, files)[0] == files


def test_lvm_on_the_whole_disk(tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk.raw", 600 * MIB)
    made = group(tmp_path, "vg0", [disk], (("root", "-L", "500M"),))
    root = ext4(tmp_path, "root", 500 * MIB, 24)
    made.write("root", root.file)
    rescue = Rescue(tmp_path / "jobs")
    target = sparse(tmp_path / "target.raw", 200 * MIB)
    rescue.ok("clone", disk, target, "--yes")
    shown = rescue.ok("disks", target).out
    assert "ext4" in shown
    assert "LVM" in shown
