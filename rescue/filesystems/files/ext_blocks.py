"""Where the blocks of an ext inode lie: extent trees and indirect blocks, as runs in order."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from rescue.errors import FormatError
from rescue.filesystems.ext_superblock import Superblock
from rescue.filesystems.files.stored import Run
from rescue.model.source import Source

_EXTENT_MAGIC: Final = 0xF30A
_MAX_DEPTH: Final = 5
_UNWRITTEN: Final = 0x8000
_DIRECT: Final = 12


def extent_runs(volume: Source, superblock: Superblock, root: bytes, size: int) -> Iterator[Run]:
    """The written extents of a tree whose root is in the inode. Raises FormatError."""
    return _Mapper(volume, superblock, size).extents(root, None)


def indirect_runs(volume: Source, superblock: Superblock, root: bytes, size: int) -> Iterator[Run]:
    """The blocks of an inode with 12 direct and three indirect pointers, each as a run. Raises FormatError."""
    mapper = _Mapper(volume, superblock, size)
    pointers = struct.unpack_from("<15I", root)
    for index in range(_DIRECT):
        yield from mapper.indirect(pointers[index], 0, index)
    first = _DIRECT
    for level in (1, 2, 3):
        yield from mapper.indirect(pointers[_DIRECT - 1 + level], level, first)
        first += (superblock.block_size // 4) ** level


class _Mapper:
    """One walk over the map of one inode of ``size`` bytes."""

    def __init__(self, volume: Source, superblock: Superblock, size: int) -> None:
        self._volume = volume
        self._superblock = superblock
        self._blocks = -(-size // superblock.block_size)
        self._seen: set[int] = set()

    def _node(self, block: int) -> bytes:
        """A block of the map. Each is in it once, which bounds the walk by the size of the volume."""
        if not 0 < block < self._superblock.blocks or block in self._seen:
            raise FormatError("ext: the block map of a file leaves the file system or has a loop.")
        self._seen.add(block)
        size = self._superblock.block_size
        return self._volume.pread(size, block * size)

    def extents(self, node: bytes, depth: int | None) -> Iterator[Run]:
        """The runs below a node that is at ``depth`` (None: at any)."""
        magic, entries, _, here = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC or here > _MAX_DEPTH or (depth is not None and here != depth) or 12 + 12 * entries > len(node):
            raise FormatError("ext: an extent tree is damaged.")
        size = self._superblock.block_size
        after = 0
        for position in range(12, 12 + 12 * entries, 12):
            (first,) = struct.unpack_from("<I", node, position)
            if first < after:
                raise FormatError("ext: an extent tree is not in order.")
            if first >= self._blocks:
                return  # reserved behind the end of the file
            if here:
                low, high = struct.unpack_from("<IH", node, position + 4)
                after = first + 1
                yield from self.extents(self._node(low | high << 32), here - 1)
                continue
            length, high, low = struct.unpack_from("<HHI", node, position + 4)
            written = length <= _UNWRITTEN
            length -= 0 if written else _UNWRITTEN
            start = low | high << 32
            if not length or start + length > self._superblock.blocks:
                raise FormatError("ext: an extent is outside of the file system.")
            after = first + length
            if written:
                yield Run(first * size, start * size, length * size)

    def indirect(self, block: int, level: int, first: int) -> Iterator[Run]:
        """The runs below a pointer, the blocks ``first`` and following of the file."""
        if not block or first >= self._blocks:
            return
        size = self._superblock.block_size
        if not level:
            if block >= self._superblock.blocks:
                raise FormatError("ext: a block of a file is outside of the file system.")
            yield Run(first * size, block * size, size)
            return
        step = (size // 4) ** (level - 1)
        for index, pointer in enumerate(struct.unpack(f"<{size // 4}I", self._node(block))):
            if pointer:
                yield from self.indirect(pointer, level - 1, first + index * step)
