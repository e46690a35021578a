"""btrfs on disk: the superblock, the chunk map and walking a tree.

Written from the published on-disk format (btrfs.readthedocs.io, "On-disk Format"). Each tree block must name its own
address, file system and level and a generation of the past; its checksum is verified, or its copies must be equal.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.btrfs_checksums import checksum, verify
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import KIB

SUPERBLOCK: Final = 64 * KIB
SUPERBLOCK_SIZE: Final = 4 * KIB

CHUNK_ITEM: Final = 228
_CHUNK_SIZE: Final = 48
_STRIPE_SIZE: Final = 32
_RAID0: Final = 1 << 3
_DUP: Final = 1 << 5
_PROFILES: Final = 0x7F8

_HEADER_SIZE: Final = 101
_ITEM: Final = struct.Struct("<QBQII")
_POINTER: Final = struct.Struct("<QBQQQ")
_LEVELS: Final = 8

_METADATA_UUID: Final = 1 << 10

Item = tuple[int, int, int, int, int]  # key: objectid, type, offset; place of the data behind the header, its size


class Superblock(msgspec.Struct, frozen=True):
    """The fields of the first superblock that a used map needs. Sizes and offsets in bytes; roots are logical addresses."""

    fsid: bytes  # as written in tree blocks
    flags: int
    generation: int
    root: int
    root_level: int
    chunk_root: int
    chunk_root_level: int
    log_root: int
    bytes_used: int
    num_devices: int
    devid: int
    device_size: int
    node_size: int
    compat_ro: int
    incompat: int
    checksum_type: int
    system_chunks: bytes


def read_superblock(volume: Source) -> Superblock:
    """Parse the superblock at 64 KiB. Raises FormatError; the other copies are for a repair, not for us."""
    raw = Fields(volume.pread(SUPERBLOCK_SIZE, SUPERBLOCK), "btrfs superblock")
    raw.require(raw.bytes(64, 8) == b"_BHRfS_M", "it has no signature")
    raw.require(raw.u64(48) == SUPERBLOCK, "it belongs elsewhere")
    right = checksum(raw.bytes(0, SUPERBLOCK_SIZE), raw.u16(196))
    raw.require(right is None or raw.bytes(0, len(right)) == right, "its checksum is wrong")
    incompat, node_size, sector_size = raw.u64(188), raw.u32(148), raw.u32(144)
    for size in (node_size, sector_size):
        raw.require(512 <= size <= 64 * KIB and not size & (size - 1), f"blocks of {size} bytes")
    raw.require(raw.u64(209) <= volume.size, f"a device of {raw.u64(209)} bytes on a volume of {volume.size}")
    raw.require(raw.u32(160) <= 2048, "its chunk array is too long")
    return Superblock(
        fsid=raw.bytes(571 if incompat & _METADATA_UUID else 32, 16),
        flags=raw.u64(56),
        generation=raw.u64(72),
        root=raw.u64(80),
        root_level=raw.u8(198),
        chunk_root=raw.u64(88),
        chunk_root_level=raw.u8(199),
        log_root=raw.u64(96),
        bytes_used=raw.u64(120),
        num_devices=raw.u64(136),
        devid=raw.u64(201),
        device_size=raw.u64(209),
        node_size=node_size,
        compat_ro=raw.u64(180),
        incompat=incompat,
        checksum_type=raw.u16(196),
        system_chunks=raw.bytes(811, raw.u32(160)),
    )


class Chunk(msgspec.Struct, frozen=True):
    """Logical bytes ``[start, end)`` and where each copy of them begins on the device."""

    start: int
    end: int
    copies: tuple[int, ...]


class ChunkMap:
    """Logical to physical addresses."""

    def __init__(self, superblock: Superblock) -> None:
        self._superblock = superblock
        self._starts: list[int] = []
        self._chunks: list[Chunk] = []

    def add(self, start: int, raw: Fields) -> int:
        """Take in a chunk item for the logical address ``start``; its length in bytes. Raises FormatError, UnsupportedError."""
        length, kind, count = raw.u64(0), raw.u64(24), raw.u16(44)
        raw.require(0 < count <= 2 and 0 < length < 1 << 62 and start < 1 << 62, f"{count} stripes of {length} bytes")
        # RAID0 over one stripe is what a balance can leave on a single device; any other profile spans devices.
        known = {1: (0, _RAID0), 2: (_DUP,)}[count]
        if kind & _PROFILES not in known:
            raise UnsupportedError("btrfs: its data is striped in a way that this program does not know.")
        copies = []
        for position in range(_CHUNK_SIZE, _CHUNK_SIZE + count * _STRIPE_SIZE, _STRIPE_SIZE):
            if raw.u64(position) != self._superblock.devid:
                raise UnsupportedError("btrfs: some of its data is on another device.")
            offset = raw.u64(position + 8)
            raw.require(offset + length <= self._superblock.device_size, f"{length} bytes at {offset} are outside of the device")
            copies.append(offset)
        chunk = Chunk(start, start + length, tuple(copies))
        index = bisect_right(self._starts, start)
        if index and self._chunks[index - 1] == chunk:
            return _CHUNK_SIZE + count * _STRIPE_SIZE  # system chunks are in the superblock and in the chunk tree
        before = index == 0 or self._chunks[index - 1].end <= start
        behind = index == len(self._chunks) or chunk.end <= self._starts[index]
        raw.require(before and behind, f"the chunk at {start} overlaps another")
        self._starts.insert(index, start)
        self._chunks.insert(index, chunk)
        return _CHUNK_SIZE + count * _STRIPE_SIZE

    def physical(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Every copy of the logical bytes ``[start, end)``. Raises FormatError where no chunk is."""
        while start < end:
            index = bisect_right(self._starts, start) - 1
            if index < 0 or start >= self._chunks[index].end:
                raise FormatError(f"btrfs: logical address {start} is in no chunk.")
            chunk = self._chunks[index]
            stop = min(end, chunk.end)
            for copy in chunk.copies:
                yield copy + start - chunk.start, copy + stop - chunk.start
            start = stop


