"""The content of a LUKS volume in clear, as a Source: dm-crypt's AES modes (Linux, drivers/md/dm-crypt.c)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rescue.errors import UnsupportedError
from rescue.model.extents import ExtentMap
from rescue.model.source import check_range
from rescue.volumes.luks_header import LuksHeader
from rescue.volumes.placed import Placed, Window

_UNIT: Final = 512  # in which initialisation vectors count sectors
_KEY_SIZES: Final = {"xts": (32, 64), "cbc": (16, 24, 32)}

_Decrypt = Callable[[int, memoryview, memoryview], None]  # number of the sector, from, to


def can_decrypt(header: LuksHeader) -> bool:
    """Whether this program knows the cipher."""
    return header.cipher == "aes" and header.mode in _MODES


def decryptor(header: LuksHeader, key: bytes) -> _Decrypt:
    """What decrypts one sector. Raises UnsupportedError for another cipher than AES in a known mode."""
    chain = header.mode.partition("-")[0]
    if not can_decrypt(header) or len(key) not in _KEY_SIZES[chain]:
        raise UnsupportedError(f"It is encrypted by {header.cipher}-{header.mode}, which this program does not know.")
    algorithm = algorithms.AES(key)
    make_vector = _MODES[header.mode](key)
    mode = modes.XTS if chain == "xts" else modes.CBC

    def decrypt(number: int, source: memoryview, target: memoryview) -> None:
        context = Cipher(algorithm, mode(make_vector(number))).decryptor()
        context.update_into(source, target)

    return decrypt


def _plain64(key: bytes) -> Callable[[int], bytes]:
    return lambda number: number.to_bytes(16, "little")


def _plain(key: bytes) -> Callable[[int], bytes]:
    return lambda number: (number & 0xFFFF_FFFF).to_bytes(16, "little")


def _essiv(key: bytes) -> Callable[[int], bytes]:
    salt = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB())
    return lambda number: salt.encryptor().update(number.to_bytes(16, "little"))


_MODES: Final = {
    "xts-plain64": _plain64,
    "xts-plain": _plain,
    "cbc-plain64": _plain64,
    "cbc-plain": _plain,
    "cbc-essiv:sha256": _essiv,
}


class Decrypted:
    """The content of a LUKS volume. Any thread may read. Raises UnsupportedError as :func:`decryptor`."""

    def __init__(self, lower: Placed, header: LuksHeader, key: bytes) -> None:
        self._lower = Window(lower, header.start, header.end)
        self._sector = header.sector_size
        self._first = header.first
        self._decrypt = decryptor(header, key)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._lower.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        start = offset - offset % self._sector
        end = -(-(offset + length) // self._sector) * self._sector
        clear = bytearray(end - start)
        self._read(memoryview(clear), start)
        return bytes(memoryview(clear)[offset - start : offset - start + length])

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)

    def _read(self, target: memoryview, start: int) -> None:
        secret = memoryview(self._lower.pread(len(target), start))
        step = self._sector // _UNIT
        number = self._first + start // _UNIT
        for at in range(0, len(target), self._sector):
            self._decrypt(number, secret[at : at + self._sector], target[at : at + self._sector])
            number += step

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed. Whole sectors: a part of one is of no use."""
        check_range(self.size, 0, used.end)
        return self._lower.down(used.align(self._sector, self.size))
