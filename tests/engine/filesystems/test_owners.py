"""Damaged bytes of real file systems and the files that they cost: the right names, and only those.

Where a file lies is found by its content, which is random: no reader of file systems is asked for it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.filesystems.identify import identify
from rescue.filesystems.owners import Damage, owners
from rescue.model.extents import Extent, ExtentMap
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.filesystems.oracle import mounted, sparse_file
from tests.engine.filesystems.test_exfat import _mounted as exfat_mounted

pytestmark = pytest.mark.engine


@contextmanager
def _by_fuse(program: str, path: Path) -> Iterator[Path]:
    folder = path.with_name(path.name + ".mount")
    folder.mkdir(exist_ok=True)
    run([program, str(path), str(folder)])
    try:
        yield folder
    finally:
        run(["umount", str(folder)])
        folder.rmdir()


@contextmanager
def _by_mcopy(path: Path) -> Iterator[Path]:
    """A folder whose content is copied onto the FAT volume at the end."""
    folder = path.with_name(path.name + ".content")
    folder.mkdir()
    yield folder
    run(["mcopy", "-s", "-i", str(path), *map(str, sorted(folder.iterdir())), "::"], env={"LC_ALL": "C.UTF-8"})


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    make: tuple[str, ...]
    size: int
    fill: Callable[[Path], object]
    links: bool = True


_CASES = [
    _Case("ext4", ("mkfs.ext4", "-q", "-F"), 96 * MIB, mounted),
    _Case("ext4 with small blocks", ("mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "bigalloc,^resize_inode"), 96 * MIB, mounted),
    _Case("ext2", ("mkfs.ext2", "-q", "-F", "-b", "1024"), 64 * MIB, mounted),
    _Case("xfs", ("mkfs.xfs", "-q", "-f"), 320 * MIB, mounted),
    _Case("btrfs", ("mkfs.btrfs", "-q", "-f"), 160 * MIB, mounted),
    _Case("btrfs with SHA-256", ("mkfs.btrfs", "-q", "-f", "--csum", "sha256", "-n", "4096"), 160 * MIB, mounted),
    _Case("ntfs", ("mkntfs", "-q", "-F", "-Q"), 64 * MIB, lambda path: _by_fuse("ntfs-3g", path)),
    _Case(
        "ntfs with large clusters", ("mkntfs", "-q", "-F", "-Q", "-c", "65536"), 96 * MIB, lambda path: _by_fuse("ntfs-3g", path)
    ),
    _Case("fat32", ("mkfs.fat", "-F", "32"), 64 * MIB, _by_mcopy, links=False),
    _Case("fat16", ("mkfs.fat", "-F", "16"), 32 * MIB, _by_mcopy, links=False),
    _Case("exfat", ("mkfs.exfat",), 64 * MIB, exfat_mounted, links=False),
]


class _Volume:
    """A made volume, its files' content by path, and where bytes of it are."""

    def __init__(self, path: Path, files: dict[str, bytes]) -> None:
        self.path = path
        self.files = files
        self.data = path.read_bytes()
        # Content begins at sectors; so one look at each finds them all.
        self._sectors: dict[bytes, list[int]] = {}
        for start, end in self._not_zero():
            for at in range(start, end, 512):
                self._sectors.setdefault(self.data[at : at + 32], []).append(at)
        self.identity = identify(str(path), 0, path.stat().st_size)

    def _not_zero(self) -> Iterator[tuple[int, int]]:
        for start in range(0, len(self.data), 4096):
            if self.data[start : start + 4096] != bytes(len(self.data[start : start + 4096])):
                yield start, min(start + 4096, len(self.data))

    def sectors(self, content: bytes) -> list[int]:
        """The sectors that begin with this content."""
        return [at for at in self._sectors.get(content[:32], []) if self.data.startswith(content, at)]

    def places(self, content: bytes) -> list[int]:
        """Where these bytes are on the volume, at any place."""
        found, place = [], self.data.find(content)
        while place >= 0:
            found.append(place)
            place = self.data.find(content, place + 1)
        return found

    def place(self, path: str, offset: int = 0) -> int:
        """Where a 512 bytes of a file lie, which is one place only."""
        (place,) = self.sectors(self.files[path][offset : offset + 512])
        return place

    def damage(self, *bad: tuple[int, int], seconds: float = 60) -> Damage:
        """The owners of ranges, of which the bytes are noise in the copy that is asked: they must not be read."""
        ranges = ExtentMap(sorted(bad))
        with FileSource(self.path) as source:
            return owners(_Poisoned(source, ranges), self.identity, ranges, seconds=seconds)


class _Poisoned:
    """A Source that must not be read at some places."""

    def __init__(self, source: FileSource, bad: ExtentMap) -> None:
        self._source = source
        self._bad = bad
        self.size = source.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        assert not list(self._bad.overlapping(offset, offset + length)), "a bad range was read"
        return self._source.pread(length, offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)


