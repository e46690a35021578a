"""Transfer: parts of disks, by the bytes that are in use, onto another disk at places of their own, and the proof.

Wipe both ends and every border -> data -> what is late (tables, boot gap), the first sectors last; then everything is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from types import TracebackType
from typing import Final, NamedTuple

from rescue.devices.table import read_layout
from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.reading import read_extents
from rescue.engine.regions import FRAME_SIZE
from rescue.engine.target import SYNC_EVERY, prove_late, wipe, write_late, wrong
from rescue.engine.transfer_parts import CHUNK, Part, Piece, Span, late_ranges, merged, pieces, runs
from rescue.engine.transfer_record import Record, digest, digest_of_zeros
from rescue.errors import RefusedError, SourceReadError
from rescue.model.layout import Layout
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSink, FileSource
from rescue.units import human_size

__all__ = ["Part", "Transfer"]

_MOST_WORKERS: Final = 8
_LOOKS: Final = 32  # at each part, to see whether the target holds some of it already
# After so many pieces in which nothing was right, only every n-th is compared: see engine/delta.py.
_PATIENCE: Final = 32
_PROBE: Final = 16


class _Read(NamedTuple):
    piece: Piece
    buffer: memoryview
    data: tuple[Span, ...]  # to be written
    zeros: tuple[Span, ...]  # to be made zero
    proved: int  # bits: the spans that are to be read back
    hash: bytes  # of those
    same: int  # bytes that the target held already …
    same_zeros: int  # … and zeros


class Transfer:
    """One copy of ``parts`` onto a target (a block device, or an existing file). A context manager; call in order.

    Opening raises RefusedError when the target is in use or too small; nothing has been written then. ``table`` are the bytes
    ``(offset, data)`` that are written last, over whatever the parts hold there; ``layout`` is what they must read back as.
    Messages call where it comes from ``title``. A source with a head to move (``rotational``) is read by one thread at a time.
    """

    def __init__(
        self,
        target_path: str,
        parts: Sequence[Part],
        table: Sequence[tuple[int, bytes]],
        layout: Layout,
        *,
        title: str,
        rotational: bool = False,
    ) -> None:
        self._late = merged(table)
        self._layout = layout
        self._title = title
        self._turn: AbstractContextManager[object] = Lock() if rotational else nullcontext()
        self._parts = [piece for part in parts for piece in part.without(late_ranges(self._late))]
        self._record = Record()
        self._same_bytes = self._same_zeros = self._written_bytes = self._to_prove = 0
        self._misses = self._compared = 0
        needed = max((part.target_end for part in parts), default=0)
        needed = max(needed, max((offset + len(data) for offset, data in self._late), default=0))
        self._sink = FileSink(target_path, direct=True)
        if self._sink.size < needed:
            missing = needed - self._sink.size
            self.close()
            raise RefusedError(f"{target_path} is too small: it lacks {missing} bytes.", f"It needs {human_size(needed)}.")

    @property
    def same_bytes(self) -> int:
        """How much of the data was on the target already."""
        return self._same_bytes

    @property
    def written_bytes(self) -> int:
        """How much of the data was written; what was made zero is not counted."""
        return self._written_bytes

    def wipe(self) -> None:
        """Remove what is at both ends of the target and at the borders of its partitions, those of now and those to come.

        Raises TargetWriteError, SourceReadError.
        """
        with FileSource(self._sink.path) as target:
            old = read_layout(target, self._layout.sector_size)
        wipe(self._sink, [old, self._layout])

    def copy(self, token: CancelToken, progress: Callable[[int, int], None], delta: bool | None = None) -> None:
        """Write everything but what is late.

        With ``delta`` the target is compared first, and only what differs is written; None tries a sample to find out
        whether that is worth it. Raises SourceReadError (named by part), TargetWriteError, CancelledError; ``progress`` is
        told bytes of the parts that are in use.
        """
        with FileSource(self._sink.path, direct=True) as target:
            target.drop_cache()
            self._copy(token, progress, target if delta or (delta is None and self._is_worth_it(target)) else None)

    def _copy(self, token: CancelToken, progress: Callable[[int, int], None], target: FileSource | None) -> None:
        workers = min(worker_count() + 2, _MOST_WORKERS)
        window = workers + 4
        total = sum(part.extents.total for part in self._parts)
        buffers = Buffers(window, FRAME_SIZE, total)
        scratch = Buffers(workers, FRAME_SIZE, total) if target else None
        done = unsynced = 0
        self._record = Record()
        self._same_bytes = self._same_zeros = self._written_bytes = self._to_prove = 0

        def read(piece: Piece) -> _Read:
            token.check()
            buffer = buffers.lend()
            stretch = piece.stretch
            try:
                with self._turn:
                    read_extents(piece.part.source, stretch.start, stretch.end, stretch.extents, buffer)
            except SourceReadError as error:
                raise self._named(error, piece.part) from error
            hashes = [digest(buffer[span.start : span.end]) for span in piece.spans]
            # Of a piece that cannot be read a write may mend it, or fail and say so.
            held = self._held(piece, target, scratch, hashes) if target and scratch else frozenset()
            return self._decide(piece, buffer, hashes, held)

        def write(found: _Read) -> None:
            nonlocal done, unsynced
            token.check()
            start = found.piece.target_start
            for run in runs(found.zeros):
                self._sink.zero(start + run.start, start + run.end)
            for run in runs(found.data):
                self._sink.pwrite(found.buffer[run.start : run.end], start + run.start)
                unsynced += run.length
                self._written_bytes += run.length
            buffers.give_back(found.buffer)
            self._record.add(found.proved, found.hash)
            self._to_prove += sum(span.length for span in (*found.zeros, *found.data))
            self._same_bytes += found.same
            self._same_zeros += found.same_zeros
            done += sum(extent.length for extent in found.piece.stretch.extents)
            if unsynced >= SYNC_EVERY:
                self._sink.flush()
                unsynced = 0
            progress(done, total)

        progress(0, total)
        run_ordered(pieces(self._parts), read, write, workers=workers, window=window)
        self._sink.flush()

    def _decide(self, piece: Piece, buffer: memoryview, hashes: list[bytes], held: frozenset[int]) -> _Read:
        """What of a piece is written, what made zero, and what is to be proved."""
        data: list[Span] = []
        zeros: list[Span] = []
        proved = same = same_zeros = 0
        kept: list[bytes] = []
        for index, (span, found) in enumerate(zip(piece.spans, hashes, strict=True)):
            is_zero = found == digest_of_zeros(span.length)
            if index in held:
                if is_zero:
                    same_zeros += span.length
                else:
                    same += span.length
                continue
            if is_zero and not piece.part.zeros:
                continue
            (zeros if is_zero else data).append(span)
            proved |= 1 << index
            kept.append(found)
        return _Read(piece, buffer, tuple(data), tuple(zeros), proved, digest(b"".join(kept)), same, same_zeros)

    def _held(self, piece: Piece, target: FileSource, scratch: Buffers, hashes: list[bytes]) -> frozenset[int]:
        """The numbers of the spans that the target holds already."""
        self._compared += 1
        if self._misses > _PATIENCE and self._compared % _PROBE:
            return frozenset()
        buffer = scratch.lend()
        held = set()
        index = 0
        try:
            for run in runs(piece.spans):
                content = buffer[run.start : run.end]
                is_read = True
                try:
                    target.pread_into(content, piece.target_start + run.start)
                except SourceReadError:
                    is_read = False
                while index < len(piece.spans) and piece.spans[index].end <= run.end:
                    span = piece.spans[index]
                    if is_read and digest(buffer[span.start : span.end]) == hashes[index]:
                        held.add(index)
                    index += 1
        finally:
            scratch.give_back(buffer)
        self._misses = 0 if held else self._misses + 1
        return frozenset(held)

    def _is_worth_it(self, target: FileSource) -> bool:
        """Whether any of a sample of what is in use is on the target already. Raises SourceReadError (of the source)."""
        for part in self._parts:
            step = len(part.extents) // _LOOKS + 1
            for number, extent in enumerate(part.extents):
                if number % step:
                    continue
                # Not at its start: the borders of partitions are wiped.
                start = extent.start + extent.length // 2
                length = min(CHUNK, extent.end - start)
                try:
                    ours = part.source.pread(length, start)
                except SourceReadError as error:
                    raise self._named(error, part) from error
                try:
                    theirs = target.pread(length, part.target_start + start - part.start)
                except SourceReadError:
                    continue
                if ours == theirs and any(ours):
                    return True
        return False

    def write_head(self) -> None:
        """Write what is late: the tables and the boot gap, the first sectors last. Raises TargetWriteError."""
        write_late(self._sink, self._late)

    def read_back(self, token: CancelToken, progress: Callable[[int, int], None], *, head: bool = True) -> int:
        """Read from the medium all that was written and compare; return the bytes proved. ``head``: also what is late.

        What the target held already was read and compared by :meth:`copy`. Raises DamagedError, SourceReadError.
        """
        workers = min(2 * worker_count(), _MOST_WORKERS)
        total = self._to_prove
        buffers = Buffers(workers, FRAME_SIZE, total)
        done = 0
        with FileSource(self._sink.path, direct=True) as target:
            target.drop_cache()

            def check(written: tuple[Piece, tuple[Span, ...], bytes]) -> int:
                piece, spans, expected = written
                token.check()
                buffer = buffers.lend()
                try:
                    for run in runs(spans):
                        target.pread_into(buffer[run.start : run.end], piece.target_start + run.start)
                    found = [digest(buffer[span.start : span.end]) for span in spans]
                finally:
                    buffers.give_back(buffer)
                if digest(b"".join(found)) != expected:
                    wrong(self._sink.path, self._layout, piece.target_start + spans[0].start)
                return sum(span.length for span in spans)

            def count(length: int) -> None:
                nonlocal done
                token.check()
                done += length
                progress(done, total)

            progress(0, total)
            run_ordered(self._record.written(pieces(self._parts)), check, count, workers=workers, window=2 * workers)
            if head:
                done += prove_late(target, self._sink.path, self._late, self._layout)
        return done + self._same_bytes + self._same_zeros

    def _named(self, error: SourceReadError, part: Part) -> SourceReadError:
        hint = error.hint or (
            "The disk may be failing: nothing was written to it. Check its cable, and its health with `smartctl -a`."
            " To get all that can still be read, make an image of it with: rescue backup --salvage"
        )
        place = f"byte {error.offset}, which is byte {error.offset - part.begins} of {part.name}"
        return SourceReadError(
            f"{self._title} cannot be read at {place}. {error.message}",
            error.offset, error.length, hint,
        )  # fmt: skip

    def close(self) -> None:
        """Close the target."""
        self._sink.close()

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
