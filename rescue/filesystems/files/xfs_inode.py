"""Inodes of xfs and where the blocks of their forks lie.

Specification: "XFS Algorithms & Data Structures", 3rd edition, "On-disk Inode", "Data Extents".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.files.stored import Run
from rescue.filesystems.xfs_superblock import Superblock
from rescue.model.source import Source

_INCOMPAT_TYPED_NAMES: Final = 0x1
_FEATURES2_TYPED_NAMES: Final = 0x200
_FLAGS2_BIG_TIME: Final = 0x8
_FLAGS2_LARGE_COUNTS: Final = 0x10
_EPOCH: Final = -(1 << 31) * 10**9  # of big times, in nanoseconds
_MAX_LEVEL: Final = 10
_BIG_BLOCK_HEADER: Final = (24, 72)  # without and with checksums


class Geometry(msgspec.Struct, frozen=True):
    """What reading files needs of the superblock. Sizes in bytes, shifts as the superblock has them."""

    version: int
    block_size: int
    blocks: int
    group_blocks: int
    groups: int
    group_shift: int
    inode_size: int
    inode_shift: int  # inodes of a block
    folder_block_size: int
    root: int
    typed_names: bool

    @staticmethod
    def read(volume: Source, superblock: Superblock) -> Geometry:
        """Read what the used map has no use for. Raises FormatError."""
        data = volume.pread(256, 0)
        (root,) = struct.unpack_from(">Q", data, 56)
        (inode_size,) = struct.unpack_from(">H", data, 104)
        inode_shift, group_shift, folder_shift = data[123], data[124], data[192]
        if not 256 <= inode_size <= 2048 or inode_size & (inode_size - 1) or inode_size << inode_shift != superblock.block_size:
            raise FormatError(f"xfs superblock: inodes of {inode_size} bytes.")
        if superblock.block_size << min(folder_shift, 32) > 65536:
            raise FormatError("xfs superblock: the blocks of its folders are above 64 KiB.")
        if superblock.version == 5:
            typed = bool(struct.unpack_from(">I", data, 216)[0] & _INCOMPAT_TYPED_NAMES)
        else:
            typed = bool(struct.unpack_from(">I", data, 200)[0] & _FEATURES2_TYPED_NAMES)
        return Geometry(
            version=superblock.version,
            block_size=superblock.block_size,
            blocks=superblock.blocks,
            group_blocks=superblock.group_blocks,
            groups=superblock.groups,
            group_shift=group_shift,
            inode_size=inode_size,
            inode_shift=inode_shift,
            folder_block_size=superblock.block_size << folder_shift,
            root=root,
            typed_names=typed,
        )

    def place(self, block: int, length: int = 1) -> int:
        """Bytes from the start of the volume of a block's packed number. Raises FormatError."""
        group, inside = block >> self.group_shift, block & (1 << self.group_shift) - 1
        linear = group * self.group_blocks + inside
        if group >= self.groups or inside + length > self.group_blocks or linear + length > self.blocks:
            raise FormatError(f"xfs: block {block} is outside of the file system.")
        return linear * self.block_size


class Fork(msgspec.Struct, frozen=True):
    """The data or the attributes of an inode: their format, and the bytes of the inode that hold or describe them."""

    LOCAL: ClassVar[int] = 1
    EXTENTS: ClassVar[int] = 2
    TREE: ClassVar[int] = 3

    format: int
    area: bytes
    extents: int


class Inode(msgspec.Struct, frozen=True):
    """An inode's fields. Times in nanoseconds; ``blocks`` of the file system."""

    number: int
    mode: int
    uid: int
    gid: int
    links: int
    size: int
    blocks: int
    flags: int
    accessed: int
    modified: int
    changed: int
    created: int | None
    data: Fork
    attributes: Fork | None


