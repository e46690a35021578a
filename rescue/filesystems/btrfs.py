"""btrfs: which bytes are used, from the extent tree, through the chunk map."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.btrfs_trees import CHUNK_ITEM, SUPERBLOCK, SUPERBLOCK_SIZE, Forest, Superblock, item_data, read_superblock
from rescue.filesystems.pieces import bounded
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.units import GIB, MIB

_EXTENT_TREE: Final = 2
_DEVICE_TREE: Final = 4
_EXTENT_ITEM: Final = 168
_METADATA_ITEM: Final = 169
_ROOT_ITEM: Final = 132
_DEVICE_ITEM: Final = 216
_REPLACE_ITEM: Final = 250
_REPLACE_RUNS: Final = (1, 4)  # started, suspended

# btrfs never allocates the first mebibyte: boot loaders live there.
_RESERVED: Final = (0, 1 * MIB)
_MIRRORS: Final = (SUPERBLOCK, 64 * MIB, 256 * GIB)

_MIXED_BACKREF: Final = 1 << 0
_ZONED: Final = 1 << 12
# mixed backref, default subvolume, mixed groups, lzo, zstd, big metadata, extended iref, RAID56, skinny metadata,
# no holes, metadata UUID, RAID1C34; simple quota. Not: zoned, extent tree v2, RAID stripe tree, and what is newer.
_KNOWN_INCOMPAT: Final = 0xFFF | 1 << 16
_KNOWN_COMPAT_RO: Final = 0xF  # free space tree, the same valid, verity, block group tree
_KNOWN_FLAGS: Final = 0x3  # written, relocated
_SEEDING: Final = 1 << 32

LOG_NOT_REPLAYED = "Its log was not replayed (it was not cleanly unmounted)."
MANY_DEVICES = "It spans several devices."
SEED = "It is a seed for other file systems."
REPLACING = "A device of it is being replaced."
BAD_STATE = "It is marked as damaged or as in the middle of a conversion."
UNKNOWN_FEATURE = "It uses a btrfs feature that this program does not know"


def used_map(volume: Source) -> UsedMap:
    """Every copy of every allocated extent, the superblocks and the first mebibyte.

    Reads only. Raises FormatError when the trees contradict themselves or each other, SourceReadError.
    """
    superblock = read_superblock(volume)
    because = why_not(superblock)
    if because:
        return UsedMap.whole(volume.size, because)
    try:
        forest = Forest(volume, superblock)
        starts, ends = read_allocation(forest, superblock, 1)
    except UnsupportedError as error:
        return UsedMap.whole(volume.size, error.message.removeprefix("btrfs: ").capitalize())
    parts = (part for start, end in zip(starts, ends, strict=True) for part in forest.chunks.physical(start, end))
    used = list(bounded(parts))
    used.extend(fixed_extents(volume.size))
    used.sort()
    return UsedMap(ExtentMap(used))


def why_not(superblock: Superblock, devices: int = 1) -> str:
    """The reason why a file system of so many devices is imaged whole, from its superblock alone; "" when there is none."""
    unknown = superblock.incompat & ~_KNOWN_INCOMPAT
    if unknown or not superblock.incompat & _MIXED_BACKREF:
        return f"{UNKNOWN_FEATURE} (incompat {superblock.incompat:#x})."
    if superblock.compat_ro & ~_KNOWN_COMPAT_RO:
        return f"{UNKNOWN_FEATURE} (compat_ro {superblock.compat_ro:#x})."
    if superblock.num_devices != devices:
        return MANY_DEVICES
    if superblock.flags & _SEEDING:
        return SEED
    if superblock.flags & ~_KNOWN_FLAGS:
        return BAD_STATE
    return LOG_NOT_REPLAYED if superblock.log_root else ""


def fixed_extents(size: int) -> list[tuple[int, int]]:
    """What is kept of each device of ``size`` bytes whatever is in use: the first mebibyte, the superblocks."""
    fixed = [_RESERVED, *((start, start + SUPERBLOCK_SIZE) for start in _MIRRORS)]
    return [(start, min(end, size)) for start, end in fixed]


def read_allocation(forest: Forest, superblock: Superblock, devices: int) -> tuple[array[int], array[int]]:
    """Starts and ends of the allocated logical ranges of a file system on so many devices, ascending; its chunks are then known.

    Raises UnsupportedError when it is on another number of devices or one is being replaced; FormatError, SourceReadError.
    """
    named = _read_chunks(forest, superblock)
    roots = _read_roots(forest, superblock)
    if named != devices:
        raise UnsupportedError(MANY_DEVICES)
    if _replaces(forest, *roots[_DEVICE_TREE]):
        raise UnsupportedError(REPLACING)
    starts, ends = _read_extents(forest, *roots[_EXTENT_TREE], superblock.node_size)
    _verify(superblock, forest, starts, ends, [address for address, _ in roots.values()])
    return starts, ends


def _read_chunks(forest: Forest, superblock: Superblock) -> int:
    """Complete the chunk map from the chunk tree; the number of devices it names."""
    devices = 0
    for block, items in forest.leaves(superblock.chunk_root, superblock.chunk_root_level):
        for item in items:
            if item[1] == CHUNK_ITEM:
                forest.add_chunk(item[2], item_data(block, item))
            elif item[1] == _DEVICE_ITEM:
                devices += 1
    return devices


def _read_roots(forest: Forest, superblock: Superblock) -> dict[int, tuple[int, int]]:
    """Logical address and level of the root of every tree; a tree with several gets an invented, negative number."""
    roots: dict[int, tuple[int, int]] = {}
    for block, items in forest.leaves(superblock.root, superblock.root_level):
        for item in items:
            if item[1] == _ROOT_ITEM:
                data = item_data(block, item)
                roots[item[0] if item[0] not in roots else -len(roots)] = data.u64(176), data.u8(238)
    for tree in (_EXTENT_TREE, _DEVICE_TREE):
        if tree not in roots:
            raise FormatError(f"btrfs: tree {tree} is missing.")
    return roots


def _replaces(forest: Forest, root: int, level: int) -> bool:
    """Whether the device tree tells of a replacement that has not ended."""
    return any(
        item_data(block, item).u64(32) in _REPLACE_RUNS
        for block, items in forest.leaves(root, level)
        for item in items
        if item[:2] == (0, _REPLACE_ITEM)
    )


def _read_extents(forest: Forest, root: int, level: int, node_size: int) -> tuple[array[int], array[int]]:
    """Starts and ends of the allocated logical ranges, ascending and coalesced. Raises FormatError when they overlap."""
    starts, ends = array("q"), array("q")
    start = end = 0
    for _, items in forest.leaves(root, level):
        for address, kind, offset, _, _ in items:
            if kind == _METADATA_ITEM:
                length = node_size
            elif kind == _EXTENT_ITEM:
                length = offset
            else:
                continue
            if address < end or address + length >= 1 << 62:
                raise FormatError(f"btrfs: the extent at {address} overlaps the one before or is too large.")
            if address != end:
                if end > start:
                    starts.append(start)
                    ends.append(end)
                start = address
            end = address + length
    if end > start:
        starts.append(start)
        ends.append(end)
    return starts, ends


def _verify(superblock: Superblock, forest: Forest, starts: array[int], ends: array[int], roots: list[int]) -> None:
    """Extents add up to what the superblock says and hold every tree block. Raises FormatError."""
    total = sum(ends) - sum(starts)
    if total != superblock.bytes_used:
        raise FormatError(f"btrfs: its extents add up to {total} bytes, its superblock says {superblock.bytes_used}.")
    for address in _uncovered([*forest.visited, *roots], superblock.node_size, starts, ends):
        raise FormatError(f"btrfs: the extent tree calls the tree block at {address} free.")


def _uncovered(blocks: list[int], size: int, starts: array[int], ends: array[int]) -> Iterator[int]:
    for address in blocks:
        index = bisect_right(starts, address) - 1
        if index < 0 or address + size > ends[index]:
            yield address
