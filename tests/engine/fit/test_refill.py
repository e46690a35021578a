"""File systems that cannot shrink, made anew and filled by files: with everything that they can hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.engine.minimum import minimum_size
from rescue.engine.overlay import SourceBlocks
from rescue.engine.refill import refill
from rescue.engine.refill_compare import require_equal
from rescue.engine.resizing import Check, nothing
from rescue.errors import CancelledError, DamagedError, RefusedError, RescueError, UnsupportedError, UsageError
from rescue.filesystems.identify import identify
from rescue.filesystems.xfs_superblock import read_superblock
from rescue.model.source import SliceSource
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.devices.loops import attached
from tests.engine.filesystems.files.content import assert_same, fill_unix
from tests.engine.filesystems.oracle import describe, fill
from tests.engine.fit.volumes import START, Disk, make, opened
from tests.hashes import digest

pytestmark = pytest.mark.engine

OTHER_START = 5 * MIB


def _refill(disk: Disk, target: Path, size: int, folder: Path, check: Check = nothing) -> str:
    with disk.blocks() as blocks:
        return refill(
            blocks, disk.start, disk.end, disk.identity, str(target), OTHER_START, OTHER_START + size, folder=folder, check=check
        )


def _taken(folder: Path) -> int:
    return int(run(["du", "-s", "--block-size=1", str(folder)]).text.split()[0])


def _target(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.write(b"\xaa" * OTHER_START)
        file.truncate(OTHER_START + size)
        file.seek(OTHER_START + size)
        file.write(b"\xbb" * MIB)
    return path


def _features(path: Path, start: int, end: int) -> tuple[bytes, ...]:
    """Name, versions and features; not what the size decides."""
    with FileSource(path) as source:
        data = source.pread(512, start)
        assert not read_superblock(SliceSource(source, start, end)).untrusted
    return data[4:8], data[32:48], data[100:120], data[192:193], data[200:204], data[208:220]


XFS = {
    "as made today": (),
    "few features": ("-m", "finobt=0,reflink=0,rmapbt=0,inobtcount=0,bigtime=0", "-i", "size=1024,sparse=0", "-n", "size=8192"),
    "all features": ("-m", "rmapbt=1,reflink=1,bigtime=1,inobtcount=1"),
    "sectors of 4096": ("-s", "size=4096"),
}


@pytest.mark.parametrize("options", XFS.values(), ids=XFS)
def test_an_xfs_is_made_anew_with_all_it_holds(options: tuple[str, ...], tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "xfs", 2 * GIB)
    with attached(disk.path, "--offset", str(disk.start), "--sizelimit", str(2 * GIB)) as node:
        run(["mkfs.xfs", "-q", "-f", "-L", "some label", *options, node])
    disk = Disk(disk.path, disk.start, disk.end, identify(str(disk.path), disk.start, 2 * GIB))
    with opened(disk.path, disk.start, disk.end, "xfs") as root:
        (root / "everything").mkdir()
        fill_unix(root / "everything", many=200)
        # xfsrestore goes by whole paths, and there is an end to their length.
        run(["rm", "-r", str(root / "everything/names/deep")])
        (root / "top").write_text("top")
        root.chmod(0o750)
        os.setxattr(root, "user.of the root", b"yes")
        run(["xfs_io", "-c", "chproj 42", str(root / "top")])
        flags = _flagged(root)
    before = digest(disk.path)
    with disk.blocks() as blocks:
        least = minimum_size(blocks, disk.start, disk.end, disk.identity, folder=tmp_path)
    assert least.how == "refill"
    assert 300 * MIB <= least.bytes < GIB
    target = _target(tmp_path / "target", least.bytes)
    said = _refill(disk, target, least.bytes, tmp_path)
    assert "xfs made anew" in said
    assert digest(disk.path) == before
    assert identify(str(target), OTHER_START, least.bytes) == disk.identity
    assert _features(target, OTHER_START, OTHER_START + least.bytes) == _features(disk.path, disk.start, disk.end)
    with (
        opened(disk.path, disk.start, disk.end, "xfs", "ro,nouuid") as old,
        opened(target, OTHER_START, OTHER_START + least.bytes, "xfs", "ro,nouuid") as new,
    ):
        # What was reserved and never written to is a hole afterwards; holes are not filled.
        assert_same(new, old, holes=False)
        assert _taken(new) <= _taken(old) + MIB
        assert new.stat().st_mode == old.stat().st_mode
        assert os.getxattr(new, "user.of the root") == b"yes"
        assert "42" in run(["xfs_io", "-r", "-c", "lsproj", str(new / "top")]).text
        assert _flags(new) == flags
    with target.open("rb") as file:
        assert file.read(OTHER_START) == b"\xaa" * OTHER_START
        file.seek(OTHER_START + least.bytes)
        assert file.read() == b"\xbb" * MIB


def _flagged(root: Path) -> dict[str, str]:
    """Put files with flags there, in a folder that nobody may change."""
    (root / "flags").mkdir()
    for flag in ("i", "a", "A", "d", "S", ""):
        (root / f"flags/file {flag}").write_text(flag)
        if flag:
            run(["chattr", f"+{flag}", str(root / f"flags/file {flag}")])
    run(["chattr", "+i", str(root / "flags")])
    return _flags(root)


def _flags(root: Path) -> dict[str, str]:
    # What says how a file is stored (e: in extents) is not of interest.
    return {
        str(path.relative_to(root)): run(["lsattr", "-d", str(path)]).text.split()[0].replace("e", "").replace("-", "")
        for path in (root / "flags", *(root / "flags").iterdir())
    }


def test_an_ext_with_small_blocks_goes_onto_large_sectors_with_its_flags(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "ext4-1k", 256 * MIB)
    with opened(disk.path, disk.start, disk.end, "ext4") as root:
        fill(root / "files", 1, 20 * MIB)
        flags = _flagged(root)
        tree = describe(root)
    assert {"", "i", "a", "A", "d", "S"} <= set(flags.values())
    target = _target(tmp_path / "target", 256 * MIB)
    with disk.blocks() as blocks:
        places = (disk.start, disk.end, disk.identity, str(target), OTHER_START, OTHER_START + 256 * MIB)
        refill(blocks, *places, sector_size=4096, folder=tmp_path)
    with opened(target, OTHER_START, OTHER_START + 256 * MIB, "ext4", "ro") as root:
        assert describe(root) == tree
        assert _flags(root) == flags


def test_a_journal_that_is_too_small_for_larger_blocks_does_not_come_along(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"")
    os.truncate(path, 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=1", str(path)])
    target = _target(tmp_path / "target", 64 * MIB)
    identity = identify(str(path), 0, 64 * MIB)
    with FileSource(path) as source:
        places = (0, 64 * MIB, identity, str(target), OTHER_START, OTHER_START + 64 * MIB)
        assert "compared" in refill(SourceBlocks(source), *places, sector_size=4096, folder=tmp_path)


def test_what_was_written_is_compared_as_the_medium_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the page cache proves nothing."""
    disk = make(tmp_path / "disk", "xfs", 400 * MIB)
    with opened(disk.path, disk.start, disk.end, "xfs") as root:
        fill(root / "files", 1, 60 * MIB)
    target = _target(tmp_path / "target", 400 * MIB)
    compared = require_equal
    cached: list[int] = []

    def compare(old: Path, new: Path, check: Check) -> None:
        out = run(["fincore", "--bytes", "--noheadings", "--output", "RES", str(target)]).text
        cached.append(int(out.split()[0]))
        compared(old, new, check)

    monkeypatch.setattr("rescue.engine.refill.require_equal", compare)
    _refill(disk, target, 400 * MIB, tmp_path)
    assert cached[0] < 8 * MIB  # what mounting it took