def parse_inode(volume: Source, geometry: Geometry, number: int) -> Inode:
    """Read an inode by its number. Raises FormatError when it is not in use or makes no sense."""
    block, index = number >> geometry.inode_shift, number & (1 << geometry.inode_shift) - 1
    data = volume.pread(geometry.inode_size, geometry.place(block) + index * geometry.inode_size)
    magic, mode, version, data_format, old_links, uid, gid, links = struct.unpack_from(">HHBBHIII", data)
    if magic != 0x494E or not 1 <= version <= 3 or (version == 3) != (geometry.version == 5):
        raise FormatError(f"xfs: inode {number} makes no sense.")
    if not mode:
        raise FormatError(f"xfs: inode {number} is not in use.")
    size, blocks = struct.unpack_from(">QQ", data, 56)
    extents, attribute_extents, offset, attribute_format = struct.unpack_from(">IHBB", data, 76)
    (flags,) = struct.unpack_from(">H", data, 90)
    flags2 = struct.unpack_from(">Q", data, 120)[0] if version == 3 else 0
    if flags2 & _FLAGS2_LARGE_COUNTS:
        (extents,) = struct.unpack_from(">Q", data, 24)
        (attribute_extents,) = struct.unpack_from(">I", data, 76)
    if size >> 63:
        raise FormatError(f"xfs: inode {number} has a size of {size}.")
    start = 176 if version == 3 else 100
    middle = start + 8 * offset if offset else geometry.inode_size
    if middle > geometry.inode_size:
        raise FormatError(f"xfs: the attributes of inode {number} are outside of it.")
    big = bool(flags2 & _FLAGS2_BIG_TIME)
    return Inode(
        number=number,
        mode=mode,
        uid=uid,
        gid=gid,
        links=old_links if version == 1 else links,
        size=size,
        blocks=blocks,
        flags=flags,
        accessed=_time(data, 32, big),
        modified=_time(data, 40, big),
        changed=_time(data, 48, big),
        created=_time(data, 144, big) if version == 3 else None,
        data=Fork(data_format, data[start:middle], extents),
        attributes=Fork(attribute_format, data[middle:], attribute_extents) if offset else None,
    )


def _time(data: bytes, place: int, big: bool) -> int:
    if big:
        return int(struct.unpack_from(">Q", data, place)[0]) + _EPOCH
    seconds, nanoseconds = struct.unpack_from(">iI", data, place)
    return int(seconds) * 10**9 + min(int(nanoseconds), 10**9 - 1)


def fork_runs(volume: Source, geometry: Geometry, fork: Fork) -> Iterator[Run]:
    """The written extents of a fork in order; those never written to read as holes. Raises FormatError."""
    if fork.format == Fork.EXTENTS:
        if fork.extents * 16 > len(fork.area):
            raise FormatError(f"xfs: {fork.extents} extents do not fit into an inode.")
        yield from _records(geometry, fork.area, 0, fork.extents)
    elif fork.format == Fork.TREE:
        level, count = struct.unpack_from(">HH", fork.area) if len(fork.area) >= 20 else (0, 0)
        most = (len(fork.area) - 4) // 16
        if not 0 < level <= _MAX_LEVEL or not 0 < count <= most:
            raise FormatError("xfs: the extent tree of an inode is damaged.")
        pointers = struct.unpack_from(f">{count}Q", fork.area, 4 + 8 * most)
        yield from _subtrees(volume, geometry, pointers, level - 1, set())
    else:
        raise FormatError(f"xfs: a fork of format {fork.format} has no extents.")


def _subtrees(volume: Source, geometry: Geometry, pointers: tuple[int, ...], level: int, seen: set[int]) -> Iterator[Run]:
    header = _BIG_BLOCK_HEADER[geometry.version == 5]
    magic = b"BMA3" if geometry.version == 5 else b"BMAP"
    for pointer in pointers:
        # Each block is in the tree once, which bounds the walk by the size of the volume.
        if pointer in seen:
            raise FormatError("xfs: an extent tree has a loop.")
        seen.add(pointer)
        block = volume.pread(geometry.block_size, geometry.place(pointer))
        here, count = struct.unpack_from(">HH", block, 4)
        most = (geometry.block_size - header) // 16
        if block[:4] != magic or here != level or count > most:
            raise FormatError("xfs: a block of an extent tree is damaged.")
        if level:
            below = struct.unpack_from(f">{count}Q", block, header + 8 * most)
            yield from _subtrees(volume, geometry, below, level - 1, seen)
        else:
            yield from _records(geometry, block, header, count)


def _records(geometry: Geometry, data: bytes, start: int, count: int) -> Iterator[Run]:
    """Packed extents: 1 bit unwritten, 54 bits offset, 52 bits block, 21 bits length."""
    for position in range(start, start + 16 * count, 16):
        packed = int.from_bytes(data[position : position + 16], "big")
        length = packed & (1 << 21) - 1
        block = packed >> 21 & (1 << 52) - 1
        offset = packed >> 73 & (1 << 54) - 1
        if not length:
            raise FormatError("xfs: an extent is empty.")
        place = geometry.place(block, length)
        if not packed >> 127:
            yield Run(offset * geometry.block_size, place, length * geometry.block_size)
