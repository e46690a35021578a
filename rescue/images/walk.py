"""The frames of an image file in the order in which they must stand, as its index has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rescue.errors import DamagedError
from rescue.images.format import MAX_ZERO_FRAME, Header, zero_frame
from rescue.images.frames import FrameUse


class Piece(NamedTuple):
    """One frame: its place and length in the file, what a stock decoder makes of it, and for a data frame what it is used for."""

    offset: int
    stored: int
    content: int
    use: FrameUse | None


class SegmentWalk:
    """Goes over the data and zero frames of one segment after the other. ``offset`` and ``disk``: where it is."""

    def __init__(self, header: Header, path: str, offset: int) -> None:
        self._header = header
        self._path = path
        self.offset = offset  # in the file
        self.disk = 0  # a stock decoder has put out this many bytes

    def frames(self, uses: Iterable[FrameUse], end: int) -> Iterator[Piece]:
        """The frames of a segment that ends at ``end`` of the disk, from those that its rows use of this file.

        Raises DamagedError when a frame is not where it must be.
        """
        for use in uses:
            if self._header.is_plain:
                start = use.chunks[0].start - use.chunks[0].in_frame
                if start < self.disk or any(chunk.start - chunk.in_frame != start for chunk in use.chunks):
                    raise self.wrong()
                yield from self._zeros_up_to(start)
            if use.offset != self.offset:
                raise self.wrong()
            yield self._piece(use.length, use.content, use)
        if self._header.is_plain:
            if self.disk > end:
                raise self.wrong()
            yield from self._zeros_up_to(end)

    def skip(self, stored: int) -> None:
        """Pass over a skippable frame."""
        self.offset += stored

    def _zeros_up_to(self, end: int) -> Iterator[Piece]:
        while self.disk < end:
            length = min(end - self.disk, MAX_ZERO_FRAME)
            yield self._piece(len(zero_frame(length)), length, None)

    def _piece(self, stored: int, content: int, use: FrameUse | None) -> Piece:
        # To a stock decoder, a sealed frame is one to skip.
        content = 0 if self._header.encryption else content
        piece = Piece(self.offset, stored, content, use)
        self.offset += stored
        self.disk += content
        return piece

    def wrong(self) -> DamagedError:
        """The error for a frame that is not where it must be."""
        return DamagedError(
            f"{self._path} is damaged: its frames and its index do not agree near byte {self.offset} of the file.",
            "Use another image of this disk.",
        )
