"""btrfs: each reason to keep a file system whole, trees that contradict themselves, and damage of every kind."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable
from functools import cache

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.filesystems.btrfs import used_map
from rescue.filesystems.btrfs_checksums import verify
from rescue.filesystems.btrfs_trees import SUPERBLOCK, ChunkMap, Forest, read_superblock
from rescue.filesystems.crc32c import crc32c
from rescue.filesystems.fields import Fields
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.units import MIB
from tests.examples import examples
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume, bears, damaged, refused

_CLEAN = SparseVolume.load("btrfs.xz")
_MIXED = SparseVolume.load("btrfs-mixed.xz")
_NODE = 4096


def _signed(volume: SparseVolume) -> SparseVolume:
    body = volume.pread(4096 - 32, SUPERBLOCK + 32)
    volume.write(struct.pack("<I", crc32c(body)), SUPERBLOCK)
    return volume


def _changed(*changes: tuple[int, bytes]) -> SparseVolume:
    """A copy with fields of the superblock changed, and its checksum made right again."""
    volume = _CLEAN.copy()
    for place, data in changes:
        volume.write(data, SUPERBLOCK + place)
    return _signed(volume)


def _incompat(bit: int) -> tuple[int, bytes]:
    return 188, struct.pack("<Q", read_superblock(_CLEAN).incompat | 1 << bit)


@cache
def _copies_of_node(address: int) -> list[int]:
    """Where the copies of a tree block are; the chunk map is read by the code under test."""
    superblock = read_superblock(_CLEAN)
    forest = Forest(_CLEAN, superblock)
    for block, items in forest.leaves(superblock.chunk_root, superblock.chunk_root_level):
        for _, kind, logical, place, size in items:
            if kind == 228:
                forest.chunks.add(logical, block.part(101 + place, size, "chunk"))
    return [start for start, _ in forest.chunks.physical(address, address + _NODE)]


def _with_node(address: int, change: Callable[[bytearray], None], copies: int = 2) -> SparseVolume:
    """A copy in which a tree block was changed, in all of its copies or in some, with its checksum made right again."""
    volume = _CLEAN.copy()
    for start in _copies_of_node(address)[:copies]:
        block = bytearray(volume.pread(_NODE, start))
        change(block)
        struct.pack_into("<I", block, 0, crc32c(block[32:]))
        volume.write(bytes(block), start)
    return volume


@cache
def _root_of(tree: int) -> tuple[int, int]:
    """Address and level of a tree's root, found in the root tree's leaves by their fixed layout."""
    for start in range(1 * MIB, _CLEAN.size, _NODE):
        block = _CLEAN.pread(_NODE, start)
        generation, owner, count, level = struct.unpack_from("<QQIB", block, 80)
        if owner == 1 and level == 0 and generation == read_superblock(_CLEAN).generation:
            for index in range(count):
                number, kind, _, place, _ = struct.unpack_from("<QBQII", block, 101 + 25 * index)
                if (number, kind) == (tree, 132):
                    return struct.unpack_from("<Q", block, 101 + place + 176)[0], block[101 + place + 238]
    raise AssertionError(f"tree {tree} is not there")


def test_everything_that_was_written_last_is_used() -> None:
    used = used_map(_CLEAN.copy())
    assert not used.whole_because
    assert used.extents.clip(0, MIB).total == MIB
    assert ExtentMap([(64 * MIB, 64 * MIB + 4096)]).difference(used.extents).total == 0
    superblock = read_superblock(_CLEAN)
    for root in (superblock.root, superblock.chunk_root, _root_of(2)[0], _root_of(5)[0]):
        for start in _copies_of_node(root):
            assert ExtentMap([(start, start + _NODE)]).difference(used.extents).total == 0


def test_both_copies_of_metadata_are_used() -> None:
    """Twice the metadata, once the data, as the superblock's total tells, and what is always kept."""
    used = used_map(_CLEAN.copy()).extents
    superblock = read_superblock(_CLEAN)
    assert superblock.bytes_used < used.total - MIB - 4096 < 2 * superblock.bytes_used


