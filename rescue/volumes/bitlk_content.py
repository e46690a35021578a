"""The content of a BitLocker volume in clear, as a Source.

Source: "BitLocker Drive Encryption (BDE) format" (libbde); for the diffuser "AES-CBC + Elephant diffuser" (Niels Ferguson, 2006).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rescue.errors import FormatError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.source import check_range
from rescue.volumes.bitlk_header import METADATA_SIZE, BitlkHeader
from rescue.volumes.placed import Placed, joined

_Decrypt = Callable[[int, memoryview, memoryview], None]  # byte at which the sector is stored, from, to

_BOOT: Final = ((510, b"\x55\xaa"), (3, b"ReFS"))  # what the first sector of a file system of Windows holds
_A_ROTATIONS: Final = (9, 0, 13, 0)
_A_CYCLES: Final = 5
_B_ROTATIONS: Final = (0, 10, 0, 25)
_B_CYCLES: Final = 3
_WORD: Final = 0xFFFF_FFFF


def key_fits(volume: Placed, header: BitlkHeader, key: bytes) -> bool:
    """Whether it is the volume's key: what it makes of the first sector begins a file system. Raises SourceReadError."""
    if len(key) != key_size(header):
        return False
    first = BitlkContent(volume, header, key).pread(512, 0)
    return any(first[at : at + len(mark)] == mark for at, mark in _BOOT)


def key_size(header: BitlkHeader) -> int:
    """Bytes of the volume key: AES and its second key (XTS, the diffuser)."""
    return header.bits // 8 * (1 if header.mode == "cbc-eboiv" else 2)


def _decryptor(header: BitlkHeader, key: bytes) -> _Decrypt:
    match header.mode:
        case "xts-plain64":
            return _xts(key, header.sector_size)
        case "cbc-eboiv":
            return _cbc(key)
        case _:
            return _elephant(key)


def _xts(key: bytes, sector_size: int) -> _Decrypt:
    algorithm = algorithms.AES(key)

    def decrypt(place: int, source: memoryview, target: memoryview) -> None:
        number = (place // sector_size).to_bytes(16, "little")
        Cipher(algorithm, modes.XTS(number)).decryptor().update_into(source, target)

    return decrypt


def _cbc(key: bytes) -> _Decrypt:
    algorithm = algorithms.AES(key)
    vectors = Cipher(algorithm, modes.ECB())

    def decrypt(place: int, source: memoryview, target: memoryview) -> None:
        vector = vectors.encryptor().update(place.to_bytes(16, "little"))
        target[:] = Cipher(algorithm, modes.CBC(vector)).decryptor().update(source)

    return decrypt


def _elephant(key: bytes) -> _Decrypt:
    half = len(key) // 2
    cbc = _cbc(key[:half])
    tweak = Cipher(algorithms.AES(key[half:]), modes.ECB())

    def decrypt(place: int, source: memoryview, target: memoryview) -> None:
        cbc(place, source, target)
        words = list(struct.unpack(f"<{len(target) // 4}I", target))
        _undiffuse_b(words)
        _undiffuse_a(words)
        offset = place.to_bytes(15, "little")
        sector_key = tweak.encryptor().update(offset + b"\0" + offset + b"\x80")
        mask = int.from_bytes(sector_key * (len(target) // len(sector_key)), "little")
        clear = int.from_bytes(struct.pack(f"<{len(words)}I", *words), "little") ^ mask
        target[:] = clear.to_bytes(len(target), "little")

    return decrypt


def _undiffuse_a(words: list[int]) -> None:
    for _ in range(_A_CYCLES):
        for i in range(len(words)):
            words[i] = words[i] + (words[i - 2] ^ _turned(words[i - 5], _A_ROTATIONS[i % 4])) & _WORD


def _undiffuse_b(words: list[int]) -> None:
    count = len(words)
    for _ in range(_B_CYCLES):
        for i in range(count):
            words[i] = words[i] + (words[(i + 2) % count] ^ _turned(words[(i + 5) % count], _B_ROTATIONS[i % 4])) & _WORD


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _WORD


class BitlkContent:
    """The content of a BitLocker volume. Any thread may read.

    Its first sectors are stored elsewhere; where they and the metadata are stored, the content is zeros.
    """

    def __init__(self, lower: Placed, header: BitlkHeader, key: bytes) -> None:
        if len(key) != key_size(header):
            raise FormatError(f"A key of {len(key)} bytes is none of this BitLocker volume.")
        self._lower = lower
        self._header = header
        self._sector = header.sector_size
        self._decrypt = _decryptor(header, key)
        hidden = [(header.header_offset, header.header_offset + header.header_size)]
        hidden += [(area, area + METADATA_SIZE) for area in header.areas]
        self._hidden = ExtentMap(sorted(hidden)).clip(0, header.size)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._header.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        start = offset - offset % self._sector
        end = -(-(offset + length) // self._sector) * self._sector
        clear = bytearray(end - start)
        self._read(memoryview(clear), start, end)
        for extent in self._hidden.overlapping(start, end):
            clear[extent.start - start : extent.end - start] = bytes(extent.length)
        return bytes(memoryview(clear)[offset - start : offset - start + length])

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)

    def _read(self, target: memoryview, start: int, end: int) -> None:
        for content, stored in self._stored(start, end):
            secret = memoryview(self._lower.pread(content.length, stored))
            for at in range(0, content.length, self._sector):
                here = content.start - start + at
                self._decrypt(stored + at, secret[at : at + self._sector], target[here : here + self._sector])

    def _stored(self, start: int, end: int) -> list[tuple[Extent, int]]:
        """Parts of the content, and where each is stored."""
        border = min(max(self._header.header_size, start), end)
        parts = ((Extent(start, border), self._header.header_offset + start), (Extent(border, end), border))
        return [(extent, stored) for extent, stored in parts if extent.length > 0]

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed. Whole sectors."""
        check_range(self.size, 0, used.end)
        used = used.align(self._sector, self.size)
        header = used.clip(0, self._header.header_size).shift(self._header.header_offset)
        return self._lower.down(joined([header, used.clip(self._header.header_size, self.size)]))


def own_bytes(header: BitlkHeader, size: int) -> ExtentMap:
    """What of a volume of ``size`` bytes BitLocker needs itself: its first sectors, metadata, what is behind."""
    own = [(0, header.header_size), (header.size, size)]
    own += [(area, area + METADATA_SIZE) for area in header.areas]
    return ExtentMap(sorted(own))
