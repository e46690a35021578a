"""ext2, ext3 and ext4: recorded volumes against partclone's map, reasons to keep the whole, damage of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.filesystems.ext import used_map
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from tests.examples import examples
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume, bears, damaged, refused

_PARTCLONE = json.loads((Path(__file__).parents[2] / "data/filesystems/partclone.json").read_text())
_NAMES = ("ext4", "ext4-uninit", "ext4-meta", "ext2")
_VOLUMES = {name: SparseVolume.load(f"{name}.xz") for name in _NAMES}
_UNSUMMED = [_VOLUMES["ext2"], _VOLUMES["ext4-meta"], _VOLUMES["ext4-uninit"]]
_SUPERBLOCK = 1024
_FIELD_VALUES = st.sampled_from([0, 1, 2, 3, 7, 8, 255, 256, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])


@pytest.mark.parametrize("name", _NAMES)
def test_recorded_volumes_are_read_as_partclone_reads_them(name: str) -> None:
    used = used_map(_VOLUMES[name])
    assert not used.whole_because
    theirs = ExtentMap([(start, end) for start, end in _PARTCLONE[name]])
    assert not theirs.difference(used.extents)
    # partclone's ranges are of whole blocks too, so nothing else may differ.
    assert not used.extents.difference(theirs)


def _changed(name: str, place: int, data: bytes) -> SparseVolume:
    volume = _VOLUMES[name].copy()
    volume.write(data, _SUPERBLOCK + place)
    return volume


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0x3A, 0, "not cleanly unmounted"),
        (0x3A, 3, "having errors"),
        (0x3A, 5, "not cleanly unmounted"),
        (0x60, 0x4 | 0x2, "journal has not been replayed"),
        (0x60, 0x8, "journal of another"),
        (0x60, 0x80000000, "does not know (0x80000000/0x0)"),
        (0x60, 0x1, "does not know (0x1/0x0)"),
        (0x64, 0x80, "does not know (0x0/0x80)"),
        (0x64, 0x10003, "not cleanly unmounted"),
        (0x4, 0x100000, "larger than the partition"),
        (0xC, 100, "does not add up"),
    ],
)
def test_reasons_to_keep_the_whole(place: int, value: int, words: str) -> None:
    volume = _changed("ext2", place, value.to_bytes(2 if place == 0x3A else 4, "little"))
    used = used_map(volume)
    assert words in used.whole_because
    assert list(used.extents) == [(0, volume.size)]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0x38, 0, "magic"),
        (0x18, 7, "block size"),
        (0x18, 0xFFFFFFFF, "block size"),
        (0x14, 0, "first block"),
        (0x20, 0, "groups"),
        (0x20, 8, "groups are too small"),
        (0x20, 0xFFFFFFFF, "groups"),
        (0x28, 0xFFFFFFFF, "inodes"),
        (0x58, 100, "inode size"),
        (0x4, 0, "no blocks"),
        (0x4C, 9, "revision"),
    ],
)
def test_numbers_that_make_no_sense(place: int, value: int, words: str) -> None:
    refused(_changed("ext2", place, value.to_bytes(2 if place in (0x38, 0x58) else 4, "little")), used_map, words)


def test_a_bitmap_outside_of_the_file_system() -> None:
    volume = _VOLUMES["ext2"].copy()
    volume.write((0xFFFFFFFF).to_bytes(4, "little"), 2048)
    refused(volume, used_map, "outside of the file system")


def test_a_bitmap_that_says_less_than_its_group_counts() -> None:
    volume = _VOLUMES["ext2"].copy()
    bitmap = int.from_bytes(volume.pread(4, 2048), "little") * 1024
    volume.write(b"\xfe", bitmap)
    assert "group 0 does not add up" in used_map(volume).whole_because


def test_a_wrong_checksum_of_the_superblock() -> None:
    refused(_changed("ext4", 0x78, b"other label"), used_map, "checksum")


@pytest.mark.parametrize("name", ["ext4", "ext4-uninit"])
def test_a_wrong_checksum_of_a_group(name: str) -> None:
    volume = _VOLUMES[name].copy()
    descriptor = 2048
    volume.write(bytes([volume.pread(1, descriptor + 0x10)[0] ^ 1]), descriptor + 0x10)
    assert "checksum of its group 0" in used_map(volume).whole_because


def test_a_wrong_checksum_of_a_bitmap() -> None:
    volume = _VOLUMES["ext4"].copy()
    bitmap = int.from_bytes(volume.pread(4, 2048), "little") * 1024
    # One block more and another one less: the count of free blocks stays right.
    data = int.from_bytes(volume.pread(128, bitmap), "little")
    lowest_free = ~data & data + 1
    volume.write((data ^ 1 ^ lowest_free).to_bytes(128, "little"), bitmap)
    assert "block bitmap of its group 0" in used_map(volume).whole_because


def test_what_is_behind_the_file_system_is_kept() -> None:
    volume = _VOLUMES["ext2"].copy()
    before = used_map(volume).extents
    size = volume.size
    volume.resize(size + 5 * 512)
    assert used_map(volume).extents == before.union(ExtentMap([(size, size + 5 * 512)]))


@settings(max_examples=examples(150), deadline=None)
@given(st.sampled_from(_UNSUMMED), FLIPS)
def test_damage_never_crashes_it(volume: SparseVolume, flips: list[Flip]) -> None:
    bears(damaged(volume, used_map, flips), used_map)


@settings(max_examples=examples(300), deadline=None)
@given(st.sampled_from(_UNSUMMED), st.lists(st.tuples(st.integers(0, 255), _FIELD_VALUES), min_size=1, max_size=3))
def test_absurd_numbers_never_crash_it(volume: SparseVolume, changes: list[tuple[int, int]]) -> None:
    twin = volume.copy()
    for field, value in changes:
        twin.write(value.to_bytes(4, "little"), _SUPERBLOCK + 4 * field)
    twin.write(b"\x53\xef\1\0", _SUPERBLOCK + 0x38)
    bears(twin, used_map)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=4096))
def test_garbage_never_crashes_it(data: bytes) -> None:
    bears(BytesSource(data), used_map)
    bears(BytesSource(bytes(1024) + data[:0x38] + b"\x53\xef\1\0" + data[0x3C:] + bytes(8192)), used_map)