def test_mixed_block_groups_are_counted_exactly() -> None:
    used = used_map(_MIXED.copy()).extents
    twice = used.total - MIB - 4096
    assert twice in (read_superblock(_MIXED).bytes_used, 2 * read_superblock(_MIXED).bytes_used)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((96, struct.pack("<Q", 30 * MIB)), "log"),
        ((136, struct.pack("<Q", 2)), "several devices"),
        ((56, struct.pack("<Q", 1 | 1 << 32)), "seed"),
        ((56, struct.pack("<Q", 1 | 1 << 2)), "damaged"),
        ((56, struct.pack("<Q", 1 | 1 << 36)), "conversion"),
        (_incompat(12), "feature"),
        (_incompat(13), "feature"),
        (_incompat(14), "feature"),
        (_incompat(17), "feature"),
        (_incompat(63), "feature"),
        ((188, bytes(8)), "feature"),
        ((180, struct.pack("<Q", 1 << 4)), "feature"),
    ],
)
def test_reasons_to_keep_a_volume_whole(change: tuple[int, bytes], words: str) -> None:
    used = used_map(_changed(change))
    assert words in used.whole_because
    assert used.extents == ExtentMap([(0, _CLEAN.size)])


@pytest.mark.parametrize("bit", [1, 3, 4, 7, 11, 16])
def test_features_that_do_not_matter(bit: int) -> None:
    assert used_map(_changed(_incompat(bit))).extents == used_map(_CLEAN.copy()).extents


def test_a_block_group_tree_does_not_matter() -> None:
    compat_ro = struct.pack("<Q", read_superblock(_CLEAN).compat_ro | 8)
    assert not used_map(_changed((180, compat_ro))).whole_because


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(64, b"_BHRfS_N")], "signature"),
        ([(48, struct.pack("<Q", 64 * MIB))], "elsewhere"),
        ([(148, struct.pack("<I", 12_345))], "blocks of"),
        ([(209, struct.pack("<Q", 1 << 50))], "device of"),
        ([(160, struct.pack("<I", 4000))], "chunk array"),
        ([(811 + 8, b"\xe5")], "something else"),
        ([(120, struct.pack("<Q", 12_345))], "add up"),
        ([(198, b"\x09")], "levels"),
        ([(198, b"\x03")], "not of level"),
        ([(80, struct.pack("<Q", 3))], "no chunk"),
        ([(72, struct.pack("<Q", 1))], "newer"),
        ([(32, b"another file sys")], "another file system"),
    ],
)
def test_a_superblock_that_makes_no_sense_is_refused(changes: list[tuple[int, bytes]], words: str) -> None:
    refused(_changed(*changes), used_map, words)


def test_a_wrong_checksum_is_refused() -> None:
    volume = _CLEAN.copy()
    volume.write(b"x", SUPERBLOCK + 299)
    refused(volume, used_map, "checksum")


def test_copies_of_a_tree_block_that_differ_are_refused() -> None:
    address, _ = _root_of(2)
    refused(_with_node(address, lambda block: block.__setitem__(4000, block[4000] ^ 1), copies=1), used_map, "differ")


def test_a_tree_that_leads_into_itself_is_refused() -> None:
    address, level = _root_of(2)
    assert level == 1

    def loop(block: bytearray) -> None:
        _, _, _, child, _ = struct.unpack_from("<QBQQQ", block, 101)
        struct.pack_into("<Q", block, 101 + 33 + 17, child)

    refused(_with_node(address, loop), used_map, "two tree blocks lead")


def test_a_missing_extent_is_refused() -> None:
    """An extent tree that lost an item no longer adds up to the superblock's total."""
    address, _ = _root_of(2)

    def forget(block: bytearray) -> None:
        struct.pack_into("<I", block, 96, struct.unpack_from("<I", block, 96)[0] - 1)

    refused(_with_node(address, forget), used_map, "add up")


@pytest.mark.parametrize(("state", "whole"), [(1, True), (4, True), (2, False)])
def test_a_device_that_is_being_replaced(state: int, whole: bool) -> None:
    """The state is in the device tree, as item (0, DEV_REPLACE, 0); here it takes the place of the first item."""
    address, level = _root_of(4)
    assert level == 0

    def replace(block: bytearray) -> None:
        place = struct.unpack_from("<I", block, 101 + 17)[0]
        struct.pack_into("<QBQII", block, 101, 0, 250, 0, place - 80, 80)
        struct.pack_into("<QQQQQ", block, 101 + place - 80, 1, 0, 0, 0, state)

    assert ("replaced" in used_map(_with_node(address, replace)).whole_because) == whole


