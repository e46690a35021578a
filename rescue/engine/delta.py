"""Delta: what of an image a target holds already, found by reading and hashing it, so that only the rest is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rescue.errors import SourceReadError
from rescue.images.chain import Chain
from rescue.images.clear import NOTHING_CLEAR, Clear
from rescue.images.format import Row, RowKind
from rescue.images.frames import FrameUse, adjacent
from rescue.model.extents import ExtentMap
from rescue.system.blockfile import FileSource

_SEGMENTS: Final = 16  # are looked into to find out whether comparing is worth it …
_ROWS: Final = 4  # … at so many chunks each
# After so many frames in which nothing was right, only every n-th is compared: a target that was half restored, and a
# disk whose other half holds something else, are not read for nothing.
_PATIENCE: Final = 32
_PROBE: Final = 16


class Delta:
    """Compares frames with the target, from several threads. ``late`` says of a range that it is written later, in any case.

    ``clear``: what is encrypted on the target and not in the image.
    """

    def __init__(self, chain: Chain, target: FileSource, late: Callable[[int, int], bool], clear: Clear = NOTHING_CLEAR) -> None:
        self._chain = chain
        self._target = target
        self._content = clear.opened(target)  # as the image has it
        self._late = late
        self._misses = 0
        self._frames = 0
        self._same: list[tuple[int, int]] = []

    def is_worth_it(self) -> bool:
        """Whether any of a sample of chunks is on the target already. Raises as Chain.segment_rows."""
        count = len(self._chain.manifest.segments)
        for number in sorted({position * count // _SEGMENTS for position in range(_SEGMENTS)}):
            rows = [r for r in self._chain.segment_rows(number) if r.kind == RowKind.DATA and not self._late(r.start, r.end)]
            if any(self._is_same(row) for row in rows[len(rows) // (2 * _ROWS) :: max(len(rows) // _ROWS, 1)]):
                return True
        return False

    def differing(self, use: FrameUse, buffer: memoryview) -> tuple[Row, ...]:
        """The chunks of a frame that have to be written. ``buffer`` is scratch space for its content."""
        self._frames += 1
        if self._misses > _PATIENCE and self._frames % _PROBE:
            return use.chunks
        differing: list[Row] = []
        for run in adjacent(use.chunks):
            if self._late(run[0].start, run[-1].end):
                same = [not self._late(row.start, row.end) and self._is_same(row, buffer) for row in run]
            else:
                same = self._compare(run, buffer)
            differing += [row for row, is_same in zip(run, same, strict=True) if not is_same]
            # Chunks that follow each other are one: a disk has millions of them.
            self._same += ExtentMap((row.start, row.end) for row, is_same in zip(run, same, strict=True) if is_same)
        self._misses = self._misses + 1 if len(differing) == len(use.chunks) else 0
        return tuple(differing)

    @property
    def same(self) -> ExtentMap:
        """What was found to be right."""
        return ExtentMap(sorted(self._same))

    def _compare(self, run: list[Row], buffer: memoryview) -> list[bool]:
        """Which of some chunks that follow each other are right: one read."""
        start = run[0].start
        if self._target.is_cached(start, run[-1].end):
            return [self._is_same(row, buffer) for row in run]
        content = buffer[: run[-1].end - start]
        try:
            self._content.pread_into(content, start)
        except SourceReadError:
            return [self._is_same(row, buffer) for row in run]
        return [self._chain.digest(content[row.start - start : row.end - start]) == row.hash for row in run]

    def _is_same(self, row: Row, buffer: memoryview | None = None) -> bool:
        content = memoryview(bytearray(row.length)) if buffer is None else buffer[: row.length]
        try:
            self._content.pread_into(content, row.start)
        except SourceReadError:
            return False  # a write may mend it, or fail and say so
        return self._chain.digest(content) == row.hash