def test_what_the_programs_leave_out_is_found(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "xfs", GIB)
    with opened(disk.path, disk.start, disk.end, "xfs") as root:
        (root / "everything").mkdir()
        fill_unix(root / "everything", many=2)
    target = _target(tmp_path / "target", 600 * MIB)
    with pytest.raises(DamagedError, match=r"it is in one of the two only: d+/\d\d\dd+\."):
        _refill(disk, target, 600 * MIB, tmp_path)


def test_shared_blocks_count_as_often_as_they_are_shared(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "xfs", GIB)
    with disk.blocks() as blocks:
        empty = minimum_size(blocks, disk.start, disk.end, disk.identity, folder=tmp_path).bytes
    with opened(disk.path, disk.start, disk.end, "xfs") as root:
        (root / "one").write_bytes(os.urandom(50 * MIB))
        for number in range(10):
            run(["cp", "--reflink=always", str(root / "one"), str(root / f"copy {number}")])
    with disk.blocks() as blocks:
        least = minimum_size(blocks, disk.start, disk.end, disk.identity, folder=tmp_path).bytes
    assert empty < 400 * MIB
    assert least >= 11 * 50 * MIB
    target = _target(tmp_path / "target", least)
    with pytest.raises(RefusedError, match=r"cannot be smaller than \d+ bytes"):
        _refill(disk, target, 400 * MIB, tmp_path)
    assert _refill(disk, target, least, tmp_path)