def _tree(seed: int) -> dict[str, bytes]:
    chance = random.Random(seed)
    files = {f"many/file {n:03d}": chance.randbytes(chance.choice([5_000, 20_000, 70_000])) for n in range(120)}
    files |= {f"deep/one/two/{name}": chance.randbytes(300_000) for name in ("größer", "b", "c")}
    files["large"] = chance.randbytes(6 * MIB)
    files["top"] = chance.randbytes(100_000)
    return files


@pytest.fixture(scope="module", params=_CASES, ids=lambda case: case.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[_Case, _Volume]:
    """Each file system, filled."""
    case: _Case = request.param
    path = sparse_file(tmp_path_factory.mktemp("owners") / "volume", case.size)
    run([*case.make, str(path)], timeout=120)
    files = _tree(len(case.name))
    with case.fill(path) as folder:  # type: ignore[attr-defined]
        for name, content in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if case.links:
            os.link(folder / "top", folder / "deep" / "top again")
    return case, _Volume(path, files)


def test_a_damaged_sector_costs_its_file_and_no_other(made: tuple[_Case, _Volume]) -> None:
    _, volume = made
    for name in ("many/file 007", "deep/one/two/größer", "large"):
        for offset in (0, len(volume.files[name]) // 1024 * 512):
            place = volume.place(name, offset)
            damage = volume.damage((place, place + 512))
            assert damage == Damage(files=("/" + name,), file_bytes=512), name


def test_every_name_of_a_file_is_said(made: tuple[_Case, _Volume]) -> None:
    case, volume = made
    place = volume.place("top", 8192)
    names = volume.damage((place, place + 512)).files
    if case.name.startswith("btrfs") or not case.links:
        assert len(names) == 1
        assert names[0] in ("/top", "/deep/top again")
    else:
        assert names == ("/deep/top again", "/top")


def test_thousands_of_ranges_are_told_apart(made: tuple[_Case, _Volume]) -> None:
    _, volume = made
    chance = random.Random(3)
    hit = set(chance.sample(sorted(volume.files), 40)) - {"top"}
    ranges = []
    for name in sorted(hit):
        for offset in range(0, len(volume.files[name]) - 512, 4096):
            for place in volume.sectors(volume.files[name][offset : offset + 512]):
                ranges.append((place, place + 512))
    assert len(ranges) > 300
    damage = volume.damage(*ranges)
    assert set(damage.files) == {"/" + name for name in hit}
    assert (damage.file_bytes, damage.metadata, damage.unknown, damage.free) == (512 * len(ranges), 0, 0, 0)


def test_free_space_costs_nothing(made: tuple[_Case, _Volume]) -> None:
    case, volume = made
    start = volume.data.rfind(bytes(1 * MIB), 0, case.size - 6 * MIB)
    middle = start + 512 * KIB
    assert volume.damage((middle, middle + 4096)) == Damage(free=4096)


def test_the_start_of_the_volume_is_metadata_or_unknown_and_no_file(made: tuple[_Case, _Volume]) -> None:
    case, volume = made
    damage = volume.damage((0, 256 * KIB))
    assert damage.file_bytes < 256 * KIB
    if "btrfs" in case.name:  # its superblock is in there
        assert damage.notes
        assert damage.unknown
    else:
        assert not damage.files
        assert damage.unknown + damage.metadata + damage.free == 256 * KIB
        assert damage.notes
    assert volume.damage((0, case.size)).notes


def test_no_time_is_said(made: tuple[_Case, _Volume]) -> None:
    _, volume = made
    place = volume.place("large")
    damage = volume.damage((place, place + 512), seconds=0)
    assert not damage.files
    assert damage.unknown == 512
    assert "not enough time" in damage.notes[0]


def test_damage_of_structures_is_said_and_bounded(made: tuple[_Case, _Volume]) -> None:
    """Ranges all over the volume that hold no content: never a crash, never a file's content, always accounted for."""
    case, volume = made
    content = ExtentMap(
        sorted(
            (place, place + 512)
            for data in volume.files.values()
            for offset in range(0, len(data) - 511, 512)
            for place in volume.sectors(data[offset : offset + 512])
        )
    )
    chance = random.Random(9)
    used = [n for n in range(0, case.size, 4096) if any(volume.data[n : n + 4096]) and not list(content.overlapping(n, n + 4096))]
    assert used
    for place in chance.sample(used, min(len(used), 25)):
        damage = volume.damage((place, place + 4096))
        assert damage.file_bytes <= 4096
        assert damage.file_bytes + damage.metadata + damage.free + damage.unknown == 4096, damage


@pytest.mark.parametrize("case", [c for c in _CASES if c.name in ("ext4", "xfs", "ntfs", "fat32", "exfat")], ids=lambda c: c.name)
def test_a_damaged_folder_is_named(case: _Case, tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", case.size)
    run([*case.make, str(path)], timeout=120)
    with case.fill(path) as folder:  # type: ignore[attr-defined]
        (folder / "victim").mkdir()
        for number in range(60):
            (folder / "victim" / f"Unmistakable {number}").write_bytes(b"x")
        (folder / "other").mkdir()
        (folder / "other" / "file").write_bytes(random.Random(1).randbytes(9000))
    volume = _Volume(path, {})
    wide = case.name in ("ntfs", "exfat")
    # The longest part of a name that stands in one piece in every kind of directory entry.
    text = "Unmistakable".encode("utf-16-le" if wide else "latin-1") if case.name != "fat32" else "Unmis".encode("utf-16-le")
    places = [
        place for place in volume.places(text) if case.name != "ntfs" or volume.data.startswith(b"INDX", place // 4096 * 4096)
    ]
    # Journals hold copies of it, which cost nothing.
    found = [volume.damage((start, start + 512)) for start in sorted({place // 512 * 512 for place in places})[:60]]
    assert any("/victim/" in damage.files and damage.metadata + damage.unknown == 512 for damage in found)
    assert not [name for damage in found for name in damage.files if name.startswith("/other")]


def test_a_damaged_inode_costs_its_file(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", "-b", "4096", str(path)])
    with mounted(path) as folder:
        for number in range(100):
            (folder / f"file {number}").write_bytes(random.Random(number).randbytes(9000))
        inode = (folder / "file 50").stat().st_ino
    found = run(["debugfs", "-R", f"imap <{inode}>", str(path)]).text
    block = int(found.split("located at block")[1].split(",")[0])
    offset = int(found.split("offset")[1].strip(), 16)
    start = block * 4096 + offset // 512 * 512
    damage = _Volume(path, {}).damage((start, start + 512))
    assert "/file 50" in damage.files
    assert 1 <= len(damage.files) <= 2  # two inodes share a sector
    assert damage.metadata == 512


def test_a_damaged_record_of_the_mft_costs_its_file(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 64 * MIB)
    run(["mkntfs", "-q", "-F", "-Q", str(path)])
    with _by_fuse("ntfs-3g", path) as folder:
        for number in range(50):
            (folder / f"file {number:02d}").write_bytes(random.Random(number).randbytes(9000))
        inode = (folder / "file 20").stat().st_ino
    volume = _Volume(path, {})
    with FileSource(path) as source:
        start = int.from_bytes(source.pread(8, 48), "little") * 4096 + inode * 1024
    assert "file 20".encode("utf-16-le") in volume.data[start : start + 1024]
    damage = volume.damage((start + 512, start + 1024))
    assert damage.files == ("/file 20",)
    assert (damage.metadata, damage.unknown, damage.free) == (512, 0, 0)


def test_a_subvolume_and_a_snapshot_of_btrfs(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 160 * MIB)
    run(["mkfs.btrfs", "-q", "-f", "-n", "4096", str(path)])
    contents = {}
    with mounted(path) as folder:
        (folder / "below").mkdir()
        run(["btrfs", "subvolume", "create", str(folder / "below" / "home")])
        for number in range(300):
            contents[number] = random.Random(number).randbytes(8192)
            (folder / "below" / "home" / f"file {number}").write_bytes(contents[number])
        run(["btrfs", "subvolume", "snapshot", str(folder / "below" / "home"), str(folder / "snapshot")])
        (folder / "snapshot" / "file 5").write_bytes(random.Random(5000).randbytes(8192))
    volume = _Volume(path, {"old": contents[5], "new": random.Random(5000).randbytes(8192), "far": contents[299]})
    for name, shown in (("old", "/below/home/file 5"), ("new", "/snapshot/file 5"), ("far", "/below/home/file 299")):
        place = volume.place(name)
        assert shown in volume.damage((place, place + 512)).files, name
    # Every tree block has a twin: one of them may go without a loss.
    place = volume.place("far")
    for tree_block in volume.places(b"file 299")[:1]:
        start = tree_block // 4096 * 4096
        damage = volume.damage((place, place + 512), (start, start + 4096))
        assert "/below/home/file 299" in damage.files
        assert damage.metadata == 4096
        assert "cannot be read in any copy" not in str(damage.notes)
    both = [(tree_block // 4096 * 4096, tree_block // 4096 * 4096 + 4096) for tree_block in volume.places(b"file 299")]
    assert "cannot be read in any copy" in str(volume.damage((place, place + 512), *both).notes)


def test_what_is_not_known_is_unknown(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 1 * MIB)
    path.write_bytes(b"x" * MIB)
    damage = _Volume(path, {}).damage((0, 512), (4096, 8192))
    assert (damage.unknown, damage.files) == (512 + 4096, ())
    assert "cannot tell" in damage.notes[0]
    assert _Volume(path, {}).damage() == Damage()
    assert Extent(0, 0) not in ExtentMap()