def _chunk(length: int, kind: int, *stripes: tuple[int, int]) -> Fields:
    data = struct.pack("<QQQQIIIHH", length, 2, 65_536, kind, 4096, 4096, 4096, len(stripes), 0)
    data += b"".join(struct.pack("<QQ", *stripe) + bytes(16) for stripe in stripes)
    return Fields(data, "chunk")


def test_the_chunk_map_follows_every_copy() -> None:
    chunks = ChunkMap(read_superblock(_CLEAN))
    chunks.add(100 * MIB, _chunk(8 * MIB, 1, (1, 2 * MIB)))
    chunks.add(108 * MIB, _chunk(4 * MIB, 4 | 1 << 5, (1, 20 * MIB), (1, 40 * MIB)))
    assert list(chunks.physical(107 * MIB, 109 * MIB)) == [
        (9 * MIB, 10 * MIB),
        (20 * MIB, 21 * MIB),
        (40 * MIB, 41 * MIB),
    ]


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (_chunk(8 * MIB, 1, (2, 2 * MIB)), "another device"),
        (_chunk(8 * MIB, 1 | 1 << 3, (1, 2 * MIB), (1, 20 * MIB)), "striped"),
        (_chunk(8 * MIB, 1 | 1 << 4, (1, 2 * MIB), (1, 20 * MIB)), "striped"),
        (_chunk(8 * MIB, 1, (1, 127 * MIB)), "outside of the device"),
        (_chunk(0, 1, (1, 2 * MIB)), "stripes of 0 bytes"),
        (_chunk(8 * MIB, 1), "0 stripes"),
        (_chunk(50 * MIB, 1, (1, 2 * MIB)), "overlaps"),
    ],
)
def test_chunks_that_are_not_understood_are_refused(chunk: Fields, words: str) -> None:
    chunks = ChunkMap(read_superblock(_CLEAN))
    chunks.add(140 * MIB, _chunk(1 * MIB, 1, (1, 2 * MIB)))
    with pytest.raises(FormatError, match=words):
        chunks.add(100 * MIB, chunk)


@pytest.mark.parametrize(
    ("kind", "sum_of"),
    [
        (0, lambda body: struct.pack("<I", crc32c(body))),
        (1, lambda body: struct.pack("<Q", xxhash.xxh64(body).intdigest())),
        (2, lambda body: hashlib.sha256(body).digest()),
        (3, lambda body: hashlib.blake2b(body, digest_size=32).digest()),
    ],
)
def test_each_kind_of_checksum_finds_a_flipped_bit(kind: int, sum_of: Callable[[bytes], bytes]) -> None:
    body = random.Random(kind).randbytes(512 - 32)
    block = sum_of(body).ljust(32, b"\0") + body
    verify(block, kind)
    with pytest.raises(FormatError, match="checksum of the tree block"):
        verify(block[:-1] + bytes([block[-1] ^ 1]), kind)


def test_a_wrong_checksum_of_a_tree_block_that_exists_once_is_refused() -> None:
    volume = _MIXED.copy()
    superblock = read_superblock(volume)
    used_map(volume)
    block = next(offset for offset, length in volume.reads if length == superblock.node_size and offset != SUPERBLOCK)
    volume.write(b"?", block + superblock.node_size - 1)
    refused(volume, used_map, "checksum")


@settings(deadline=2000, max_examples=examples(300))
@given(st.sampled_from([_CLEAN, _MIXED]), FLIPS)
def test_flipped_bytes_never_lead_astray(volume: SparseVolume, flips: list[Flip]) -> None:
    bears(_signed(damaged(volume, used_map, flips)), used_map)


@settings(deadline=2000, max_examples=examples(100))
@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 7))
def test_flipped_bytes_in_keys_never_lead_astray(node: int, mask: int, place: int) -> None:
    """Both copies alike, so that the comparison of copies cannot save us."""
    address, _ = _root_of(2)

    def flip(block: bytearray) -> None:
        position = 80 + node * 8 + place
        block[position] ^= mask

    bears(_with_node(address, flip), used_map)


@settings(deadline=2000)
@given(st.binary(max_size=3000))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        used_map(BytesSource(bytes(SUPERBLOCK) + data.ljust(4096, b"\0")))
