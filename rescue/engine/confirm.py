"""Whether what was written of an unfinished image is still what the disk holds: the part that a backup can go on from."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import NamedTuple

from rescue.engine.regions import Stretch
from rescue.errors import DamagedError, FormatError, SourceReadError
from rescue.images.begun import Begun
from rescue.images.cipher import FRAME_OVERHEAD, Cipher, digest_of
from rescue.images.format import SKIPPABLE_HEAD, Row, RowKind, zero_frame
from rescue.images.frames import BadFrameError, FrameDecoder, FrameUse, segment_uses
from rescue.images.segment import SegmentEntry
from rescue.images.walk import SegmentWalk
from rescue.images.writer import Chunk


class Expected(NamedTuple):
    """A stretch of the disk, the rows that the unfinished image has of it, and how many segments are whole at its end (or 0)."""

    stretch: Stretch
    rows: list[Row]
    segments: int


class Confirmation:
    """Compares an unfinished image with the disk, and its frames with its index.

    Both are needed: of what a computer wrote before its power was cut, a late part may be on the medium and an earlier one not.
    Threads may share it.
    """

    def __init__(self, begun: Begun, threads: int) -> None:
        self._begun = begun
        self._cipher = Cipher(begun.header, begun.keys)
        self._digest = digest_of(begun.keys)
        self._longest = begun.header.frame_limit + begun.header.frame_limit // 128 + 1024 + FRAME_OVERHEAD
        self._decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
        for _ in range(threads):
            self._decoders.put(FrameDecoder())

    def expected(self, stretches: Iterable[Stretch]) -> Iterator[Expected]:
        """What is to be compared, in disk order, up to where the index, or the way in which the disk is cut, is another one."""
        begun = self._begun
        stretches = iter(stretches)
        walk = SegmentWalk(begun.header, "The unfinished image", begun.preamble)
        for number, entry in enumerate(begun.segments):
            rows = self._rows(number)
            if not rows or not self._is_in_place(walk, rows, entry):
                return
            starts = [row.start for row in rows]
            position = entry.start
            while position < entry.end:
                stretch = next(stretches, None)
                # A segment ends with a stretch, in the same places of the disk as long as its layout and used maps are the same.
                if stretch is None or stretch.start != position or stretch.end > entry.end:
                    return
                position = stretch.end
                first, last = bisect_right(starts, stretch.start) - 1, bisect_left(starts, stretch.end)
                yield Expected(stretch, rows[first:last], number + 1 if position == entry.end else 0)

    def stored_segments(self, buffer: memoryview) -> Iterator[list[Row]]:
        """The rows of each segment, as long as its frames stand in place and hold what it says. ``buffer`` is scratch space."""
        walk = SegmentWalk(self._begun.header, "The unfinished image", self._begun.preamble)
        for number, entry in enumerate(self._begun.segments):
            rows = self._rows(number)
            if not rows or not self._is_in_place(walk, rows, entry) or not self._are_whole(rows, buffer):
                return
            yield rows

    def _rows(self, number: int) -> list[Row]:
        try:
            return self._begun.rows(number)
        except (DamagedError, FormatError, SourceReadError):
            return []

    def _is_in_place(self, walk: SegmentWalk, rows: list[Row], entry: SegmentEntry) -> bool:
        """Whether the frames stand where the index has them, one behind the other, and the zeros between them are there."""
        own = [use for use in segment_uses(rows) if isinstance(use, FrameUse) and not use.file]
        try:
            for piece in walk.frames(own, entry.end):
                if piece.use is None:
                    zeros = zero_frame(piece.content)
                    if piece.offset + len(zeros) > entry.offset or self._begun.source.pread(len(zeros), piece.offset) != zeros:
                        return False
        except (DamagedError, SourceReadError):
            return False
        in_place = walk.offset == entry.offset
        walk.skip(SKIPPABLE_HEAD.size + entry.length)
        return in_place

    def agrees(self, expected: Expected, chunks: Sequence[Chunk], buffer: memoryview) -> bool:
        """Whether the chunks of a stretch are those in the image, and the image has their data. ``buffer`` is scratch space."""
        return _are_same(expected.stretch.start, chunks, expected.rows) and self.is_stored(expected, buffer)

    def is_stored(self, expected: Expected, buffer: memoryview) -> bool:
        """Whether the image has the data of a stretch that its index says it has. ``buffer`` is scratch space."""
        return self._are_whole(expected.rows, buffer)

    def _are_whole(self, rows: Sequence[Row], buffer: memoryview) -> bool:
        uses = [use for use in segment_uses(rows) if isinstance(use, FrameUse) and not use.file]
        return all(self._is_whole(use, buffer) for use in uses)

    def _is_whole(self, use: FrameUse, buffer: memoryview) -> bool:
        if use.length > self._longest or use.content > len(buffer):
            return False
        decoder = self._decoders.get()
        try:
            stored = memoryview(self._begun.source.pread(use.length, use.offset))
            decoder.fill(self._cipher, self._digest, use, stored, buffer)
        except (BadFrameError, SourceReadError):
            return False
        finally:
            self._decoders.put(decoder)
        return True


def _are_same(position: int, chunks: Sequence[Chunk], rows: Sequence[Row]) -> bool:
    """A row of zeros or of nothing may be longer than the chunk; one of data is the chunk."""
    left = iter(rows)
    row = next(left, None)
    for chunk in chunks:
        while row is not None and row.end <= position:
            row = next(left, None)
        # What could not be read may be readable now.
        if row is None or row.kind != chunk.kind or row.kind == RowKind.BAD or position + chunk.length > row.end:
            return False
        if row.kind == RowKind.DATA and (row.start, row.length, row.hash) != (position, chunk.length, chunk.hash):
            return False
        position += chunk.length
    return True
