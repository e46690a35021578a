"""The checksums of btrfs blocks: CRC-32C, xxHash, SHA-256 and BLAKE2b (btrfs-progs, ``btrfs(5)``, "Checksum algorithms")."""

from __future__ import annotations

import hashlib
from typing import Final

import xxhash

from rescue.errors import FormatError
from rescue.filesystems.crc32c import crc32c

_FIELD: Final = 32  # the checksum's own bytes at the start of each block, which it does not cover
_CRC32C: Final = 0
_XXHASH: Final = 1
_SHA256: Final = 2
_BLAKE2: Final = 3


def checksum(block: bytes, kind: int) -> bytes | None:
    """The checksum of one block, None for a kind that is not known."""
    content = memoryview(block)[_FIELD:]
    if kind == _CRC32C:
        return crc32c(content).to_bytes(4, "little")
    if kind == _XXHASH:
        return xxhash.xxh64_intdigest(content).to_bytes(8, "little")
    if kind == _SHA256:
        return hashlib.sha256(content).digest()
    if kind == _BLAKE2:
        return hashlib.blake2b(content, digest_size=32).digest()
    return None


def verify(block: bytes, kind: int) -> None:
    """Verify a tree block. Raises FormatError."""
    right = checksum(block, kind)
    if right is not None and block[: len(right)] != right:
        raise FormatError(f"btrfs: the checksum of the tree block at {int.from_bytes(block[48:56], 'little')} is wrong.")
