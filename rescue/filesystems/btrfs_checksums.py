"""The checksums of btrfs blocks: CRC-32C, SHA-256 and BLAKE2b; the fourth, xxHash, cannot be had from Python's library."""

from __future__ import annotations

import hashlib
from typing import Final

from rescue.errors import FormatError
from rescue.filesystems.crc32c import crc32c, crc32c_update

_FIELD: Final = 32  # the checksum's own bytes at the start of each block, which it does not cover
_CRC32C: Final = 0
_SHA256: Final = 2
_BLAKE2: Final = 3

_BATCH: Final = 256
_FEW: Final = 48  # fewer blocks than this are faster one by one


def checksum(block: bytes, kind: int) -> bytes | None:
    """The checksum of one block, None where its kind cannot be computed."""
    if kind == _CRC32C:
        return crc32c(block[_FIELD:]).to_bytes(4, "little")
    if kind == _SHA256:
        return hashlib.sha256(block[_FIELD:]).digest()
    if kind == _BLAKE2:
        return hashlib.blake2b(block[_FIELD:], digest_size=32).digest()
    return None


def crc32c_of_many(blocks: bytes, size: int) -> list[bytes]:
    """The CRC-32C of many blocks of ``size`` bytes each, all of them advanced byte by byte together.

    A register byte of all blocks is one long integer, and a table look-up is one bytes.translate: this is five times
    faster than one block after the other, and makes it affordable to check every block of a tree.
    """
    table = [crc32c_update(value, b"\0") for value in range(256)]
    planes = [bytes(entry >> shift & 0xFF for entry in table) for shift in (0, 8, 16, 24)]
    count = len(blocks) // size
    ones = int.from_bytes(b"\xff" * count, "little")
    low, second, third, high = ones, ones, ones, ones
    for position in range(_FIELD, size):
        index = (low ^ int.from_bytes(blocks[position::size], "little")).to_bytes(count, "little")
        low = second ^ int.from_bytes(index.translate(planes[0]), "little")
        second = third ^ int.from_bytes(index.translate(planes[1]), "little")
        third = high ^ int.from_bytes(index.translate(planes[2]), "little")
        high = int.from_bytes(index.translate(planes[3]), "little")
    sums = ((register ^ ones).to_bytes(count, "little") for register in (low, second, third, high))
    return [bytes(four) for four in zip(*sums, strict=True)]


class Verifier:
    """Verifies tree blocks, CRC-32C in batches: only after :meth:`finish` all that was given is known to be right."""

    def __init__(self, kind: int, size: int) -> None:
        self._kind = kind
        self._size = size
        self._pending: list[bytes] = []

    def add(self, block: bytes) -> None:
        """Verify a block now or later. Raises FormatError."""
        if self._kind == _CRC32C:
            self._pending.append(block)
            if len(self._pending) >= _BATCH:
                self.finish()
        else:
            self._compare(block, checksum(block, self._kind))

    def finish(self) -> None:
        """Verify what is still pending. Raises FormatError."""
        if len(self._pending) < _FEW:
            sums = [checksum(block, self._kind) for block in self._pending]
        else:
            sums = list(crc32c_of_many(b"".join(self._pending), self._size))
        for block, right in zip(self._pending, sums, strict=True):
            self._compare(block, right)
        self._pending.clear()

    @staticmethod
    def _compare(block: bytes, right: bytes | None) -> None:
        if right is not None and block[: len(right)] != right:
            raise FormatError(f"btrfs: the checksum of the tree block at {int.from_bytes(block[48:56], 'little')} is wrong.")
