"""The metadata of BitLocker (Windows 7 and later): where the encrypted content is and how it is encrypted.

Source: "BitLocker Drive Encryption (BDE) format" (Joachim Metz, libbde), and cryptsetup, lib/bitlk.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import KIB

METADATA_SIZE: Final = 64 * KIB  # of each of its three areas
_SECTOR: Final = 512
_SIGNATURE: Final = b"-FVE-FS-"
_TO_GO: Final = b"MSWIN4.1"
_PLACES: Final = {_SIGNATURE: 160, _TO_GO: 424}  # of the identifier and the offsets in the boot sector
_NORMAL: Final = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001")
_BLOCK: Final = 64  # bytes of the header of a metadata block; the header of the metadata behind it
_HEAD: Final = 48
_ENCRYPTED: Final = 4  # the state of a volume that is encrypted, and stays so
_VOLUME_HEADER: Final = 0x000F
_METHODS: Final = {
    0x8000: ("cbc-elephant", 16), 0x8001: ("cbc-elephant", 32), 0x8002: ("cbc-eboiv", 16), 0x8003: ("cbc-eboiv", 32),
    0x8004: ("xts-plain64", 16), 0x8005: ("xts-plain64", 32),
}  # fmt: skip
_CHANGING: Final = "It is being encrypted or decrypted by BitLocker: let Windows end that first."
_MAX_ENTRIES: Final = 1024


class Entry(msgspec.Struct, frozen=True):
    """A piece of BitLocker's metadata. Its ``data`` are behind its own header."""

    type: int
    value: int
    data: Fields


class BitlkHeader(msgspec.Struct, frozen=True):
    """Bytes ``[0, size)`` of the volume are encrypted in sectors of ``sector_size`` bytes by AES in ``mode``.

    The first ``header_size`` bytes of the content are at ``header_offset``; ``areas`` are where each of the three copies of
    the metadata begins. ``bits`` are of each AES key.
    """

    uuid: str
    size: int
    sector_size: int
    mode: str
    bits: int
    header_offset: int
    header_size: int
    areas: tuple[int, ...]
    entries: tuple[Entry, ...]


def read_bitlk_header(source: Source) -> BitlkHeader:
    """Read the metadata of a BitLocker volume, the first copy that is whole.

    Raises FormatError (damaged), UnsupportedError (something that this program does not know is in use), SourceReadError.
    """
    boot = Fields(source.pread(min(_SECTOR, source.size), 0), "BitLocker boot sector")
    place = _PLACES.get(boot.bytes(3, 8))
    boot.require(place is not None, "it has no signature")
    assert place is not None
    if boot.bytes(0, 3) == b"\xeb\x52\x90":
        raise UnsupportedError("It is encrypted by the BitLocker of Windows Vista, which this program does not know.")
    sector_size = boot.u16(11) or _SECTOR
    boot.require(sector_size in (512, 4096), f"sectors of {sector_size} bytes")
    if uuid.UUID(bytes_le=boot.bytes(place, 16)) != _NORMAL:
        raise UnsupportedError(_CHANGING)
    areas = tuple(boot.u64(place + 16 + 8 * number) for number in range(3))
    for number, offset in enumerate(areas):
        block = _block(source, offset)
        if block is not None and block.u64(32 + 8 * number) == offset:
            return _described(block, source.size, sector_size)
    raise FormatError("BitLocker metadata: no copy of it is whole.")


def _block(source: Source, offset: int) -> Fields | None:
    """One copy of the metadata, if it is whole by its checksum."""
    if offset % _SECTOR or offset + METADATA_SIZE > source.size:
        return None
    data = source.pread(METADATA_SIZE, offset)
    size = 16 * int.from_bytes(data[8:10], "little")
    if data[:8] != _SIGNATURE or int.from_bytes(data[10:12], "little") != 2 or not _BLOCK + _HEAD <= size <= len(data) - 8:
        return None
    expected = int.from_bytes(data[size + 4 : size + 8], "little")
    return Fields(data[:size], "BitLocker metadata") if zlib.crc32(data[:size]) == expected else None


def _described(block: Fields, size: int, sector_size: int) -> BitlkHeader:
    if (block.u16(12), block.u16(14)) != (_ENCRYPTED, _ENCRYPTED):
        raise UnsupportedError(_CHANGING)
    length, method = block.u32(_BLOCK), block.u16(_BLOCK + 36)
    if method not in _METHODS:
        raise UnsupportedError(f"It is encrypted by BitLocker in a way that this program does not know ({method:#06x}).")
    mode, key = _METHODS[method]
    block.require(_HEAD <= length <= len(block) - _BLOCK, f"{length} bytes do not fit into it")
    entries = tuple(read_entries(block.part(_BLOCK + _HEAD, length - _HEAD, block.what)))
    header_offset, header_size = block.u64(56), block.u32(28) * sector_size
    for entry in entries:
        if entry.type == _VOLUME_HEADER:
            header_offset, header_size = entry.data.u64(0), entry.data.u64(8)
    content = block.u64(16)
    areas = tuple(block.u64(32 + 8 * number) for number in range(3))
    whole = all(value % sector_size == 0 for value in (content, header_offset, header_size, *areas))
    block.require(whole, "its places are not at whole sectors")
    block.require(0 < content <= size, f"a volume of {content} bytes on one of {size}")
    block.require(0 < header_size <= header_offset <= content - header_size, "its first sectors leave the volume")
    block.require(all(header_size <= area <= size - METADATA_SIZE for area in areas), "its copies leave the volume")
    identifier = str(uuid.UUID(bytes_le=block.bytes(_BLOCK + 16, 16)))
    return BitlkHeader(identifier, content, sector_size, mode, 8 * key, header_offset, header_size, areas, entries)


def read_entries(data: Fields) -> Iterator[Entry]:
    """The entries of metadata, or of a part of them. Raises FormatError."""
    position = 0
    for _ in range(_MAX_ENTRIES):
        if position + 8 > len(data):
            return
        size = data.u16(position)
        if not size:
            return
        data.require(size >= 8, f"an entry of {size} bytes")
        yield Entry(data.u16(position + 2), data.u16(position + 4), data.part(position + 8, size - 8, data.what))
        position += size
    raise FormatError(f"{data.what}: it has too many entries.")
