"""Volumes that fill a larger partition, by their own tools: whole, equal, and nothing beside them touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.engine.grow import grow
from rescue.engine.hidden_sectors import set_hidden_sectors
from rescue.errors import CancelledError, DamagedError, FormatError, UsageError
from rescue.filesystems.identify import identify
from rescue.filesystems.maps import used_map
from rescue.model.source import SliceSource
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.devices.loops import attached
from tests.engine.filesystems.oracle import describe, fill
from tests.engine.fit.volumes import START, Disk, make, opened

pytestmark = pytest.mark.engine

KINDS = ("ext4", "ext4-1k", "ext4-old", "ext2", "xfs", "btrfs", "btrfs-xxhash", "ntfs")
NOISE = os.urandom(MIB)


def _larger(disk: Disk, size: int) -> int:
    """Give the partition more room, with noise behind it; its new end."""
    end = disk.start + size
    with disk.path.open("r+b") as file:
        file.truncate(disk.end)
        file.truncate(end)
        file.seek(end)
        file.write(NOISE)
    return end


def _beside(disk: Disk, end: int) -> tuple[bytes, bytes]:
    with disk.path.open("rb") as file:
        before = file.read(disk.start)
        file.seek(end)
        return before, file.read()


@pytest.mark.parametrize("kind", KINDS)
def test_it_fills_its_partition(kind: str, tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", kind, 400 * MIB)
    driver = disk.identity.type
    with opened(disk.path, disk.start, disk.end, driver) as folder:
        fill(folder / "files", 1, 60 * MIB)
        tree = describe(folder)
    end = _larger(disk, 2 * GIB)
    beside = _beside(disk, end)
    said = grow(str(disk.path), disk.start, end, disk.identity)
    assert said == f"{driver} fills its partition of 2.0 GiB."
    assert _beside(disk, end) == beside
    assert identify(str(disk.path), disk.start, 2 * GIB) == disk.identity
    with FileSource(disk.path) as source:
        used = used_map(SliceSource(source, disk.start, end), disk.identity, path="", offset=0)
    assert not used.whole_because
    assert used.extents.total < 400 * MIB
    with opened(disk.path, disk.start, end, driver, "ro") as folder:
        found = os.statvfs(folder)
        assert found.f_blocks * found.f_frsize > 1.8 * GIB
        assert describe(folder) == tree
    # Again: there is nothing left to do, and that is no failure.
    assert grow(str(disk.path), disk.start, end, disk.identity) == said


def test_f2fs_fills_its_partition(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "f2fs", 256 * MIB)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(NOISE)
    with attached(disk.path, "--offset", str(disk.start), "--sizelimit", str(256 * MIB)) as node:
        run(["sload.f2fs", "-f", str(tree), node])
    end = _larger(disk, GIB)
    assert "fills its partition" in grow(str(disk.path), disk.start, end, disk.identity)
    assert identify(str(disk.path), disk.start, GIB) == disk.identity
    with FileSource(disk.path) as source:
        blocks = int.from_bytes(source.pread(8, disk.start + 1024 + 36), "little")
    assert GIB - 4 * MIB <= blocks * 4096 <= GIB


def test_swap_fills_its_partition(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(START + 64 * MIB)
    with attached(path, "--offset", str(START), "--sizelimit", str(16 * MIB)) as node:
        run(["mkswap", "-L", "swap here", node])
    identity = identify(str(path), START, 16 * MIB)
    grow(str(path), START, START + 64 * MIB, identity)
    assert identify(str(path), START, 64 * MIB) == identity
    with FileSource(path) as source:
        assert int.from_bytes(source.pread(4, START + 1028), "little") == 64 * MIB // 4096 - 1


@pytest.mark.parametrize("kind", ["vfat", "exfat", "", "zfs_member"])
def test_what_cannot_grow_says_so_and_is_not_touched(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(NOISE)
    assert "stays as it is" in grow(str(path), 0, MIB, Identity(kind))
    assert path.read_bytes() == NOISE


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "ntfs", "f2fs", "swap"])
def test_noise_is_no_file_system(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(NOISE * 4)
    with pytest.raises(Exception, match=r"\w") as caught:
        grow(str(path), 0, 4 * MIB, Identity(kind))
    assert caught.type.__module__ == "rescue.errors"
    assert path.read_bytes() == NOISE * 4


def test_a_damaged_ext_is_refused(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "ext4", 400 * MIB)
    said = run(["dumpe2fs", f"{disk.path}?offset={disk.start}"]).text
    table = int(next(line for line in said.splitlines() if "Inode table at" in line).split("at ")[1].split("-")[0])
    size = int(next(line for line in said.splitlines() if "Block size" in line).split()[-1])
    with disk.path.open("r+b") as file:
        file.seek(disk.start + table * size)
        file.write(os.urandom(3 * 4096))
    end = _larger(disk, GIB)
    with pytest.raises(DamagedError, match="damaged beyond"):
        grow(str(disk.path), disk.start, end, disk.identity)


def test_it_can_be_stopped(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "ext4", 400 * MIB)
    end = _larger(disk, GIB)

    def stop() -> None:
        raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        grow(str(disk.path), disk.start, end, disk.identity, check=stop)


@pytest.mark.parametrize(("start", "end"), [(1, MIB), (0, MIB - 1), (MIB, MIB), (MIB, 0)])
def test_what_no_partition_can_have_is_refused(start: int, end: int, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(NOISE)
    with pytest.raises(UsageError):
        grow(str(tmp_path / "disk"), start, end, Identity("ext4"))


def _with_copy(kind: str) -> tuple[int, ...]:
    """Where the boot sectors of a volume of 64 MiB are."""
    return {"ntfs": (0, 64 * MIB - 512), "fat32": (0, 6 * 512), "fat16": (0,), "exfat": (0, 12 * 512)}[kind]


@pytest.mark.parametrize("kind", ["ntfs", "fat32", "fat16", "exfat"])
@pytest.mark.parametrize("sector", [512, 4096])
def test_boot_sectors_say_where_the_partition_begins(kind: str, sector: int, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.write(NOISE * 3)
        file.truncate(START + 64 * MIB)
        file.seek(START + 64 * MIB)
        file.write(NOISE)
    commands = {
        "ntfs": ["mkntfs", "-q", "-F", "-Q", "-p", "77"],
        "fat32": ["mkfs.fat", "-F", "32", "-s", "1", "-h", "77"],
        "fat16": ["mkfs.fat", "-F", "16", "-h", "77"],
        "exfat": ["mkfs.exfat"],
    }
    with attached(path, "--offset", str(START), "--sizelimit", str(64 * MIB)) as node:
        run([*commands[kind], node])
    identity = identify(str(path), START, 64 * MIB)
    before = path.read_bytes()
    with FileSource(path) as source, FileSink(path) as sink:
        said = set_hidden_sectors(source, sink, START, START + 64 * MIB, sector, identity)
    assert str(START // sector) in said
    after = path.read_bytes()
    place, length = (64, 8) if kind == "exfat" else (28, 4)
    allowed = set()
    for boot in _with_copy(kind):
        at = START + boot + place
        assert after[at : at + length] == (START // sector).to_bytes(length, "little")
        assert before[at : at + length] != after[at : at + length]
        allowed |= set(range(at, at + length))
        if kind == "exfat":
            allowed |= set(range(START + boot + 11 * 512, START + boot + 12 * 512))
    changed = [index for index in range(START, len(after)) if before[index] != after[index]] if before != after else []
    assert set(changed) <= allowed
    assert after[:START] == before[:START]
    tool = {"ntfs": ["ntfsfix", "-n"], "exfat": ["fsck.exfat", "-n"]}.get(kind, ["fsck.fat", "-n"])
    with attached(path, "--offset", str(START), "--sizelimit", str(64 * MIB)) as node:
        run([*tool, node])
    with FileSource(path) as source, FileSink(path) as sink:
        assert set_hidden_sectors(source, sink, START, START + 64 * MIB, sector, identity) == ""
    assert path.read_bytes() == after


def test_other_file_systems_have_no_such_field(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(NOISE)
    with FileSource(path) as source, FileSink(path) as sink:
        assert set_hidden_sectors(source, sink, 0, MIB, 512, Identity("ext4")) == ""
        for kind in ("ntfs", "exfat"):
            with pytest.raises(FormatError):
                set_hidden_sectors(source, sink, 0, MIB, 512, Identity(kind))
    assert path.read_bytes() == NOISE