def _small_xfs(tmp_path: Path) -> Disk:
    disk = make(tmp_path / "disk", "xfs", 400 * MIB)
    with opened(disk.path, disk.start, disk.end, "xfs") as root:
        for number in range(20):
            (root / str(number)).write_bytes(os.urandom(100_000))
    return disk


def test_too_small_is_refused_before_the_first_write(tmp_path: Path) -> None:
    disk = _small_xfs(tmp_path)
    target = _target(tmp_path / "target", 310 * MIB)
    before = digest(target)
    with pytest.raises(RefusedError, match=r"cannot be smaller than"):
        _refill(disk, target, 310 * MIB, tmp_path)
    assert digest(target) == before


def test_a_damaged_one_is_refused_before_the_first_write(tmp_path: Path) -> None:
    disk = _small_xfs(tmp_path)
    with disk.path.open("r+b") as file:
        file.seek(disk.start + 4096)  # the root of free space of the first group
        file.write(os.urandom(8192))
    target = _target(tmp_path / "target", 380 * MIB)
    before = digest(target)
    with pytest.raises(RescueError):
        _refill(disk, target, 380 * MIB, tmp_path)
    assert digest(target) == before


def test_it_can_be_stopped(tmp_path: Path) -> None:
    disk = _small_xfs(tmp_path)
    target = _target(tmp_path / "target", 400 * MIB)
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        _refill(disk, target, 400 * MIB, tmp_path, stop)


def test_a_copy_that_is_not_equal_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _small_xfs(tmp_path)
    target = _target(tmp_path / "target", 400 * MIB)
    monkeypatch.setattr(
        "rescue.engine.refill._DUMP",
        'cp -a "$1/." "$2/"; printf x | dd of="$2/7" bs=1 seek=5 conv=notrunc; touch -r "$1/7" "$2/7"',
    )
    with pytest.raises(DamagedError, match=r"not equal to what it was made from: its content differs: 7\."):
        _refill(disk, target, 400 * MIB, tmp_path)


def test_f2fs_asks_for_a_driver_or_is_filled(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "f2fs", 256 * MIB)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(os.urandom(MIB))
    with attached(disk.path, "--offset", str(disk.start), "--sizelimit", str(256 * MIB)) as node:
        run(["sload.f2fs", "-f", str(tree), node])
    target = _target(tmp_path / "target", 200 * MIB)
    if "f2fs" in Path("/proc/filesystems").read_text().split():
        assert _refill(disk, target, 200 * MIB, tmp_path)
        assert identify(str(target), OTHER_START, 200 * MIB) == disk.identity
    else:
        before = digest(target)
        with pytest.raises(UnsupportedError, match="The kernel has no driver for f2fs"):
            _refill(disk, target, 200 * MIB, tmp_path)
        assert digest(target) == before


def test_an_exfat_and_a_fat_come_from_the_middle_of_a_disk(tmp_path: Path) -> None:
    for kind, command in (("vfat", ["mkfs.fat", "-F", "16", "-i", "12345678"]), ("exfat", ["mkfs.exfat", "-L", "name"])):
        disk_path, target = tmp_path / f"{kind} disk", tmp_path / f"{kind} target"
        with disk_path.open("wb") as file:
            file.truncate(START + 64 * MIB)
        with attached(disk_path, "--offset", str(START)) as node:
            run([*command, node])
        disk = Disk(disk_path, START, START + 64 * MIB, identify(str(disk_path), START, 64 * MIB))
        assert disk.identity.type == kind
        _target(target, 32 * MIB)
        assert "compared" in _refill(disk, target, 32 * MIB, tmp_path)
        assert identify(str(target), OTHER_START, 32 * MIB) == disk.identity


@pytest.mark.parametrize(
    ("kind", "size", "error"), [("btrfs", MIB, UnsupportedError), ("xfs", 0, UsageError), ("xfs", 77, UsageError)]
)
def test_what_makes_no_sense_is_refused(kind: str, size: int, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(MIB))
    with FileSource(tmp_path / "disk") as source, pytest.raises(error):
        refill(SourceBlocks(source), 0, MIB, Identity(kind), str(tmp_path / "target"), 0, size, folder=tmp_path)
