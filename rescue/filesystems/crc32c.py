"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), as ext4, xfs and btrfs use it for their metadata."""

from __future__ import annotations

import crc32c as library

_ONES = 0xFFFFFFFF


def crc32c_update(register: int, data: bytes | bytearray | memoryview) -> int:
    """Run ``data`` through the register: no inversion before or after, as ext4 keeps its sums."""
    return library.crc32c(data, register ^ _ONES) ^ _ONES


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The standard sum: all ones before, inverted after. ``crc32c(b"123456789") == 0xE3069283``."""
    return library.crc32c(data)
