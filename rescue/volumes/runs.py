"""Where parts of a volume are: sorted runs of units that follow each other in both places."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import starmap
from typing import NamedTuple

from rescue.errors import FormatError
from rescue.model.extents import ExtentMap


class Run(NamedTuple):
    """Bytes ``[start, end)`` are at ``target``."""

    start: int
    end: int
    target: int


class Runs:
    """Units of ``unit`` bytes: pairs of a number in the volume, ascending, and the number where it is. In memory 24 bytes a run.

    Raises FormatError when numbers do not ascend, or are no numbers of bytes of a disk.
    """

    def __init__(self, unit: int, pairs: Iterable[tuple[int, int]]) -> None:
        starts, ends, targets = array("q"), array("q"), array("q")
        limit = (1 << 62) // unit
        highest = 0
        for number, target in pairs:
            if not (0 <= number < limit and 0 <= target < limit) or (ends and number * unit < ends[-1]):
                raise FormatError(f"A map of a volume makes no sense at {number}.")
            start, place = number * unit, target * unit
            highest = max(highest, place + unit)
            if ends and ends[-1] == start and targets[-1] + ends[-1] - starts[-1] == place:
                ends[-1] = start + unit
            else:
                starts.append(start)
                ends.append(start + unit)
                targets.append(place)
        self._starts, self._ends, self._targets = starts, ends, targets
        self.highest = highest  # end of the last byte that any run is at

    def __iter__(self) -> Iterator[Run]:
        return starmap(Run, zip(self._starts, self._ends, self._targets, strict=True))

    def overlapping(self, start: int, end: int) -> Iterator[Run]:
        """The parts of the runs inside ``[start, end)``, in order."""
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self._starts) and self._starts[index] < end:
            low, high = max(self._starts[index], start), min(self._ends[index], end)
            if low < high:
                yield Run(low, high, self._targets[index] + low - self._starts[index])
            index += 1

    def targets(self) -> ExtentMap:
        """All bytes that runs are at."""
        return ExtentMap(sorted((run.target, run.target + run.end - run.start) for run in self))
