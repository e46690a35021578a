"""The hard passes over what a failing disk did not give at once. The order is that of GNU ddrescue: the likely first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from rescue.engine.rescue_map import FAILED, RescueMap, Status
from rescue.model.extents import Extent, ExtentMap
from rescue.model.progress import CancelToken
from rescue.units import GIB, KIB, align_down, align_up

BLOCK: Final = 64 * KIB
_LARGEST_SKIP: Final = 1 * GIB

Attempt = Callable[[int, int], bool]


class Outcome(msgspec.Struct, frozen=True):
    """How it ended: bytes won in this run, and what is still missing. ``finished``: every sector was tried alone."""

    won: int
    missing: ExtentMap
    finished: bool


class _OutOfTimeError(Exception):
    """The time that was given is over."""


def run_passes(
    rescue_map: RescueMap,
    wanted: ExtentMap,
    attempt: Attempt,
    *,
    sector_size: int,
    retries: int,
    token: CancelToken,
    progress: Callable[[int, int], None],
    clock: Callable[[], float],
    seconds: float | None,
) -> Outcome:
    """Run all passes; see ``Salvage.rescue``. ``attempt(start, end)`` reads, keeps what it read, and says whether it did."""
    missing = wanted.difference(rescue_map.having(Status.RESCUED))
    deadline = None if seconds is None else clock() + seconds
    won = 0
    decided = total = wanted.total
    decided -= missing.difference(rescue_map.having(Status.BAD)).total
    progress(decided, total)

    def counted(start: int, end: int) -> bool:
        nonlocal won, decided
        token.check()
        if deadline is not None and clock() >= deadline:
            raise _OutOfTimeError
        again = end - start <= sector_size and all(s is Status.BAD for _, _, s in rescue_map.between(start, end))
        good = attempt(start, end)
        won += end - start if good else 0
        decided += end - start if not again and (good or end - start <= sector_size) else 0
        progress(min(decided, total), total)
        return good

    passes = _Passes(rescue_map, missing, counted, sector_size)
    finished = True
    try:
        passes.copy_backward()
        passes.sweep()
        passes.trim()
        passes.scrape()
        for number in range(retries):
            passes.retry(backward=number % 2 == 0)
    except _OutOfTimeError:
        finished = False
    rescue_map.phase = Status.RESCUED.value if finished else rescue_map.phase
    return Outcome(won, wanted.difference(rescue_map.having(Status.RESCUED)), finished)


class _Passes:
    def __init__(self, rescue_map: RescueMap, missing: ExtentMap, attempt: Attempt, sector_size: int) -> None:
        self._map = rescue_map
        self._missing = missing
        self._attempt = attempt
        self._sector = sector_size

    def _parts(self, status: Status, phase: Status) -> list[Extent]:
        self._map.phase = phase.value
        return list(self._missing.intersection(self._map.having(status)))

    def copy_backward(self) -> None:
        """Blocks of what was skipped, from the end on: the far side of a bad region is found from behind."""
        skip, skip_to = 0, self._map.size
        for extent in reversed(self._parts(Status.UNTRIED, Status.UNTRIED)):
            end = extent.end
            while end > extent.start:
                if end > skip_to:
                    end = max(extent.start, skip_to)
                    continue
                start = max(extent.start, align_down(end - 1, BLOCK))
                if self._read(start, end, Status.UNTRIMMED):
                    skip, skip_to = 0, self._map.size
                else:
                    skip = min(max(2 * skip, BLOCK), _LARGEST_SKIP)
                    skip_to = max(start - skip, 0)
                end = start

    def sweep(self) -> None:
        """Every block that is left."""
        for extent in self._parts(Status.UNTRIED, Status.UNTRIED):
            for start, end in _pieces(extent, BLOCK):
                self._read(start, end, Status.UNTRIMMED)

    def trim(self) -> None:
        """Sectors from both edges of each range that failed, up to the first that fails: what is between may be all bad."""
        for extent in self._parts(Status.UNTRIMMED, Status.UNTRIMMED):
            low, high = extent
            for start, end in _pieces(extent, self._sector):
                low = end
                if not self._read(start, end, Status.BAD):
                    break
            for start, end in _pieces_backward(Extent(low, high), self._sector):
                high = start
                if not self._read(start, end, Status.BAD):
                    break
            self._map.set(low, high, Status.UNSCRAPED)

    def scrape(self) -> None:
        """Every sector between the edges."""
        for extent in self._parts(Status.UNSCRAPED, Status.UNSCRAPED):
            for start, end in _pieces(extent, self._sector):
                self._read(start, end, Status.BAD)

    def retry(self, *, backward: bool) -> None:
        """Every sector that failed alone, once more."""
        extents = self._parts(Status.BAD, Status.BAD)
        for extent in reversed(extents) if backward else extents:
            for start, end in (_pieces_backward if backward else _pieces)(extent, self._sector):
                self._read(start, end, Status.BAD)

    def _read(self, start: int, end: int, failed: Status) -> bool:
        self._map.position = start
        if self._attempt(start, end):
            return True
        self._map.set(start, end, failed)
        return False


def _pieces(extent: Extent, unit: int) -> Iterator[Extent]:
    """The extent cut at the multiples of ``unit``."""
    start = extent.start
    while start < extent.end:
        end = min(align_up(start + 1, unit), extent.end)
        yield Extent(start, end)
        start = end


def _pieces_backward(extent: Extent, unit: int) -> Iterator[Extent]:
    """The same pieces, the last first."""
    end = extent.end
    while end > extent.start:
        start = max(align_down(end - 1, unit), extent.start)
        yield Extent(start, end)
        end = start


def undecided(rescue_map: RescueMap, wanted: ExtentMap) -> ExtentMap:
    """What of ``wanted`` failed but was not yet read sector by sector: a further run will find more there."""
    return wanted.intersection(rescue_map.having(*(FAILED - {Status.BAD}), Status.UNTRIED))
