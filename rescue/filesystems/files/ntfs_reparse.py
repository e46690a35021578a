"""What NTFS files may be instead of files: links, mount points, compressed by CompactOS, kept in a cloud, Unix specials.

Microsoft [MS-FSCC] 2.1.2; ntfs-3g's reparse.c and "Interix" files of Windows Services for Unix.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from rescue.errors import FormatError
from rescue.filesystems.files.stored import decode_utf16
from rescue.filesystems.files.tree import Kind

LIMIT: Final = 16384  # Microsoft's MAXIMUM_REPARSE_DATA_BUFFER_SIZE
INTERIX_LIMIT: Final = 8192
_MOUNT_POINT: Final = 0xA0000003
_SYMLINK: Final = 0xA000000C
_WSL_SYMLINK: Final = 0xA000001D
_PROBLEMS: Final = {
    0x80000017: "It is compressed by Windows (CompactOS), which this program does not unpack.",
    0x80000013: "Its content is deduplicated by Windows Server, which this program does not read.",
    0x80000007: "Its content is kept once for several files by Windows Server, which this program does not read.",
    0x80000008: "Its content is in the image file that this Windows starts from (WIMBoot), which this program does not read.",
    0xC0000004: "Its content was moved to another storage.",
    0x80000006: "Its content was moved to another storage.",
}
# Files of a cloud (16 tags, one digit differs), of a file server in a cloud, of a projected folder: the content may be here.
_CLOUD: Final = {0x9000001A, 0x8000001E, 0x9000001C}
_CLOUD_MASK: Final = 0xFFFF0FFF
# Attributes of a file whose content, or some of it, is not here: offline, recall on open, recall on data access.
_NOT_HERE: Final = 0x1000 | 0x40000 | 0x400000
_ELSEWHERE: Final = "Its content is in a cloud and not on this disk."
COMPACT: Final = _PROBLEMS[0x80000017]
COMPACT_STREAM: Final = "WofCompressedData"  # what is in it is the content, compressed; the file's own stream is a hole
_INTERIX: Final = {b"IntxLNK\x01": Kind.LINK, b"IntxCHR\0": Kind.CHARACTER, b"IntxBLK\0": Kind.BLOCK}


class Reparse(NamedTuple):
    """Where a link leads, or why the file's content is not there; both are "" for a tag that changes nothing."""

    target: str
    problem: str


class Special(NamedTuple):
    """A link or a device node kept as a small file."""

    kind: Kind
    target: str
    device: tuple[int, int]


def parse(data: bytes, attributes: int = 0) -> Reparse:
    """Read a reparse point of a file with these attributes (FILE_ATTRIBUTE_…). Raises FormatError."""
    if len(data) < 8:
        raise FormatError("NTFS: a reparse point is cut.")
    tag, length = struct.unpack_from("<IH", data)
    body = data[8 : 8 + length]
    if tag == _WSL_SYMLINK:
        return Reparse(body[4:].decode("utf-8", "surrogateescape").rstrip("\0"), "")
    if tag in (_MOUNT_POINT, _SYMLINK):
        if len(body) < 12:
            raise FormatError("NTFS: a reparse point is cut.")
        substitute, substitute_length, shown, shown_length = struct.unpack_from("<HHHH", body)
        names = body[12:] if tag == _SYMLINK else body[8:]
        raw = names[shown : shown + shown_length] or names[substitute : substitute + substitute_length]
        target = decode_utf16(raw[: len(raw) & ~1]).replace("\\", "/").removeprefix("/??/").rstrip("\0")
        return Reparse(target, "" if target else "It is a link that leads nowhere.")
    if tag & _CLOUD_MASK in _CLOUD and attributes & _NOT_HERE:
        return Reparse("", _ELSEWHERE)
    return Reparse("", _PROBLEMS.get(tag, ""))


def interix(data: bytes) -> Special | None:
    """Read a system file that stands for something else; None when it is just a file."""
    kind = _INTERIX.get(data[:8])
    if kind is None:
        return None
    if kind is Kind.LINK:
        target = decode_utf16(data[8 : 8 + (len(data) - 8 & ~1)]).rstrip("\0")
        return Special(kind, target, (0, 0)) if target else None
    if len(data) < 24:
        return None
    major, minor = struct.unpack_from("<QQ", data, 8)
    return Special(kind, "", (major & 0xFFF, minor & 0xFFFFF))
