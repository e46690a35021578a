"""The frames of a plain full image without their index: found by what they say of themselves, proved by their checksums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import zstandard

from rescue.errors import FormatError, SourceReadError
from rescue.images.cipher import Digest
from rescue.images.format import MAX_FRAME, MAX_ZERO_FRAME, SKIPPABLE_HEAD, SKIPPABLE_MAGIC, Header, Row, RowKind, zero_frame
from rescue.model.source import Source
from rescue.units import MIB

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_WINDOW: Final = 32 * MIB
_HEAD: Final = 18  # the longest frame header (RFC 8878, 3.1.1.1)

# By its offset in the file: bytes that a frame takes there, and bytes of its content.
Frames = Mapping[int, tuple[int, int]]


class _Frame(NamedTuple):
    """One frame: where it is in the file, how long it is there, and its content's length; ``content`` 0 is none of the disk."""

    offset: int
    stored: int
    content: int


def unindexed_rows(
    source: Source,
    header: Header,
    digest: Digest,
    at: int,
    span: tuple[int, int],
    *,
    anchor: int = 0,
    known: Frames | None = None,
) -> list[Row]:
    """Rows for the bytes ``span`` of the disk, whose frames begin at byte ``at`` of the file of a plain full image.

    Where a frame cannot be read the place of the ones behind it is known by ``known`` (the seek table), or else by ``anchor``,
    the offset in the file at which the frames of the span end (0: not known), if they lead there. What cannot be placed is
    BAD. Reads and decompresses all of it. Memory: 100 MB at most.
    """
    walk = _Walk(source, header, digest)
    found = list(walk.rows(at, span, known))
    if known is None and walk.failed_at is not None and not (anchor and walk.end == (anchor, span[1])):
        # A damaged frame may have told a wrong length: nothing behind it is where it seems to be.
        found = [row for row in found if row.end <= walk.failed_at]
    covered = found[-1].end if found else span[0]
    if covered < span[1]:
        found.append(Row(RowKind.BAD, covered, span[1] - covered))
    return found


class _Walk:
    """Goes from frame to frame. ``failed_at``: where on the disk the first damaged one stands; ``end``: where it stopped."""

    def __init__(self, source: Source, header: Header, digest: Digest) -> None:
        self._source = source
        self._header = header
        self._digest = digest
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME)
        self._window = b""
        self._window_start = 0
        self.failed_at: int | None = None
        self.end = (0, 0)

    def rows(self, at: int, span: tuple[int, int], known: Frames | None) -> Iterator[Row]:
        disk, end = span
        while disk < end:
            frame = self._known(at, known) if known is not None else self._frame(at)
            if frame is None or frame.content > end - disk:
                self.failed_at = disk if self.failed_at is None else self.failed_at
                break
            if frame.content:
                yield from self._rows(frame, disk)
            at += frame.stored
            disk += frame.content
        self.end = (at, disk)

    def _rows(self, frame: _Frame, disk: int) -> Iterator[Row]:
        stored = self._read(frame.offset, frame.stored)
        if frame.content <= MAX_ZERO_FRAME and stored == zero_frame(frame.content):
            yield Row(RowKind.ZERO, disk, frame.content)
            return
        content = self._content(stored, frame.content)
        if content is None:
            self.failed_at = disk if self.failed_at is None else self.failed_at
            yield Row(RowKind.BAD, disk, frame.content)
            return
        step = self._header.chunk_size
        for inside in range(0, frame.content, step):
            piece = content[inside : inside + step]
            if not piece.strip(b"\0"):
                yield Row(RowKind.ZERO, disk + inside, len(piece))
                continue
            yield Row(
                RowKind.DATA, disk + inside, len(piece), 0, inside, frame.offset, frame.stored, frame.content, self._digest(piece)
            )

    def _content(self, stored: bytes, length: int) -> bytes | None:
        """What a data frame holds, if its checksum proves it."""
        if length > self._header.frame_limit:
            return None
        try:
            parameters = zstandard.get_frame_parameters(stored)
            if parameters.content_size != length or not parameters.has_checksum:
                return None
            return self._decompressor.decompress(stored)
        except zstandard.ZstdError:
            return None

    def _known(self, at: int, known: Frames) -> _Frame | None:
        frame = known.get(at)
        return _Frame(at, *frame) if frame is not None else None

    def _frame(self, at: int) -> _Frame | None:
        """The frame at an offset by its own headers (RFC 8878, 3.1.1 and 3.1.2)."""
        head = self._read(at, _HEAD)
        if len(head) < SKIPPABLE_HEAD.size:
            return None
        magic, length = SKIPPABLE_HEAD.unpack_from(head)
        if magic == SKIPPABLE_MAGIC:
            whole = at + SKIPPABLE_HEAD.size + length <= self._source.size
            return _Frame(at, SKIPPABLE_HEAD.size + length, 0) if whole else None
        if head[:4] != _ZSTD:
            return None
        try:
            parameters = zstandard.get_frame_parameters(head)
            position = at + zstandard.frame_header_size(head)
        except zstandard.ZstdError:
            return None
        limit = self._header.frame_limit if parameters.has_checksum else MAX_ZERO_FRAME
        if not 0 < parameters.content_size <= limit:
            return None
        longest = at + limit + limit // 128 + 1024
        last = 0
        while not last:
            block = self._read(position, 3)
            if len(block) < 3 or position > longest:
                return None
            value = int.from_bytes(block, "little")
            last = value & 1
            # An RLE block stores one byte, whatever its size.
            position += 3 + (1 if value >> 1 & 3 == 1 else value >> 3)
        position += 4 if parameters.has_checksum else 0
        return _Frame(at, position - at, parameters.content_size) if position <= self._source.size else None

    def _read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes: fewer at the end of the file, none where it cannot be read."""
        length = max(min(length, self._source.size - offset), 0)
        inside = offset - self._window_start
        if inside < 0 or inside + length > len(self._window):
            self._window_start = offset
            inside = 0
            try:
                self._window = self._source.pread(max(min(_WINDOW, self._source.size - offset), 0), offset)
            except (SourceReadError, FormatError):
                self._window = b""
                return self._alone(offset, length)
        return self._window[inside : inside + length]

    def _alone(self, offset: int, length: int) -> bytes:
        try:
            return self._source.pread(length, offset)
        except (SourceReadError, FormatError):
            return b""
