"""The whole disk in an image as a Source: any byte of it at once, without restoring anything."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import groupby
from queue import SimpleQueue
from threading import Lock
from typing import Final, NamedTuple

from rescue.errors import SourceReadError, UsageError
from rescue.images.chain import Chain
from rescue.images.cipher import FRAME_OVERHEAD
from rescue.images.clear import Clear
from rescue.images.format import Row, RowKind
from rescue.images.frames import FrameDecoder, FrameUse, damaged, place
from rescue.images.segment import ROW_SIZE, pack_row, unpack_row
from rescue.model.source import SliceSource, Source, check_range
from rescue.units import KIB, MIB

_CACHE: Final = 64 * MIB
# 72 bytes a row: 36 MiB, which is the index of 128 GiB of disk.
_ROWS_KEPT: Final = 512 * KIB
# Frames that are decoded at the same time; each takes up to the frame limit (64 MiB) besides the cache.
_DECODERS: Final = 4


class Held(NamedTuple):
    """The bytes ``[start, end)`` of the disk and what the image knows of them."""

    start: int
    end: int
    kind: RowKind


class _Segment:
    """The rows of one segment, packed: a disk of 2 TiB has eight million of them."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self.starts = array("Q")
        self._packed = bytearray()
        for row in rows:
            self.starts.append(row.start)
            self._packed += pack_row(row)

    def row(self, number: int) -> Row:
        return unpack_row(self._packed, number * ROW_SIZE)._replace(start=self.starts[number])


class _Key(NamedTuple):
    """Which frame, as an index describes it. Two that differ in anything are two."""

    file: int
    offset: int
    length: int
    content: int


class _Frame:
    """A frame in the cache. ``proved`` are the chunks (place in the frame, length, hash) whose hashes were checked."""

    def __init__(self, size: int) -> None:
        self.lock = Lock()
        self.size = size
        self.content: memoryview | None = None
        self.proved: set[tuple[int, int, bytes]] = set()


class _AsStored:
    """The bytes of the image before they are encrypted, as a Source."""

    def __init__(self, size: int, fill: Callable[..., None]) -> None:
        self.size = size
        self._fill = fill

    def pread(self, length: int, offset: int) -> bytes:
        buffer = bytearray(length)
        self._fill(memoryview(buffer), offset, zeroed=True)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        self._fill(buffer, offset, zeroed=False)


