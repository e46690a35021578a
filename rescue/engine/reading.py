"""Reading what is allocated of a stretch of a disk, with zeros for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from rescue.model.extents import Extent
from rescue.model.source import Source
from rescue.units import KIB, MIB

# Unallocated bytes up to this size between two allocated extents are read through and zeroed: cheaper than two reads.
_READ_THROUGH: Final = 128 * KIB
_NOTHING: Final = memoryview(bytes(1 * MIB))


def read_extents(source: Source, start: int, end: int, extents: Iterable[Extent], buffer: memoryview) -> None:
    """Fill the start of ``buffer`` with ``[start, end)``: ``extents`` (in order, inside of it) from ``source``, zeros between.

    Raises SourceReadError.
    """
    runs: list[list[Extent]] = []
    for extent in extents:
        if runs and extent.start - runs[-1][-1].end <= _READ_THROUGH:
            runs[-1].append(extent)
        else:
            runs.append([extent])
    position = start
    for run in runs:
        _clear(buffer, position - start, run[0].start - start)
        position = run[-1].end
        source.pread_into(buffer[run[0].start - start : position - start], run[0].start)
        for before, after in pairwise(run):
            _clear(buffer, before.end - start, after.start - start)
    _clear(buffer, position - start, end - start)


def _clear(buffer: memoryview, start: int, end: int) -> None:
    for position in range(start, end, len(_NOTHING)):
        length = min(len(_NOTHING), end - position)
        buffer[position : position + length] = _NOTHING[:length]
