"""The used map of xfs: everything but what the free-space trees of all allocation groups say is free.

Specification: "XFS Algorithms & Data Structures", 3rd edition, "AG Free Space Management", "Short Format Btrees".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.xfs_log import is_clean
from rescue.filesystems.xfs_superblock import Superblock, has_valid_checksum, read_superblock
from rescue.model.extents import ExtentMap
from rescue.model.source import SliceSource, Source
from rescue.model.volume import UsedMap

_GROUP_MAGIC = b"XAGF"
_GROUP_CHECKSUM_PLACE = 216
_NO_BLOCK = 0xFFFFFFFF
_MOST_LEVELS = 10  # XFS_BTREE_MAXLEVELS is 9


class _Tree(msgspec.Struct, frozen=True):
    """The layout of a block of the free-space tree sorted by block number."""

    magic: bytes
    header: int  # bytes
    checksum_place: int


_TREES = {4: _Tree(b"ABTB", 16, 0), 5: _Tree(b"AB3B", 56, 52)}


def used_map(volume: Source) -> UsedMap:
    """All of an xfs that is not free, and all that is behind its end.

    Offsets are relative to the volume. One with a log to replay, or with parts on other devices, is whole, with the
    reason. Raises FormatError when the structures make no sense, SourceReadError.
    """
    superblock = read_superblock(volume)
    if superblock.untrusted:
        return UsedMap.whole(volume.size, superblock.untrusted)
    if superblock.size > volume.size:
        return UsedMap.whole(volume.size, "It says that it is larger than the partition it is on.")
    if not is_clean(SliceSource(volume, superblock.log_start, superblock.log_start + superblock.log_size)):
        return UsedMap.whole(volume.size, "It was not cleanly unmounted: its log has not been replayed.")
    free = [extent for group in range(superblock.groups) for extent in _free_extents(volume, superblock, group)]
    return UsedMap(ExtentMap(free).complement(volume.size))


def _free_extents(volume: Source, superblock: Superblock, group: int) -> Iterator[tuple[int, int]]:
    """The free byte ranges of an allocation group, in order. Raises FormatError when they do not add up."""
    size = superblock.block_size
    start = group * superblock.group_blocks * size
    what = f"xfs allocation group {group}"
    data = volume.pread(superblock.sector_size, start + superblock.sector_size)
    magic, version, number, length, root = struct.unpack_from(">4sIIII", data)
    (levels,) = struct.unpack_from(">I", data, 28)
    (free_blocks,) = struct.unpack_from(">I", data, 52)
    if magic != _GROUP_MAGIC or version != 1 or number != group or length != superblock.blocks_of_group(group):
        raise FormatError(f"{what}: its header makes no sense.")
    if superblock.checksums and not has_valid_checksum(data, _GROUP_CHECKSUM_PLACE):
        raise FormatError(f"{what}: the checksum of its header is wrong.")
    if not 1 <= levels <= _MOST_LEVELS:
        raise FormatError(f"{what}: its free-space tree has {levels} levels.")
    found = end = 0
    for first, count in _records(volume, superblock, group, root, levels):
        # Records in strictly rising order also end every walk over blocks that point at each other in a ring.
        if first < max(end, 1) or count == 0 or first + count > length:
            raise FormatError(f"{what}: its free-space records are out of order.")
        end = first + count
        found += count
        yield start + first * size, start + end * size
    # Fewer than counted is safe, and mkfs.xfs 6.1 leaves it so in a group that the log fills.
    if found > free_blocks:
        raise FormatError(f"{what}: more of its blocks are free than it counts.")


def _records(volume: Source, superblock: Superblock, group: int, root: int, levels: int) -> Iterator[tuple[int, int]]:
    """First block and count of each record: down to the leftmost leaf, then from leaf to leaf."""
    header = _TREES[superblock.version].header
    # Pointers stand behind the room for as many keys (8 bytes) as there can be pointers (4 bytes).
    most = (superblock.block_size - header) // 12
    block = root
    for level in range(levels - 1, 0, -1):
        data = _tree_block(volume, superblock, group, block, level)
        (block,) = struct.unpack_from(">I", data, header + most * 8)
    while block != _NO_BLOCK:
        data = _tree_block(volume, superblock, group, block, 0)
        count, _, following = struct.unpack_from(">HII", data, 6)
        if count > (superblock.block_size - header) // 8 or (count == 0 and following != _NO_BLOCK):
            raise FormatError(f"xfs allocation group {group}: free-space block {block} has {count} records.")
        yield from struct.iter_unpack(">II", data[header : header + count * 8])
        block = following


def _tree_block(volume: Source, superblock: Superblock, group: int, block: int, level: int) -> bytes:
    tree = _TREES[superblock.version]
    what = f"xfs allocation group {group}: free-space block {block}"
    if not 0 < block < superblock.blocks_of_group(group):
        raise FormatError(f"{what} is outside of the group.")
    data = volume.pread(superblock.block_size, (group * superblock.group_blocks + block) * superblock.block_size)
    if data[:4] != tree.magic or int.from_bytes(data[4:6], "big") != level:
        raise FormatError(f"{what} makes no sense.")
    if superblock.checksums and not has_valid_checksum(data, tree.checksum_place):
        raise FormatError(f"{what}: its checksum is wrong.")
    return data
