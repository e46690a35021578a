"""The metadata of a thin pool: which blocks of the pool each of its volumes is made of.

Source: the Linux kernel, drivers/md/dm-thin-metadata.c and drivers/md/persistent-data/dm-btree-internal.h. Two trees in each
other lead from the number of a volume to those of its blocks. Every block names its own place and has a checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.crc32c import crc32c_update
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import KIB
from rescue.volumes.runs import Runs

_BLOCK: Final = 4 * KIB
_SECTOR: Final = 512
_MAGIC: Final = 27022010
_VERSIONS: Final = (1, 2)
_SUPERBLOCK_SALT: Final = 160774
_NODE_SALT: Final = 121107
_NEEDS_CHECK: Final = 1
_HEAD: Final = 32
_INNER, _LEAF = 1, 2  # flags of a node
_MAX_DEPTH: Final = 16
_MAX_VOLUMES: Final = 1 << 16
_DATA_BLOCKS: Final = (64 * KIB, 1 << 30)  # the least and the largest
_TIME_BITS: Final = 24  # below the number of a block, when it was mapped


class ThinPool(msgspec.Struct, frozen=True):
    """A pool in blocks of ``block`` bytes; ``volumes`` are its volumes by their numbers, where their blocks are in the pool."""

    transaction: int
    block: int
    volumes: dict[int, Runs]


def read_thin_pool(source: Source) -> ThinPool:
    """Read the metadata of a pool. Raises FormatError, UnsupportedError, SourceReadError."""
    block = Fields(source.pread(min(_BLOCK, source.size), 0), "metadata of a thin pool")
    block.require(len(block) == _BLOCK and block.u64(32) == _MAGIC, "it has no signature")
    block.require(block.u32(0) == _checksum(block, _SUPERBLOCK_SALT) and block.u64(8) == 0, "the checksum is wrong")
    if block.u32(40) not in _VERSIONS or block.u32(360):
        raise UnsupportedError("It is in a thin pool of a version that this program does not know.")
    if block.u32(4) & _NEEDS_CHECK:
        raise UnsupportedError("It is in a thin pool that is marked for a check (lvconvert --repair).")
    block.require(block.u32(340) * _SECTOR == _BLOCK, "its own blocks have another size than 4 KiB")
    size = block.u32(336) * _SECTOR
    least, most = _DATA_BLOCKS
    block.require(least <= size <= most and size % least == 0, f"blocks of {size} bytes")
    blocks = block.u64(344)
    block.require(0 < blocks <= source.size // _BLOCK, f"{blocks} blocks are more than there are")
    tree = _Tree(source, blocks)
    volumes: dict[int, Runs] = {}
    for number, root in tree.pairs(block.u64(320)):
        block.require(len(volumes) < _MAX_VOLUMES, "it has too many volumes")
        volumes[number] = Runs(size, ((at, value >> _TIME_BITS) for at, value in tree.pairs(root)))
    return ThinPool(block.u64(48), size, volumes)


def _checksum(block: Fields, salt: int) -> int:
    return crc32c_update(0xFFFF_FFFF, memoryview(block.data)[4:]) ^ salt


class _Tree:
    """Trees over the blocks of the metadata, whose values are numbers."""

    def __init__(self, source: Source, blocks: int) -> None:
        self._source = source
        self._blocks = blocks

    def pairs(self, root: int) -> Iterator[tuple[int, int]]:
        """Keys and values of a tree, ascending. A block is read once in each, so no loop can hold us."""
        visited: set[int] = set()
        pending = [(root, 0)]
        while pending:
            number, depth = pending.pop()
            if number in visited or depth > _MAX_DEPTH:
                raise FormatError(f"metadata of a thin pool: block {number} is in a tree twice, or too deep in it.")
            visited.add(number)
            is_leaf, keys, values = self._node(number)
            if is_leaf:
                yield from zip(keys, values, strict=True)
            else:
                pending.extend((child, depth + 1) for child in reversed(values))

    def _node(self, number: int) -> tuple[bool, tuple[int, ...], tuple[int, ...]]:
        if not 0 < number < self._blocks:
            raise FormatError(f"metadata of a thin pool: there is no block {number}.")
        node = Fields(self._source.pread(_BLOCK, number * _BLOCK), f"block {number} of the metadata of a thin pool")
        node.require(node.u32(0) == _checksum(node, _NODE_SALT), "its checksum is wrong")
        node.require(node.u64(8) == number, "it belongs elsewhere")
        flags, count, most = node.u32(4), node.u32(16), node.u32(20)
        node.require(flags in (_INNER, _LEAF) and node.u32(24) == 8, "it is of an unknown kind")
        node.require(count <= most <= (_BLOCK - _HEAD) // 16, f"{count} of {most} entries do not fit into it")
        keys = struct.unpack(f"<{count}Q", node.bytes(_HEAD, 8 * count))
        values = struct.unpack(f"<{count}Q", node.bytes(_HEAD + 8 * most, 8 * count))
        return flags == _LEAF, keys, values
