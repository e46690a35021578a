"""Extended attributes of xfs: short ones in the inode, leaves of a tree, values in blocks of their own; ACLs.

Specification: "XFS Algorithms & Data Structures", 3rd edition, "Extended Attributes"; fs/xfs/libxfs/xfs_da_format.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from rescue.errors import FormatError
from rescue.filesystems.files import posix_acl
from rescue.filesystems.files.stored import Run
from rescue.filesystems.files.xfs_inode import Fork, Geometry, fork_runs
from rescue.model.source import Source

_ROOT: Final = 0x02
_SECURE: Final = 0x04
_PARENT: Final = 0x08  # a parent pointer, which no program sees as an attribute
_INCOMPLETE: Final = 0x80
_LOCAL: Final = 0x01
_VALUE_LIMIT: Final = 65536
_LEAVES_LIMIT: Final = 65536
_ACL_NAMES: Final = {b"SGI_ACL_FILE": posix_acl.ACCESS, b"SGI_ACL_DEFAULT": posix_acl.DEFAULT}
_VALUE_HEADER: Final = 56
_LEAF: Final = (0xFBEE, 0x3BEE)
_NODE: Final = (0xFEBE, 0x3EBE)


class _Stored(NamedTuple):
    flags: int
    name: bytes
    value: bytes
    block: int  # where the value is when it is not in the leaf
    length: int


def read_attributes(volume: Source, geometry: Geometry, fork: Fork) -> dict[str, bytes]:
    """All attributes of a fork by the names of getxattr(2). Raises FormatError."""
    if fork.format == Fork.LOCAL:
        stored, reader = list(_short(fork.area)), None
    elif fork.format == Fork.EXTENTS and not fork.extents:
        return {}
    else:
        reader = _Blocks(volume, geometry, list(fork_runs(volume, geometry, fork)))
        stored = list(_leaves(reader))
    found: dict[str, bytes] = {}
    for item in stored:
        if item.flags & (_PARENT | _INCOMPLETE):
            continue
        value = item.value
        if reader is not None and item.block:
            value = reader.value(item.block, item.length)
        if item.flags & _ROOT and item.name in _ACL_NAMES:
            found[_ACL_NAMES[item.name]] = _acl(value)
        else:
            prefix = "trusted." if item.flags & _ROOT else "security." if item.flags & _SECURE else "user."
            found[prefix + item.name.decode("utf-8", "surrogateescape")] = value
    return found


class _Blocks:
    """The blocks of a fork by their number in it."""

    def __init__(self, volume: Source, geometry: Geometry, runs: list[Run]) -> None:
        self._volume = volume
        self._runs = runs
        self.version = geometry.version
        self.size = geometry.block_size

    def block(self, number: int) -> bytes:
        """One block. Raises FormatError when the fork has none there."""
        start = number * self.size
        for run in self._runs:
            if run.start <= start < run.start + run.length:
                return self._volume.pread(self.size, run.place + start - run.start)
        raise FormatError("xfs: attributes are in a block that is not there.")

    def value(self, number: int, length: int) -> bytes:
        """A value in blocks of its own, each with a header in version 5."""
        if length > _VALUE_LIMIT:
            raise FormatError(f"xfs: an attribute of {length} bytes.")
        data = bytearray()
        while len(data) < length:
            block = self.block(number)
            if self.version == 5:
                if block[:4] != b"XARM":
                    raise FormatError("xfs: the value of an attribute has no magic number.")
                block = block[_VALUE_HEADER:]
            data += block
            number += 1
        return bytes(data[:length])


def _short(area: bytes) -> Iterator[_Stored]:
    if len(area) < 4:
        raise FormatError("xfs: the attributes of an inode are cut.")
    count, position = area[2], 4
    for _ in range(count):
        if position + 3 > len(area):
            raise FormatError("xfs: the attributes of an inode are cut.")
        name_length, length, flags = area[position : position + 3]
        end = position + 3 + name_length + length
        if end > len(area):
            raise FormatError("xfs: the attributes of an inode are cut.")
        middle = position + 3 + name_length
        yield _Stored(flags, area[position + 3 : middle], area[middle:end], 0, length)
        position = end


def _leaves(reader: _Blocks) -> Iterator[_Stored]:
    """Down the left side of the tree, then from leaf to leaf. Each block once, so that no loop holds us."""
    number = 0
    for _ in range(_LEAVES_LIMIT):
        block = reader.block(number)
        (magic,) = struct.unpack_from(">H", block, 8)
        header = 56 if reader.version == 5 else 12
        if magic in _NODE:
            count = struct.unpack_from(">H", block, header)[0]
            if not count:
                raise FormatError("xfs: a node of attributes is empty.")
            (below,) = struct.unpack_from(">I", block, (64 if reader.version == 5 else 16) + 4)
            if not below:
                raise FormatError("xfs: the tree of attributes has a loop.")
            number = below
            continue
        if magic not in _LEAF:
            raise FormatError("xfs: a block of attributes has no magic number.")
        yield from _leaf(block, struct.unpack_from(">H", block, header)[0], 80 if reader.version == 5 else 32)
        (number,) = struct.unpack_from(">I", block)
        if not number:
            return
    raise FormatError("xfs: the tree of attributes has a loop.")


def _leaf(block: bytes, count: int, start: int) -> Iterator[_Stored]:
    for position in range(start, start + 8 * count, 8):
        if position + 8 > len(block):
            raise FormatError("xfs: a leaf of attributes is damaged.")
        _, place, flags = struct.unpack_from(">IHB", block, position)
        head = 3 if flags & _LOCAL else 9
        if place + head > len(block):
            raise FormatError("xfs: an attribute leaves its block.")
        if flags & _LOCAL:
            length, name_length = struct.unpack_from(">HB", block, place)
            value_block, end = 0, place + head + name_length + length
        else:
            value_block, length, name_length = struct.unpack_from(">IIB", block, place)
            end = place + head + name_length
        if end > len(block):
            raise FormatError("xfs: an attribute leaves its block.")
        name = block[place + head : place + head + name_length]
        yield _Stored(flags, name, b"" if value_block else block[place + head + name_length : end], value_block, length)


def _acl(value: bytes) -> bytes:
    """A count, and entries of tag, id and permissions, all big-endian."""
    count = int.from_bytes(value[:4], "big")
    if 4 + 12 * count > len(value):
        raise FormatError("xfs: an ACL is cut.")
    entries = (struct.unpack_from(">IIH", value, 4 + 12 * index) for index in range(count))
    return posix_acl.pack((tag & 0xFFFF, permissions, number) for tag, number, permissions in entries)
