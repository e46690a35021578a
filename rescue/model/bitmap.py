"""Allocation bitmaps (one bit a block, least significant bit first) turned into extents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_RUNS = re.compile(rb"\x00+|\xff+|[^\x00\xff]+", re.DOTALL)


def _runs_of(byte: int) -> tuple[tuple[int, int], ...]:
    """The half-open runs of set bits in one byte."""
    edges = [bit for bit in range(9) if (byte << 1 >> bit & 1) != (byte >> bit & 1)]
    return tuple(zip(edges[::2], edges[1::2], strict=True))


_RUNS_OF: Final = tuple(_runs_of(byte) for byte in range(256))


def set_runs(bitmap: bytes | bytearray | memoryview, bits: int) -> Iterator[tuple[int, int]]:
    """Yield half-open runs ``(first, end)`` of set bits among the first ``bits``, coalesced, in order.

    Runs of equal bytes are found by a regular expression, so that a mostly full or mostly empty bitmap costs little.
    """
    start = end = 0  # the run that may still grow
    for first, last in _raw_runs(bytes(bitmap[: (bits + 7) // 8])):
        if first == end:
            end = last
            continue
        if start < min(end, bits):
            yield start, min(end, bits)
        start, end = first, last
    if start < min(end, bits):
        yield start, min(end, bits)


def _raw_runs(data: bytes) -> Iterator[tuple[int, int]]:
    for match in _RUNS.finditer(data):
        first, end = match.span()
        value = data[first]
        if value == 0xFF:
            yield first * 8, end * 8
        elif value:
            for index in range(first, end):
                base = index * 8
                for low, high in _RUNS_OF[data[index]]:
                    yield base + low, base + high
