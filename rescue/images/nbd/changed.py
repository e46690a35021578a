"""Blocks that can be written to: what is written is kept apart and forgotten at the end. What lies below is never written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, NamedTuple, Self

from rescue.errors import ProgramError, RescueError, TargetWriteError
from rescue.images.format import RowKind
from rescue.images.nbd.session import Blocks
from rescue.images.view import Held
from rescue.model.source import check_range
from rescue.system.blockfile import punch_hole
from rescue.units import KIB, MIB

GRAIN: Final = 4 * KIB  # what one written byte takes
_REGION: Final = 1 * MIB
_BELOW, _KEPT, _ZERO = range(3)  # where the content of a grain is


class _Run(NamedTuple):
    """The bytes ``[start, end)``, all in one state; ``place`` is where the file has them that are kept."""

    start: int
    end: int
    state: int
    place: int


class _Region:
    """A MiB in which something was changed: the states of its grains, and its place in the file (-1: it needs none yet)."""

    __slots__ = ("place", "states")

    def __init__(self) -> None:
        self.place = -1
        self.states = bytearray(_REGION // GRAIN)


class Changed:
    """The bytes ``[start, end)`` (multiples of 512) of ``below``, and what was written over them. A context manager.

    A Source and a Sink. What is written is kept in a nameless file in ``folder``, which grows by the places that are written
    first and needs no holes. Any thread may read and write. What was not changed is read from below directly: that is what
    makes the copy of a volume of which little was moved as fast as that of any other. Raises ProgramError when the file cannot
    be made.

    Who writes through the kernel may never hear of an error: it tells one program, or a thread of its own. ``lost`` is the
    first write that could not be done, after which this is not what was written; ``unread`` is the first place below that
    could not be read.
    """

    def __init__(self, below: Blocks, start: int, end: int, folder: Path) -> None:
        check_range(below.size, start, end - start)
        self._below = below
        self._start = start
        self._size = end - start
        self._regions: dict[int, _Region] = {}
        self._places = 0  # bytes of the file that are given to regions
        self._lock = Lock()
        self.is_full = False  # whether something could not be written for want of room
        self.lost: RescueError | None = None
        self.unread: RescueError | None = None
        try:
            self._file = tempfile.TemporaryFile(prefix="rescue-", dir=folder, buffering=0)  # noqa: SIM115 - closed by close
        except OSError as error:
            raise ProgramError(f"Nothing can be kept in {folder}: {error.strerror}.") from error

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self._size, offset, length)
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        check_range(self._size, offset, len(buffer))
        with self._lock:
            runs = self._runs(offset, offset + len(buffer))
        for run in runs:
            piece = buffer[run.start - offset : run.end - offset]
            if run.state == _BELOW:
                with self._reading():
                    self._below.pread_into(piece, self._start + run.start)
            elif run.state == _ZERO:
                piece[:] = bytes(len(piece))
            else:
                self._get(piece, run.place)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except RescueError as error:
            self.unread = self.unread or error
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except RescueError as error:
            self.lost = self.lost or error
            raise

    def extents(self, start: int = 0, end: int | None = None) -> Iterator[Held]:
        """See ImageView."""
        with self._lock:
            runs = self._runs(start, self._size if end is None else end)
        for run in runs:
            if run.state == _BELOW:
                for held in self._below.extents(self._start + run.start, self._start + run.end):
                    yield held._replace(start=held.start - self._start, end=held.end - self._start)
            else:
                yield Held(run.start, run.end, RowKind.DATA if run.state == _KEPT else RowKind.HOLE)

    def _runs(self, start: int, end: int) -> list[_Run]:
        found: list[_Run] = []

        def add(low: int, high: int, state: int, place: int) -> None:
            if found and found[-1].state == state and (state != _KEPT or found[-1].place + low - found[-1].start == place):
                found[-1] = found[-1]._replace(end=high)
            else:
                found.append(_Run(low, high, state, place))

        while start < end:
            number, inside = divmod(start, _REGION)
            base = start - inside
            high = min(end, base + _REGION)
            region = self._regions.get(number)
            if region is None:
                add(start, high, _BELOW, 0)
                start = high
                continue
            grain = inside // GRAIN
            for state, same in groupby(region.states[grain : -(-(high - base) // GRAIN)]):
                grain += sum(1 for _ in same)
                stop = min(base + grain * GRAIN, high)
                add(start, stop, state, region.place + start - base)
                start = stop
        return found

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """See Sink. Raises SourceReadError when the rest of a grain that is written in part cannot be read below."""
        view = memoryview(data)
        check_range(self._size, offset, len(view))
        with self._lock, self._writing():
            self._write(view, offset)

    def _write(self, data: memoryview, offset: int) -> None:
        done = 0
        while done < len(data):
            start = offset + done
            number, inside = divmod(start, _REGION)
            end = min(offset + len(data), start - inside + _REGION)
            self._write_region(number, start, data[done : done + end - start])
            done += end - start

    def _write_region(self, number: int, start: int, data: memoryview) -> None:
        base, end = number * _REGION, start + len(data)
        region = self._regions.setdefault(number, _Region())
        if region.place < 0:
            region.place = self._places
            self._places += _REGION
        first, behind = (start - base) // GRAIN, -(-(end - base) // GRAIN)
        # The ends of what is written may be parts of grains: the rest of those is kept as well.
        if start % GRAIN:
            self._complete(region, base, first)
        if end % GRAIN and end != self._size:
            self._complete(region, base, behind - 1)
        self._put(data, region.place + start - base)
        region.states[first:behind] = bytes((_KEPT,)) * (behind - first)

    def _complete(self, region: _Region, base: int, grain: int) -> None:
        """Keep all of a grain."""
        if region.states[grain] == _KEPT:
            return
        start = base + grain * GRAIN
        length = min(GRAIN, self._size - start)
        content = bytes(length)
        if region.states[grain] == _BELOW:
            with self._reading():
                content = self._below.pread(length, self._start + start)
        self._put(memoryview(content), region.place + grain * GRAIN)
        region.states[grain] = _KEPT

    def zero(self, start: int, end: int) -> None:
        """See Sink."""
        check_range(self._size, start, end - start)
        with self._lock, self._writing():
            while start < end:
                number, inside = divmod(start, _REGION)
                base = start - inside
                high = min(end, base + _REGION)
                first, behind = -(-inside // GRAIN), (high - base) // GRAIN
                if high == self._size:
                    behind = -(-(high - base) // GRAIN)
                if first < behind:
                    self._write(memoryview(bytes(base + first * GRAIN - start)), start)
                    self._forget(number, first, behind)
                    start = min(base + behind * GRAIN, high)
                self._write(memoryview(bytes(high - start)), start)
                start = high

    def _forget(self, number: int, first: int, behind: int) -> None:
        region = self._regions.setdefault(number, _Region())
        states = region.states[first:behind]
        region.states[first:behind] = bytes((_ZERO,)) * (behind - first)
        if region.place >= 0 and _KEPT in states:
            with suppress(OSError):  # without holes it only takes more room
                punch_hole(self._file.fileno(), region.place + first * GRAIN, region.place + behind * GRAIN)

    def flush(self) -> None:
        """See Sink. Where room is only claimed later, as on a network, this is what tells that there was none."""
        with self._writing():
            try:
                os.fdatasync(self._file.fileno())
            except OSError as error:
                raise self._failed(error) from error

    def _get(self, buffer: memoryview, place: int) -> None:
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._file.fileno(), [buffer[done:]], place + done)
            except OSError as error:
                raise RescueError(f"What was changed on the way cannot be read any more: {error.strerror}.") from error
            if not got:  # the end of a short last grain, or of what others punched since: zeros
                buffer[done:] = bytes(len(buffer) - done)
                return
            done += got

    def _put(self, data: memoryview, place: int) -> None:
        done = 0
        while done < len(data):
            try:
                done += os.pwrite(self._file.fileno(), data[done:], place + done)
            except OSError as error:
                raise self._failed(error) from error

    def _failed(self, error: OSError) -> TargetWriteError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            self.is_full = True
        return TargetWriteError(f"What was changed on the way could not be kept: {error.strerror}.")

    def close(self) -> None:
        """Forget all that was written."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
