"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), as ext4, xfs and btrfs use it for their metadata."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

_ONES = 0xFFFFFFFF

Bytes = bytes | bytearray | memoryview


@cache
def _library() -> Callable[[Bytes, int], int]:
    # Not at the start: it looks for its own version among all packages, and most commands compute no sum.
    from crc32c import crc32c

    return crc32c


def crc32c_update(register: int, data: Bytes) -> int:
    """Run ``data`` through the register: no inversion before or after, as ext4 keeps its sums."""
    return _library()(data, register ^ _ONES) ^ _ONES


def crc32c(data: Bytes) -> int:
    """The standard sum: all ones before, inverted after. ``crc32c(b"123456789") == 0xE3069283``."""
    return _library()(data, 0)
