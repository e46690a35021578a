"""Sectors encrypted and decrypted as dm-crypt does it, in its AES modes (Linux, drivers/md/dm-crypt.c)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from rescue.errors import UnsupportedError
from rescue.records import Concealed

UNIT: Final = 512  # in which initialisation vectors count sectors
_KEY_SIZES: Final = {"xts": (32, 64), "cbc": (16, 24, 32)}


class Encryption(Concealed, frozen=True):
    """How a volume is encrypted: by ``cipher`` in ``mode``, in sectors of ``sector_size`` bytes.

    ``first`` is the number of its first sector, in units of 512 bytes. Does not show its key when it is printed.
    """

    cipher: str  # "aes"
    mode: str  # "xts-plain64"
    sector_size: int
    first: int
    key: bytes

    def __repr__(self) -> str:
        return f"Encryption({self.cipher}-{self.mode})"


def is_known(cipher: str, mode: str) -> bool:
    """Whether this program knows it."""
    return cipher == "aes" and mode in _MODES


class SectorCipher:
    """Encrypts and decrypts whole sectors. Any thread may use it.

    Raises UnsupportedError for another cipher than AES in a known mode, or a key that does not fit it.
    """

    def __init__(self, how: Encryption) -> None:
        chain = how.mode.partition("-")[0]
        if not is_known(how.cipher, how.mode) or len(how.key) not in _KEY_SIZES[chain]:
            raise UnsupportedError(f"It is encrypted by {how.cipher}-{how.mode}, which this program does not know.")
        self._sector = how.sector_size
        self._first = how.first
        self._algorithm = algorithms.AES(how.key)
        self._vector = _MODES[how.mode](how.key)
        self._mode = modes.XTS if chain == "xts" else modes.CBC

    @property
    def sector_size(self) -> int:
        """Bytes."""
        return self._sector

    def decrypt(self, secret: memoryview, clear: memoryview, offset: int) -> None:
        """Sectors from byte ``offset`` of the content on; both buffers are a multiple of the sector long, and not the same."""
        for number, at, end in self._sectors(len(secret), offset):
            context = Cipher(self._algorithm, self._mode(self._vector(number))).decryptor()
            self._put(context, secret[at:end], clear[at:end])

    def encrypt(self, clear: memoryview, secret: memoryview, offset: int) -> None:
        """The other way round."""
        for number, at, end in self._sectors(len(clear), offset):
            context = Cipher(self._algorithm, self._mode(self._vector(number))).encryptor()
            self._put(context, clear[at:end], secret[at:end])

    def _put(self, context: CipherContext, source: memoryview, target: memoryview) -> None:
        if self._mode is modes.XTS:
            context.update_into(source, target)
        else:
            # Of block modes it wants a buffer that is longer than what comes out.
            target[:] = context.update(source)

    def _sectors(self, length: int, offset: int) -> list[tuple[int, int, int]]:
        size, step = self._sector, self._sector // UNIT
        first = self._first + offset // UNIT
        return [(first + index * step, index * size, (index + 1) * size) for index in range(length // size)]


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