class ImageView:
    """The disk in an image, as a Source. May be read by many threads; the chain must stay open.

    HOLE and ZERO are zeros. Every byte of DATA was proved by its chunk's hash before it is given out. Reading what is BAD
    raises SourceReadError, with ``bad_as_zeros`` it is zeros. What is clear in the image is encrypted as on the disk, with
    ``as_stored`` it is not. Memory: ``cache`` bytes of frames, and about 100 MB at most.
    """

    def __init__(self, chain: Chain, *, bad_as_zeros: bool = False, as_stored: bool = False, cache: int = _CACHE) -> None:
        self._chain = chain
        self._bad_as_zeros = bad_as_zeros
        self._clear = Clear(()) if as_stored else chain.clear
        self._cache = cache
        self._size = chain.header.disk_size
        limit = chain.header.frame_limit
        # What cannot be compressed grows a little; anything longer was not written by a sane writer.
        self._longest = limit + limit // 128 + 1024 + FRAME_OVERHEAD
        self._segment_starts = [entry.start for entry in chain.manifest.segments]
        self._segments: OrderedDict[int, _Segment] = OrderedDict()
        self._segments_lock = Lock()
        self._rows_kept = 0
        self._frames: OrderedDict[_Key, _Frame] = OrderedDict()
        self._frames_lock = Lock()
        self._cached = 0
        self._decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
        for _ in range(_DECODERS):
            self._decoders.put(FrameDecoder())

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source. Raises SourceReadError also for what is bad in the image; DamagedError, FormatError."""
        check_range(self._size, offset, length)
        buffer = bytearray(length)
        self._give(memoryview(buffer), offset, zeroed=True)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source. Raises as :meth:`pread`; what is in the buffer then means nothing."""
        check_range(self._size, offset, len(buffer))
        self._give(buffer, offset, zeroed=False)

    def partition(self, number: int) -> SliceSource:
        """A partition of the disk; with 0 all of it. Raises UsageError when the image has none of that number."""
        if not number:
            return SliceSource(self, 0, self._size)
        partitions = self._chain.layout.data_partitions
        for partition in partitions:
            if partition.number == number:
                return SliceSource(self, partition.start, partition.end)
        known = ", ".join(str(p.number) for p in partitions)
        raise UsageError(
            f"{self._chain.path} holds no partition {number}.", f"It holds {known}." if known else "It holds no partitions."
        )

    def extents(self, start: int = 0, end: int | None = None) -> Iterator[Held]:
        """What the image knows of ``[start, end)``, without gap, in order; neighbours of one kind are one.

        Reads the index as it goes, no data. Raises as Chain.segment_rows.
        """
        end = self._size if end is None else end
        check_range(self._size, start, end - start)
        held: Held | None = None
        for row in self._rows(start, end):
            for low, high, kind in self._kinds(row, max(row.start, start), min(row.end, end)):
                if held is not None and held.kind == kind:
                    held = Held(held.start, high, held.kind)
                    continue
                if held is not None:
                    yield held
                held = Held(low, high, kind)
        if held is not None:
            yield held

    def _kinds(self, row: Row, start: int, end: int) -> Iterator[Held]:
        """What part of a row is on the disk: zeros that are encrypted there are data."""
        kind = RowKind(row.kind)
        if kind is not RowKind.ZERO or not self._clear:
            yield Held(start, end, kind)
            return
        for low, high, clear in self._clear.pieces(start, end):
            yield Held(low, high, RowKind.DATA if clear else kind)

    def _rows(self, start: int, end: int) -> Iterator[Row]:
        """The rows that have bytes in ``[start, end)``."""
        number = bisect_right(self._segment_starts, start) - 1
        while start < end:
            segment = self._segment(number)
            at = bisect_right(segment.starts, start) - 1
            while at < len(segment.starts) and start < end:
                row = segment.row(at)
                yield row
                start = row.end
                at += 1
            number += 1

    def _segment(self, number: int) -> _Segment:
        with self._segments_lock:
            segment = self._segments.get(number)
            if segment is not None:
                self._segments.move_to_end(number)
                return segment
            expected = self._chain.manifest.segments[number].rows
            while self._segments and self._rows_kept + expected > _ROWS_KEPT:
                _, old = self._segments.popitem(last=False)
                self._rows_kept -= len(old.starts)
            segment = self._segments[number] = _Segment(self._chain.segment_rows(number))
            self._rows_kept += len(segment.starts)
            return segment

    def _give(self, buffer: memoryview, offset: int, *, zeroed: bool) -> None:
        """The bytes as they are on the disk."""
        if not self._clear:
            self._fill(buffer, offset, zeroed=zeroed)
            return
        end = offset + len(buffer)
        self._clear.recode(_AsStored(self._size, self._fill), buffer, offset, opens=False)
        for held in self.extents(offset, end):
            if held.kind is RowKind.HOLE:  # also there, where the image says that it belongs to nothing
                _clear(buffer[held.start - offset : held.end - offset])

    def _fill(self, buffer: memoryview, offset: int, *, zeroed: bool) -> None:
        end = offset + len(buffer)
        for key, run in groupby(self._rows(offset, end), key=_key):
            rows = tuple(run)
            low, high = max(rows[0].start, offset), min(rows[-1].end, end)
            if key is not None:
                content = self._content(key, rows)
                for row in rows:
                    start, stop = max(row.start, offset), min(row.end, end)
                    inside = row.in_frame + start - row.start
                    buffer[start - offset : stop - offset] = content[inside : inside + stop - start]
                continue
            if not self._bad_as_zeros:
                self._refuse_bad(rows, low, high)
            if not zeroed:
                _clear(buffer[low - offset : high - offset])

    def _refuse_bad(self, rows: tuple[Row, ...], low: int, high: int) -> None:
        for row in rows:
            if row.kind == RowKind.BAD:
                start, end = max(row.start, low), min(row.end, high)
                raise SourceReadError(
                    f"{self._chain.path} does not hold {place(self._chain.layout, start)}: it could not be read.",
                    start,
                    end - start,
                    "What is there was lost when the image was made, or is in a file that is missing.",
                )

    def _content(self, key: _Key, chunks: tuple[Row, ...]) -> memoryview:
        """The content of a frame, in which these chunks are proved."""
        frame = self._frame(key)
        with frame.lock:
            if frame.content is None:
                try:
                    frame.content = self._decode(key, chunks)
                except BaseException:
                    self._forget(key, frame)
                    raise
                frame.proved.update((chunk.in_frame, chunk.length, chunk.hash) for chunk in chunks)
                return frame.content
            for chunk in chunks:
                what = (chunk.in_frame, chunk.length, chunk.hash)
                if what in frame.proved:
                    continue
                if self._chain.digest(frame.content[chunk.in_frame : chunk.in_frame + chunk.length]) != chunk.hash:
                    raise damaged(self._chain, chunk, "does not match its hash")
                frame.proved.add(what)
            return frame.content

    def _frame(self, key: _Key) -> _Frame:
        with self._frames_lock:
            frame = self._frames.get(key)
            if frame is None:
                frame = self._frames[key] = _Frame(key.content)
                self._cached += frame.size
                while self._cached > self._cache and len(self._frames) > 1:
                    _, old = self._frames.popitem(last=False)
                    self._cached -= old.size
            else:
                self._frames.move_to_end(key)
            return frame

    def _forget(self, key: _Key, frame: _Frame) -> None:
        with self._frames_lock:
            if self._frames.get(key) is frame:
                del self._frames[key]
                self._cached -= frame.size

    def _decode(self, key: _Key, chunks: tuple[Row, ...]) -> memoryview:
        if key.length > self._longest:
            raise damaged(self._chain, chunks[0], "is longer than it can be")
        file = self._chain.files[key.file]
        assert file is not None  # a chain gives no DATA rows of files that it has not
        decoder = self._decoders.get()
        try:
            stored = memoryview(_stored(file.source, key, chunks[0]))
            buffer = memoryview(bytearray(key.content))
            decoder.decode(self._chain, FrameUse(*key, chunks), stored, buffer)
        finally:
            self._decoders.put(decoder)
        return buffer.toreadonly()


def _stored(source: Source, key: _Key, row: Row) -> bytes:
    """The frame as the file has it. An error of the file's medium is said to be where the disk would have these bytes."""
    try:
        return source.pread(key.length, key.offset)
    except SourceReadError as error:
        hint = error.hint or "The medium that holds the image may be failing."
        raise SourceReadError(error.message, row.start, row.length, hint) from error


def _key(row: Row) -> _Key | None:
    if row.kind != RowKind.DATA:
        return None
    return _Key(row.file, row.frame_offset, row.frame_length, row.frame_content)


def _clear(buffer: memoryview) -> None:
    zeros = bytes(min(len(buffer), MIB))
    for start in range(0, len(buffer), MIB):
        piece = buffer[start : start + MIB]
        piece[:] = zeros[: len(piece)]
