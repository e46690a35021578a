"""xfs: recorded volumes against partclone's map, reasons to keep the whole, logs of every state, damage of every kind."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.filesystems.crc32c import crc32c
from rescue.filesystems.xfs import used_map
from rescue.filesystems.xfs_log import is_clean
from rescue.filesystems.xfs_superblock import read_superblock
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from tests.examples import examples
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume, bears, damaged, refused

_PARTCLONE = json.loads((Path(__file__).parents[2] / "data/filesystems/partclone.json").read_text())
_VOLUMES = {name: SparseVolume.load(f"{name}.xz") for name in ("xfs", "xfs-4")}
_SECTOR = 512


@pytest.mark.parametrize("name", ["xfs", "xfs-4"])
def test_recorded_volumes_are_read_as_partclone_reads_them(name: str) -> None:
    used = used_map(_VOLUMES[name])
    assert not used.whole_because
    theirs = ExtentMap([(start, end) for start, end in _PARTCLONE[name]])
    assert not theirs.difference(used.extents)
    # partclone leaves the blocks out that the tree keeps in reserve (AGFL); ours keeps them.
    assert used.extents.difference(theirs).total < 64 * 1024


def _sealed(volume: SparseVolume, start: int, length: int, place: int) -> SparseVolume:
    """The volume with the checksum of a changed block made right again."""
    volume.write(bytes(4), start + place)
    volume.write(crc32c(volume.pread(length, start)).to_bytes(4, "little"), start + place)
    return volume


def _with_field(place: int, data: bytes) -> SparseVolume:
    volume = _VOLUMES["xfs"].copy()
    volume.write(data, place)
    return _sealed(volume, 0, _SECTOR, 224)


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("place", "data", "words"),
    [
        (212, _u32(0x10), "does not know (0x10)"),
        (216, _u32(0x101), "does not know (0x100)"),
        (220, _u32(2), "does not know (0x2)"),
        (216, _u32(0x13), "needing repair"),
        (126, b"\1", "not finished"),
        (16, (1).to_bytes(8, "big"), "realtime"),
        (48, bytes(8), "log is on another device"),
    ],
)
def test_reasons_to_keep_the_whole(place: int, data: bytes, words: str) -> None:
    volume = _with_field(place, data)
    used = used_map(volume)
    assert words in used.whole_because
    assert list(used.extents) == [(0, volume.size)]


@pytest.mark.parametrize(
    ("place", "data", "words"),
    [
        (0, b"xfsb", "magic"),
        (4, _u32(1000), "block size"),
        (4, _u32(1 << 17), "block size"),
        (102, b"\x03\x00", "sector size"),
        (84, _u32(1), "allocation groups"),
        (88, _u32(0xFFFFFFFF), "do not add up"),
        (8, (1 << 63).to_bytes(8, "big"), "do not add up"),
        (124, b"\xff", "size of its allocation groups"),
        (48, (1 << 60).to_bytes(8, "big"), "log is outside"),
        (96, _u32(0xFFFFFFFF), "log leaves"),
        (100, b"\xb4\xa6", "version 6"),
    ],
)
def test_numbers_that_make_no_sense(place: int, data: bytes, words: str) -> None:
    refused(_with_field(place, data), used_map, words)


def test_a_partition_that_was_cut() -> None:
    volume = _VOLUMES["xfs"].copy()
    volume.resize(volume.size - 512)
    assert "larger than the partition" in used_map(volume).whole_because


def test_what_is_behind_the_file_system_is_kept() -> None:
    volume = _VOLUMES["xfs"].copy()
    before, size = used_map(volume).extents, volume.size
    volume.resize(size + 4096)
    assert used_map(volume).extents == before.union(ExtentMap([(size, size + 4096)]))


def _root(volume: SparseVolume, group: int) -> int:
    superblock = read_superblock(volume)
    start = group * superblock.group_blocks * superblock.block_size
    (root,) = struct.unpack(">I", volume.pread(4, start + _SECTOR + 16))
    return start + int(root) * superblock.block_size


def test_a_leaf_that_points_at_itself() -> None:
    volume = _VOLUMES["xfs-4"].copy()
    root = _root(volume, 0)
    volume.write(_u32(root // 512), root + 12)
    refused(volume, used_map, "out of order")


def test_a_group_with_more_free_than_it_counts() -> None:
    volume = _VOLUMES["xfs-4"].copy()
    volume.write(_u32(1), _SECTOR + 52)
    refused(volume, used_map, "more of its blocks are free")


def test_wrong_checksums() -> None:
    for place, words in (
        (108, "superblock: its checksum"),
        (_SECTOR + 60, "header"),
        (_root(_VOLUMES["xfs"], 1) + 20, "checksum"),
    ):
        volume = _VOLUMES["xfs"].copy()
        volume.write(b"\x5a", place)
        refused(volume, used_map, words)


def _record(block: int, cycle: int, *, flags: int, operations: int = 1, size: int = 512, header_size: int = 0) -> list[bytes]:
    """A log record as xlog_rec_header and xlog_op_header describe it, padded to ``size`` bytes of content."""
    header = bytearray(512)
    struct.pack_into(">IIII", header, 0, 0xFEEDBABE, cycle, 2, size)
    struct.pack_into(">Q", header, 16, cycle << 32 | block)
    struct.pack_into(">I", header, 40, operations)
    struct.pack_into(">I", header, 320, header_size)
    more = max(header_size // 32768 - 1, 0)
    operation = struct.pack(">IIBBxx", 0xB0C0D0D0, 8, 0xAA, flags).ljust(512, b"\0")
    content = [struct.pack(">I", cycle) + operation[4:], *[struct.pack(">I", cycle).ljust(512, b"\0")] * (size // 512 - 1)]
    return [bytes(header), *[struct.pack(">I", cycle).ljust(512, b"\0")] * more, *content]


def _log(blocks: int, start: int, cycle: int, record: list[bytes]) -> BytesSource:
    """A log in which everything before ``record`` is of its cycle, and everything behind of the cycle before."""
    content = [struct.pack(">I", cycle if number < start else cycle - 1).ljust(512, b"\0") for number in range(blocks)]
    for number, data in enumerate(record, start):
        if number >= blocks:  # what goes over the end starts the next pass
            data = struct.pack(">I", cycle + 1) + data[4:]
        content[number % blocks] = data
    return BytesSource(b"".join(content))


_UNMOUNT, _COMMIT = 0x20, 0x02


@pytest.mark.parametrize("cycle", [1, 2, 77])
@pytest.mark.parametrize("start", [0, 1, 500, 1020, 1022])
@pytest.mark.parametrize(("size", "header_size"), [(512, 0), (512, 32768), (2048, 32768), (65536, 262144)])
def test_a_log_is_clean_when_it_ends_in_an_unmount_record(cycle: int, start: int, size: int, header_size: int) -> None:
    blocks = 1024 + 8 + 128
    for flags, clean in ((_UNMOUNT, True), (_COMMIT, False)):
        record = _record(start, cycle, flags=flags, size=size, header_size=header_size)
        assert is_clean(_log(blocks, start, cycle, record)) == clean
    several = _record(start, cycle, flags=_UNMOUNT, operations=2, size=size, header_size=header_size)
    assert not is_clean(_log(blocks, start, cycle, several))


def test_a_record_over_the_end_of_the_log() -> None:
    assert is_clean(_log(1024, 1023, 5, _record(1023, 5, flags=_UNMOUNT)))
    assert is_clean(_log(1024, 1022, 5, _record(1022, 5, flags=_UNMOUNT)))
    assert not is_clean(_log(1024, 1023, 5, _record(1023, 5, flags=_COMMIT)))


def test_something_behind_the_unmount_record() -> None:
    record = _record(100, 3, flags=_UNMOUNT)
    assert not is_clean(_log(1024, 100, 3, [*record, struct.pack(">I", 3).ljust(512, b"\0")]))


def test_an_empty_log_is_clean_and_a_tiny_one_is_not() -> None:
    assert is_clean(BytesSource(bytes(512 * 64)))
    assert not is_clean(BytesSource(bytes(512)))


@settings(max_examples=examples(200), deadline=None)
@given(FLIPS)
def test_damage_never_crashes_it(flips: list[Flip]) -> None:
    bears(damaged(_VOLUMES["xfs-4"], used_map, flips), used_map)
    bears(damaged(_VOLUMES["xfs"], used_map, flips), used_map)


_FIELD_VALUES = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 64, 255, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 63), _FIELD_VALUES), min_size=1, max_size=3))
def test_absurd_numbers_never_crash_it(changes: list[tuple[int, int, int]]) -> None:
    volume = _VOLUMES["xfs-4"].copy()
    places = (0, _SECTOR, _root(_VOLUMES["xfs-4"], 0))
    for structure, field, value in changes:
        volume.write(_u32(value), places[structure] + 4 * field)
    volume.write(b"XFSB", 0)
    bears(volume, used_map)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2048))
def test_garbage_never_crashes_it(data: bytes) -> None:
    bears(BytesSource(data), used_map)
    bears(BytesSource(b"XFSB" + data + bytes(8192)), used_map)
