"""Extended attributes of ext: in the inode, in a block of their own; ACLs in their shorter form.

Specification: the Linux kernel's Documentation/filesystems/ext4, "Extended Attributes"; fs/ext4/acl.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from rescue.errors import FormatError
from rescue.filesystems.files import posix_acl

_MAGIC: Final = 0xEA020000
_BLOCK_HEADER: Final = 32
_PREFIXES: Final = {1: "user.", 4: "trusted.", 6: "security.", 7: "system."}
_ACL_NAMES: Final = {2: posix_acl.ACCESS, 3: posix_acl.DEFAULT}
_SYSTEM: Final = 7
VALUE_INODE: Final = 0x200000
VALUE_LIMIT: Final = 65536


class Stored(NamedTuple):
    """An attribute as it is stored. ``name`` is "" for those that no program sees; ``inode`` holds the value when not 0."""

    space: int  # of names: user, trusted, …
    name: str
    value: bytes
    inode: int


def in_inode(inode: bytes) -> Iterator[Stored]:
    """The attributes behind an inode's fields. Raises FormatError."""
    if len(inode) <= 128 + 4:
        return
    start = 128 + struct.unpack_from("<H", inode, 0x80)[0]
    if start % 4 or start + 4 > len(inode) or struct.unpack_from("<I", inode, start)[0] != _MAGIC:
        return
    yield from _entries(inode, start + 4, start + 4)


def in_block(block: bytes) -> Iterator[Stored]:
    """The attributes of a block. Raises FormatError."""
    if struct.unpack_from("<I", block)[0] != _MAGIC:
        raise FormatError("ext: a block of attributes has no magic number.")
    yield from _entries(block, _BLOCK_HEADER, 0)


def inline_data(inode: bytes) -> bytes:
    """The part of a small file that the block map had no room for; it is kept as the attribute system.data."""
    for stored in in_inode(inode):
        if stored.space == _SYSTEM and stored.name == "" and not stored.inode:
            return stored.value
    return b""


def as_given(stored: Stored, value: bytes) -> bytes:
    """The value as getxattr(2) would give it. Raises FormatError."""
    return _acl(value) if stored.space in _ACL_NAMES else value


def _entries(data: bytes, position: int, base: int) -> Iterator[Stored]:
    while position + 4 <= len(data) and data[position : position + 4] != bytes(4):
        if position + 16 > len(data):
            raise FormatError("ext: an attribute is cut.")
        name_length, index, offset, inode, size = struct.unpack_from("<BBHII", data, position)
        name = data[position + 16 : position + 16 + name_length]
        start = base + offset
        if len(name) < name_length or size > VALUE_LIMIT or (not inode and start + size > len(data)):
            raise FormatError("ext: an attribute leaves its place.")
        value = b"" if inode else data[start : start + size]
        yield Stored(index, _name(index, name), value, inode)
        position += 16 + (name_length + 3 & ~3)


def _name(index: int, name: bytes) -> str:
    if index in _ACL_NAMES:
        return _ACL_NAMES[index]
    if index not in _PREFIXES or not name or (index == _SYSTEM and name == b"data"):
        return ""
    return _PREFIXES[index] + name.decode("utf-8", "surrogateescape")


def _acl(value: bytes) -> bytes:
    """Entries without an id take four bytes here."""
    entries: list[tuple[int, int, int]] = []
    position = 4
    while position + 4 <= len(value):
        tag, permissions = struct.unpack_from("<HH", value, position)
        number = 0
        position += 4
        if tag in (posix_acl.USER, posix_acl.GROUP):
            if position + 4 > len(value):
                raise FormatError("ext: an ACL is cut.")
            (number,) = struct.unpack_from("<I", value, position)
            position += 4
        entries.append((tag, permissions, number))
    return posix_acl.pack(entries)
