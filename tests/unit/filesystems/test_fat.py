"""FAT12, FAT16 and FAT32 written field by field from Microsoft's specification, so that every used byte is known."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.filesystems.fat import used_map
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from tests.examples import examples
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume, bears, damaged, refused


@dataclass(frozen=True)
class _Shape:
    """A FAT volume to write. ``tail`` are bytes behind the last sector of the file system."""

    bits: int
    clusters: int
    sector: int = 512
    factor: int = 1
    reserved: int = 1
    fats: int = 2
    root_entries: int = 112
    rest_sectors: int = 0
    tail: int = 0

    @property
    def fat_sectors(self) -> int:
        return -(-(self.clusters + 2) * self.bits // (8 * self.sector))

    @property
    def data_start(self) -> int:
        root = -(-self.root_entries * 32 // self.sector)
        return (self.reserved + self.fats * self.fat_sectors + root) * self.sector

    @property
    def sectors(self) -> int:
        return self.data_start // self.sector + self.clusters * self.factor + self.rest_sectors

    @property
    def size(self) -> int:
        return self.sectors * self.sector + self.tail


def _write(shape: _Shape, entries: dict[int, int], *, extended_flags: int = 0) -> SparseVolume:
    volume = SparseVolume(shape.size)
    wide = shape.bits == 32
    small = shape.sectors < 65_536 and not wide
    boot = bytearray(512)
    struct.pack_into(
        "<HBHBHHBH",
        boot,
        11,
        shape.sector,
        shape.factor,
        shape.reserved,
        shape.fats,
        shape.root_entries,
        shape.sectors if small else 0,
        0xF8,
        0 if wide else shape.fat_sectors,
    )
    struct.pack_into("<I", boot, 32, 0 if small else shape.sectors)
    if wide:
        struct.pack_into("<IHHI", boot, 36, shape.fat_sectors, extended_flags, 0, 2)
    boot[510:] = b"\x55\xaa"
    volume.write(bytes(boot), 0)
    last = (1 << min(shape.bits, 28)) - 1
    for copy in range(shape.fats):
        _write_entries(volume, shape, copy, {0: last & ~0xFF | 0xF8, 1: last, **entries})
    return volume


def _write_entries(volume: SparseVolume, shape: _Shape, copy: int, entries: dict[int, int]) -> None:
    start = (shape.reserved + copy * shape.fat_sectors) * shape.sector
    for number, value in entries.items():
        if shape.bits == 12:
            place = start + number * 3 // 2
            old = int.from_bytes(volume.pread(2, place), "little")
            new = old & 0x000F | value << 4 if number % 2 else old & 0xF000 | value
            volume.write(new.to_bytes(2, "little"), place)
        else:
            volume.write(value.to_bytes(shape.bits // 8, "little"), start + number * shape.bits // 8)


def _expected(shape: _Shape, clusters: list[int]) -> ExtentMap:
    size = shape.factor * shape.sector
    end = shape.data_start + shape.clusters * size
    parts = [(shape.data_start + (n - 2) * size, shape.data_start + (n - 1) * size) for n in sorted(clusters)]
    return ExtentMap([(0, shape.data_start), *parts, (end, shape.size)])


_SHAPES = [
    _Shape(12, 100),
    _Shape(12, 2847, root_entries=224),  # the 1.44 MB floppy
    _Shape(12, 4084, factor=2, rest_sectors=1),
    _Shape(12, 37, sector=4096, factor=128, fats=1, tail=12_345),
    _Shape(16, 4085, factor=1),
    _Shape(16, 20_000, sector=1024, factor=4, reserved=9, root_entries=512, rest_sectors=3),
    _Shape(16, 65_524, sector=2048, factor=64, fats=3),
    _Shape(32, 65_525, root_entries=0, reserved=32),
    _Shape(32, 500, root_entries=0, reserved=32, factor=8),  # fewer than the specification asks for, as on EFI partitions
    _Shape(32, 700_001, root_entries=0, reserved=37, fats=1, factor=128, rest_sectors=77, tail=100),
]


@pytest.mark.parametrize("shape", _SHAPES)
def test_every_entry_that_is_not_zero_is_a_used_cluster(shape: _Shape) -> None:
    last = shape.clusters + 1
    used = [2, 3, 5, 6, 9, last // 2, last - 2, last]
    end = (1 << min(shape.bits, 28)) - 1
    volume = _write(shape, {n: end if n % 2 else 7 for n in used})
    answer = used_map(volume)
    assert not answer.whole_because
    assert answer.extents == _expected(shape, used)


@settings(deadline=None)
@given(st.sampled_from(_SHAPES[:5]), st.sets(st.integers(2, 101)))
def test_any_set_of_clusters(shape: _Shape, numbers: set[int]) -> None:
    numbers = {n for n in numbers if n < shape.clusters + 2}
    assert used_map(_write(shape, dict.fromkeys(numbers, 0xABC))).extents == _expected(shape, list(numbers))


@pytest.mark.parametrize(
    ("shape", "entry"),
    [(_SHAPES[4], 0x7FFF), (_SHAPES[4], 0xBFFF), (_SHAPES[7], 0x07FFFFFF), (_SHAPES[7], 0x0BFFFFFF)],
)
def test_the_bits_of_entry_one_say_dirty(shape: _Shape, entry: int) -> None:
    answer = used_map(_write(shape, {1: entry}))
    assert "dirty" in answer.whole_because
    assert answer.extents == ExtentMap([(0, shape.size)])


@pytest.mark.parametrize(("shape", "place"), [(_SHAPES[0], 0x25), (_SHAPES[4], 0x25), (_SHAPES[7], 0x41)])
def test_the_boot_sector_says_dirty(shape: _Shape, place: int) -> None:
    volume = _write(shape, {2: 3})
    volume.write(b"\x01", place)
    assert "dirty" in used_map(volume).whole_because


def test_copies_of_the_table_that_differ_are_whole() -> None:
    shape = _SHAPES[5]
    volume = _write(shape, {2: 3})
    _write_entries(volume, shape, 1, {19_000: 4})
    assert "copies" in used_map(volume).whole_because


def test_only_the_active_table_counts_without_mirroring() -> None:
    shape = _SHAPES[7]
    volume = _write(shape, {2: 3}, extended_flags=0x81)
    _write_entries(volume, shape, 1, {9: 4})
    assert used_map(volume).extents == _expected(shape, [2, 9])


def test_an_unknown_fat32_version_is_whole() -> None:
    volume = _write(_SHAPES[7], {2: 3})
    volume.write(b"\x01", 42)
    assert "version" in used_map(volume).whole_because


@pytest.mark.parametrize(
    ("place", "data", "words"),
    [
        (11, b"\x00\x01", "sector size"),
        (13, b"\x03", "sectors in a cluster"),
        (13, b"\x00", "sectors in a cluster"),
        (14, b"\x00\x00", "reserved"),
        (16, b"\x00", "no table"),
        (17, b"\x00\x00", "root directory"),
        (19, b"\xff\xff", "do not fit"),
        (21, b"\x00", "media byte"),
        (22, b"\x01\x00", "no table entries"),
    ],
)
def test_a_boot_sector_that_makes_no_sense_is_refused(place: int, data: bytes, words: str) -> None:
    volume = _write(_SHAPES[4], {2: 3})
    volume.write(data, place)
    refused(volume, used_map, words)


@pytest.mark.parametrize("root", [0, 1, 65_527, 0xFFFFFFFF])
def test_a_root_directory_outside_is_refused(root: int) -> None:
    volume = _write(_SHAPES[7], {2: 3})
    volume.write(struct.pack("<I", root), 44)
    refused(volume, used_map, "root directory is outside")


def test_a_root_directory_that_is_free_is_refused() -> None:
    refused(_write(_SHAPES[7], {3: 4}), used_map, "cluster free")


@settings(deadline=2000, max_examples=examples(200))
@given(st.sampled_from([_write(shape, {2: 3, 9: 9}) for shape in _SHAPES[:9]]), FLIPS)
def test_flipped_bytes_never_lead_astray(volume: SparseVolume, flips: list[Flip]) -> None:
    bears(damaged(volume, used_map, flips), used_map)


@settings(deadline=2000)
@given(st.binary(max_size=3000))
def test_garbage_is_borne(data: bytes) -> None:
    bears(BytesSource(data), used_map)


def test_an_empty_volume_is_refused() -> None:
    with pytest.raises(FormatError):
        used_map(BytesSource(b""))
