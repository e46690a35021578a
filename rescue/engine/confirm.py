"""Whether what was written of an unfinished image is still what the disk holds: the part that a backup can go on from."""

from __future__ import annotations

from collections.abc import Sequence

from rescue.images.begun import Begun
from rescue.images.format import Row, RowKind
from rescue.images.writer import Chunk


class Confirmation:
    """Told the chunks of the disk from its start, stretch by stretch; counts the segments that are right."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._segment = 0
        self._rows: list[Row] = begun.rows(0) if begun.segments else []
        self._row = 0
        self._position = 0
        self.good = 0  # segments

    @property
    def wants_more(self) -> bool:
        """Whether there is more to confirm."""
        return self._segment < len(self._begun.segments)

    def agrees(self, chunks: Sequence[Chunk]) -> bool:
        """Whether the next chunks of the disk are those in the unfinished image."""
        return all(self._agrees(chunk) for chunk in chunks) and self._ended()

    def _agrees(self, chunk: Chunk) -> bool:
        """A row of zeros or nothing may be longer than the chunk; one of data is the chunk."""
        while self._row < len(self._rows) and self._rows[self._row].end <= self._position:
            self._row += 1
        if self._row == len(self._rows):
            return False
        row = self._rows[self._row]
        if row.kind != chunk.kind or self._position + chunk.length > row.end:
            return False
        if row.kind == RowKind.BAD:
            return False  # it may be readable now
        if row.kind == RowKind.DATA and (row.start, row.length, row.hash) != (self._position, chunk.length, chunk.hash):
            return False
        self._position += chunk.length
        return True

    def _ended(self) -> bool:
        """Go to the next segment when this one is at its end, which is always the end of a stretch."""
        end = self._begun.segments[self._segment].end
        if self._position == end:
            self.good = self._segment = self._segment + 1
            if self.wants_more:
                self._rows, self._row = self._begun.rows(self._segment), 0
        return self._position <= end