class Forest:
    """The trees of one file system. ``visited`` are the logical addresses of the blocks that were read."""

    def __init__(self, volume: Source, superblock: Superblock) -> None:
        self._volume = volume
        self._superblock = superblock
        self.chunks = ChunkMap(superblock)
        self.visited: set[int] = set()
        raw = Fields(superblock.system_chunks, "btrfs system chunk array")
        position = 0
        while position < len(raw):
            raw.require(raw.u8(position + 8) == CHUNK_ITEM, "it holds something else than chunks")
            chunk = Fields(raw.bytes(position + 17, len(raw) - position - 17), raw.what)
            position += 17 + self.add_chunk(raw.u64(position + 9), chunk)

    def add_chunk(self, start: int, raw: Fields) -> int:
        """See ChunkMap.add."""
        return self.chunks.add(start, raw)

    def leaves(self, root: int, level: int) -> Iterator[tuple[Fields, list[Item]]]:
        """The leaves of a tree in order: each block and its items. A block is read once, so no loop can hold us."""
        if level >= _LEVELS:
            raise FormatError(f"btrfs: a tree of {level} levels.")
        pending = [(root, level)]
        while pending:
            address, level = pending.pop()
            block, count = self._read(address, level)
            if level:
                area = block.bytes(_HEADER_SIZE, count * _POINTER.size)
                children = [(child, level - 1) for _, _, _, child, _ in _POINTER.iter_unpack(area)]
                pending.extend(reversed(children))
            else:
                yield block, list(_ITEM.iter_unpack(block.bytes(_HEADER_SIZE, count * _ITEM.size)))

    def _read(self, address: int, level: int) -> tuple[Fields, int]:
        size = self._superblock.node_size
        if address in self.visited:
            raise FormatError(f"btrfs: two tree blocks lead to the one at {address}.")
        self.visited.add(address)
        copies = self._copies(address, size)
        data = copies[0]
        if any(other != data for other in copies[1:]):
            raise FormatError(f"btrfs: the copies of the tree block at {address} differ.")
        block = Fields(data, f"btrfs tree block at {address}")
        block.require(block.bytes(32, 16) == self._superblock.fsid, "it belongs to another file system")
        block.require(block.u64(48) == address, "it belongs elsewhere")
        block.require(block.u64(80) <= self._superblock.generation, "it is newer than the superblock")
        block.require(block.u8(100) == level, f"it is not of level {level}")
        verify(data, self._superblock.checksum_type)
        return block, block.u32(96)

    def _copies(self, address: int, size: int) -> list[bytes]:
        """All copies of a tree block."""
        copies = list(self.chunks.physical(address, address + size))
        if any(end - start != size for start, end in copies):
            raise FormatError(f"btrfs: the tree block at {address} is not in one chunk.")
        return [self._volume.pread(size, start) for start, _ in copies]


def item_data(block: Fields, item: Item) -> Fields:
    """The data of an item of a leaf. Raises FormatError."""
    return block.part(_HEADER_SIZE + item[3], item[4], block.what)
