"""The rows of a chain cut into the frames of a full image: which of its frames can be copied, and what must be put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rescue.images.format import Header, Row, RowKind
from rescue.images.frames import FrameUse
from rescue.units import KIB, MIB

_FRAME: Final = 8 * MIB  # of content, of a frame that is compressed anew
_GAP: Final = 1 * MIB  # zeros between data that do not end such a frame
_MAX_ROWS: Final = 32 * KIB  # in one piece: a writer bounds the rows of a segment only between pieces


class Piece(NamedTuple):
    """Rows that follow each other on the disk, and the frame that holds all of their data and nothing else, if there is one."""

    rows: tuple[Row, ...]
    frame: FrameUse | None = None

    @property
    def data_bytes(self) -> int:
        """Bytes of the disk that need a frame."""
        return sum(row.length for row in self.rows if row.kind == RowKind.DATA)


def pieces(rows: Sequence[Row], header: Header) -> Iterator[Piece]:
    """Cut the rows of one segment; ``header`` is of the image that is made. The pieces cover them without gap or overlap.

    Whether the bytes between the data of a plain frame are zeros is to be seen in it.
    """
    return _Cutter(rows, header).cut() if rows else iter(())


class _Cutter:
    def __init__(self, rows: Sequence[Row], header: Header) -> None:
        self._rows = rows
        self._plain = header.is_plain
        self._limit = min(_FRAME, header.frame_limit)
        self._at = rows[0].start  # everything before it is cut
        self._loose: list[Row] = []  # what is to be compressed anew, up to there

    def cut(self) -> Iterator[Piece]:
        number = 0
        before: list[Row] = []  # rows without data since the last one with
        while number < len(self._rows):
            row = self._rows[number]
            if row.kind != RowKind.DATA:
                before.append(row)
                number += 1
                continue
            found = self._window(number)
            if found is not None:
                start, rows, following = found
                yield from self._flushed()
                yield from self._empty(before, start)
                before = []
                yield Piece(rows, _use(rows))
                self._at = rows[-1].end
                number = following
                # The last row without data may reach beyond the frame.
                if following and self._rows[following - 1].end > self._at:
                    before = [self._rows[following - 1]]
                continue
            yield from self._add_loose(before, row)
            before = []
            number += 1
        yield from self._flushed()
        yield from self._empty(before, self._rows[-1].end)

    def _window(self, number: int) -> tuple[int, tuple[Row, ...], int] | None:
        """Where the frame of a row begins, the rows that it covers, and the first one behind; None if it cannot be copied."""
        return self._plain_window(number) if self._plain else self._dense_window(number)

    def _plain_window(self, number: int) -> tuple[int, tuple[Row, ...], int] | None:
        first = self._rows[number]
        start = first.start - first.in_frame
        end = start + first.frame_content
        if start < self._at or end > self._rows[-1].end or (self._loose and start < self._loose[-1].end):
            return None
        low = number
        while self._rows[low].start > start:
            low -= 1
        rows: list[Row] = []
        while low < len(self._rows) and self._rows[low].start < end:
            row = self._rows[low]
            if row.kind != RowKind.DATA:
                rows.append(_part(row, start, end))
            elif _frame(row) == _frame(first) and row.start - start == row.in_frame and row.end <= end:
                rows.append(row)
            else:
                return None
            low += 1
        return (start, tuple(rows), low) if len(rows) <= _MAX_ROWS else None

    def _dense_window(self, number: int) -> tuple[int, tuple[Row, ...], int] | None:
        first = self._rows[number]
        rows: list[Row] = []
        inside = 0
        for following in range(number, len(self._rows)):
            row = self._rows[following]
            if len(rows) == _MAX_ROWS:
                return None
            if row.kind == RowKind.DATA:
                if _frame(row) != _frame(first) or row.in_frame != inside:
                    return None
                inside += row.length
            rows.append(row)
            if inside == first.frame_content:
                return first.start, tuple(rows), following + 1
        return None

    def _empty(self, rows: Sequence[Row], end: int) -> Iterator[Piece]:
        """Rows without data, as far as they are not cut yet, up to ``end``."""
        left = [_part(row, self._at, end) for row in rows if row.end > self._at and row.start < end]
        for low in range(0, len(left), _MAX_ROWS):
            yield Piece(tuple(left[low : low + _MAX_ROWS]))
        self._at = max(self._at, end)

    def _add_loose(self, before: Sequence[Row], row: Row) -> Iterator[Piece]:
        gap = [_part(other, self._at, row.start) for other in before if other.end > self._at]
        between = row.start - self._at
        taken = sum(r.length for r in self._loose if self._plain or r.kind == RowKind.DATA)
        needed = row.length + (between if self._plain else 0)
        if self._loose and (between > _GAP or taken + needed > self._limit or len(self._loose) + len(gap) + 1 > _MAX_ROWS):
            yield from self._flushed()
        if self._loose:
            self._loose += gap
        else:
            yield from self._empty(gap, row.start)
        self._loose.append(row)
        self._at = row.end

    def _flushed(self) -> Iterator[Piece]:
        if self._loose:
            yield Piece(tuple(self._loose))
            self._loose = []


def _frame(row: Row) -> tuple[int, int, int, int]:
    return row.file, row.frame_offset, row.frame_length, row.frame_content


def _use(rows: Sequence[Row]) -> FrameUse:
    chunks = tuple(row for row in rows if row.kind == RowKind.DATA)
    return FrameUse(*_frame(chunks[0]), chunks)


def _part(row: Row, start: int, end: int) -> Row:
    """A row without data, as far as it is in ``[start, end)``."""
    low, high = max(row.start, start), min(row.end, end)
    return row._replace(start=low, length=high - low)
