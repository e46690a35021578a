"""What LVM writes on a physical volume: its label, its header and the newest copy of its group's description.

Source: LVM2, lib/format_text/layout.h and lib/label/label.c.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import MIB

_SECTOR: Final = 512
_LABEL_SECTORS: Final = 4
_SEED: Final = 0xF597A6CF
_MAX_AREAS: Final = 8
_MAX_TEXT: Final = 16 * MIB
_MAGIC: Final = b" LVM2 x[5A%r0N*>"
_IGNORED: Final = 1  # flag of a copy that is not kept up to date


class PhysicalVolume(msgspec.Struct, frozen=True):
    """``uuid`` without hyphens; ``texts`` are the whole descriptions of its group on it, none when it is in no group."""

    uuid: str
    texts: tuple[bytes, ...]


def checksum(data: bytes) -> int:
    """LVM's CRC-32: another start and no inversion."""
    return zlib.crc32(data, _SEED ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def read_physical_volume(source: Source) -> PhysicalVolume:
    """Read the label of a physical volume and what it leads to. Raises FormatError, SourceReadError."""
    start = min(_LABEL_SECTORS * _SECTOR, source.size // _SECTOR * _SECTOR)
    head = source.pread(start, 0)
    for sector in range(0, start, _SECTOR):
        label = Fields(head[sector : sector + _SECTOR], "LVM label")
        if label.bytes(0, 8) == b"LABELONE" and label.bytes(24, 8) == b"LVM2 001":
            label.require(label.u64(8) * _SECTOR == sector, "it says that it is somewhere else")
            label.require(label.u32(16) == checksum(label.bytes(20, _SECTOR - 20)), "its checksum is wrong")
            return _header(source, label)
    raise FormatError("LVM label: there is none.")


def _header(source: Source, label: Fields) -> PhysicalVolume:
    position = label.u32(20)
    uuid = label.bytes(position, 32).decode("ascii", "replace")
    position += 40  # the UUID and the size of the device
    data, position = _areas(label, position)
    copies, position = _areas(label, position)
    label.require(len(data) == 1, f"it has {len(data)} data areas")
    texts = []
    faults = []
    for offset, size in copies:
        try:
            texts += _texts(source, offset, size)
        except FormatError as error:
            faults.append(error)
    if faults and not texts:
        raise faults[0]
    return PhysicalVolume(uuid, tuple(texts))


def _areas(label: Fields, position: int) -> tuple[list[tuple[int, int]], int]:
    """A list of (offset, size) up to one of zeros, and where it ends."""
    areas: list[tuple[int, int]] = []
    while offset := label.u64(position):
        label.require(len(areas) < _MAX_AREAS, "it has too many areas")
        areas.append((offset, label.u64(position + 8)))
        position += 16
    return areas, position + 16


def _texts(source: Source, offset: int, size: int) -> list[bytes]:
    """The description in a metadata area, which is a ring behind a header of one sector; none when nothing was written yet."""
    if size < 2 * _SECTOR or offset + size > source.size:
        raise FormatError("LVM metadata: its area leaves the volume.")
    header = Fields(source.pread(_SECTOR, offset), "LVM metadata header")
    header.require(header.u32(0) == checksum(header.bytes(4, _SECTOR - 4)), "its checksum is wrong")
    header.require(header.bytes(4, 16) == _MAGIC and header.u32(20) == 1, "its version is unknown")
    header.require((header.u64(24), header.u64(32)) == (offset, size), "it says that it is somewhere else")
    start, length, expected, flags = header.u64(40), header.u64(48), header.u32(56), header.u32(60)
    if not start or flags & _IGNORED:
        return []
    header.require(_SECTOR <= start < size and 0 < length <= min(size - _SECTOR, _MAX_TEXT), "the text leaves its area")
    first = min(length, size - start)
    text = source.pread(first, offset + start) + source.pread(length - first, offset + _SECTOR)
    if checksum(text) != expected:
        raise FormatError("LVM metadata: the checksum of the text is wrong.")
    return [text]
