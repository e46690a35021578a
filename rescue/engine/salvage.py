"""Salvage: reading a failing disk so that everything readable is got, and what is not is known to the sector.

Two parts, in this order, because each further read may be the disk's last:

1. :meth:`Salvage.read` is what a capture calls instead of the source, stretch after stretch in disk order. It hands out
   what is easy to read. Where a read fails it notes the block and skips, further each time, and says what is missing.
2. :meth:`Salvage.rescue` then works on what is missing: backward with skips, everything left in blocks, the edges of
   what failed sector by sector, then all of it, then again.

What it wins is kept in a folder beside the image until it is in one: ``map`` (a ddrescue mapfile; finished there means:
held in ``rescued``), ``rescued``, and ``disk``, which says from which disk and for which images. Other disks can be called
the same, so what is held gets into those images only. A killed run continues where it was; a later run skips what is known
to be bad.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from rescue.engine.rescue_map import FAILED, RescueMap, Status, load_map, save_map
from rescue.engine.rescued_data import RescuedData
from rescue.engine.salvage_passes import BLOCK, Outcome, run_passes
from rescue.errors import RefusedError, RescueError, SourceReadError, TargetWriteError
from rescue.images.crypto import ImageKeys
from rescue.model.extents import Extent, ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import Source, check_range
from rescue.units import GIB, align_down, align_up

_LARGEST_SKIP: Final = 1 * GIB
_ERRORS_BEFORE_PROBE: Final = 8  # in a row; then the disk is asked for something that it once gave
# What a disk says of a sector. Anything else is about the disk or its connection.
_MEDIUM: Final = frozenset((errno.EIO, errno.ENODATA, errno.EILSEQ, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EBADMSG))
_GONE: Final = frozenset((errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ENOTCONN, errno.ESHUTDOWN, errno.ECONNABORTED))
_SAVE_EVERY: Final = 5.0  # seconds
_IMAGE: Final = "image "  # and a UUID: a line of the file "disk"


class Base(msgspec.Struct, frozen=True):
    """An earlier image of the same disk as a Source, and which bytes it holds: those are not read from the disk again."""

    source: Source
    good: ExtentMap


class Salvage:
    """A failing disk as a Source, with a memory. A context manager. Safe for several threads, which it serves one by one."""

    def __init__(
        self,
        source: Source,
        folder: Path,
        *,
        disk: str,
        image: str = "",
        keys: ImageKeys | None = None,
        sector_size: int = 512,
        base: Base | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``folder`` is made if needed. ``disk`` says whose it is (serial number, size); ``image``: the UUID of the
        one that lacks something, "" while there is none yet. ``keys``: its keys, if it is encrypted; what is kept is sealed
        then. ``sector_size``: the physical one.

        Raises RefusedError when the folder holds what is of another image, or is of another disk if there is no image yet;
        FormatError, DamagedError, RescueError when it cannot be used.
        """
        self.size = source.size
        self._source = source
        self._sector = sector_size
        self._base = base
        self._clock = clock
        self._lock = Lock()
        self._folder = folder
        _claim(folder, disk, image)
        self._map = load_map(folder / "map", source.size)
        with ExitStack() as undo:
            self._data = undo.enter_context(RescuedData(folder / "rescued", source.size, keys))
            self._agree()
            undo.pop_all()
        self._skip = 0
        self._skipped = Extent(0, 0)
        self._errors_in_a_row = 0
        self._known_good: int | None = None
        self._aligned = memoryview(mmap.mmap(-1, max(BLOCK, sector_size)))
        self._saved_at = clock()
        self._save_took = 0.0

    def _agree(self) -> None:
        """The data decide what is rescued: a map made by ddrescue, or saved right before a power cut, knows other things."""
        held = self._data.extents
        for start, end in self._map.having(Status.RESCUED).difference(held):
            self._map.set(start, end, Status.UNTRIED)
        for start, end in held:
            self._map.set(start, end, Status.RESCUED)

    @property
    def map(self) -> RescueMap:
        """What was tried so far. To be looked at only."""
        return self._map

    @property
    def held(self) -> ExtentMap:
        """What the hard passes won, in this run and in those before, and is not in the image of a base."""
        return self._data.extents

    def read(self, start: int, end: int, buffer: memoryview) -> tuple[Extent, ...]:
        """Fill the start of ``buffer`` with ``[start, end)`` of the disk; what could not be read, in order, zeros in its place.

        Quick: a range that is known to fail is not read, and behind an error some is skipped. Raises SourceReadError when
        the disk does not answer any more, TargetWriteError when the map cannot be saved.
        """
        check_range(self.size, start, end - start)
        with self._lock:
            bad: list[Extent] = []
            position = start
            for held in self._base.good.overlapping(start, end) if self._base else ():
                bad += self._read_disk(position, held.start, buffer[position - start : held.start - start])
                self._read_base(held, buffer[held.start - start : held.end - start])
                position = held.end
            bad += self._read_disk(position, end, buffer[position - start : end - start])
            if bad:
                self._save_in_time()
            return tuple(ExtentMap(bad))

    def pread(self, length: int, offset: int) -> bytes:
        """See Source. What a rescue won is in it; raises SourceReadError where something is missing."""
        check_range(self.size, offset, length)
        # Whole sectors at an aligned address: else a file or device reads through the page cache, which fails by pages.
        low, high = align_down(offset, self._sector), min(align_up(offset + length, self._sector), self.size)
        buffer = memoryview(mmap.mmap(-1, max(high - low, 1)))
        self._require(self.read(low, high, buffer[: high - low]), offset, offset + length)
        return bytes(buffer[offset - low :][:length])

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source, and :meth:`pread`."""
        self._require(self.read(offset, offset + len(buffer), buffer), offset, offset + len(buffer))

    @staticmethod
    def _require(bad: tuple[Extent, ...], start: int, end: int) -> None:
        for missing in ExtentMap(bad).overlapping(start, end):
            raise SourceReadError(f"The disk cannot be read at byte {missing.start}.", missing.start, missing.length)

    def rescue(
        self,
        wanted: ExtentMap,
        *,
        token: CancelToken,
        progress: Callable[[int, int], None],
        retries: int = 1,
        seconds: float | None = None,
    ) -> Outcome:
        """Try hard to get the bytes ``wanted`` (what :meth:`read` said is missing); the next ``read`` hands them out.

        ``progress`` is told how many bytes are decided, and of how many. ``retries``: how often a sector that failed alone
        is read again. After ``seconds`` it stops where it is. Raises CancelledError; SourceReadError when the disk does
        not answer any more; TargetWriteError. What was won until then is kept.
        """
        if self._base:
            wanted = wanted.difference(self._base.good)
        with self._lock:
            try:
                return run_passes(
                    self._map, wanted.clip(0, self.size), self._attempt, sector_size=self._sector, retries=retries,
                    token=token, progress=progress, clock=self._clock, seconds=seconds,
                )  # fmt: skip
            finally:
                self.save()

    def belongs_to(self, image: str) -> None:
        """Remember that what is held is of this image as well (its UUID), which is about to be made. Raises TargetWriteError."""
        try:
            _add_image(self._folder, image)
        except OSError as error:
            raise TargetWriteError(f"{self._folder} cannot be written: {error.strerror}.") from error

    def save(self) -> None:
        """Bring what was won and the map onto the medium. Raises TargetWriteError."""
        began = self._clock()
        self._data.sync()
        save_map(self._folder / "map", self._map)
        self._saved_at = self._clock()
        self._save_took = self._saved_at - began

    def close(self) -> None:
        """Save and close. Raises TargetWriteError; it is closed in any case."""
        try:
            self.save()
        finally:
            self._data.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _save_in_time(self) -> None:
        # A map of a million ranges takes a while to write: that must stay a small part of the time.
        if self._clock() - self._saved_at >= max(_SAVE_EVERY, 20 * self._save_took):
            self.save()

    def _read_base(self, held: Extent, buffer: memoryview) -> None:
        assert self._base is not None
        self._base.source.pread_into(buffer, held.start)

    def _read_disk(self, start: int, end: int, buffer: memoryview) -> list[Extent]:
        bad: list[Extent] = []
        for low, high, status in self._map.between(start, end):
            part = buffer[low - start : high - start]
            if status is Status.RESCUED:
                self._data.read_into(part, low)
            elif status in FAILED:
                bad.append(_missing(Extent(low, high), part))
            else:
                bad += self._read_untried(low, high, part)
        return bad

    def _read_untried(self, low: int, high: int, buffer: memoryview) -> list[Extent]:
        bad: list[Extent] = []
        position = low
        while position < high:
            if self._skipped.start <= position < self._skipped.end:
                stop = min(high, self._skipped.end)
            else:
                position = self._read_up_to_error(position, high, buffer[position - low :])
                if position == high:
                    break
                stop = min(align_down(position, BLOCK) + BLOCK, high)
                self._map.set(position, stop, Status.UNTRIMMED)
                self._skip = min(max(2 * self._skip, BLOCK), _LARGEST_SKIP, max(self.size // 100, BLOCK))
                self._skipped = Extent(stop, stop + self._skip)
            bad.append(_missing(Extent(position, stop), buffer[position - low : stop - low]))
            position = stop
        return bad

    def _read_up_to_error(self, start: int, end: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``start``; where the block begins that cannot be read, ``end`` when all was."""
        error = self._try(start, buffer[: end - start])
        if error is None:
            return end
        # Most sources say how far they came: so a bad sector, which can cost half a minute, is met once.
        reached = align_down(min(max(error.offset, start), end - 1), self._sector)
        if reached > start:
            if self._try(start, buffer[: reached - start]) is None:
                return reached
        elif end - start <= BLOCK:
            return start
        while start < end:
            stop = min(align_down(start, BLOCK) + BLOCK, end)
            if self._try(start, buffer[: stop - start]) is not None:
                return start
            buffer = buffer[stop - start :]
            start = stop
        return end

    def _attempt(self, start: int, end: int) -> bool:
        """Read a range for :meth:`rescue` and keep it; whether that went well."""
        buffer = self._aligned[: end - start]
        won = self._try(start, buffer) is None
        if won:
            self._data.add(start, bytes(buffer))
            self._map.set(start, end, Status.RESCUED)
        self._save_in_time()
        return won

    def _try(self, start: int, buffer: memoryview) -> SourceReadError | None:
        try:
            self._source.pread_into(buffer, start)
        except SourceReadError as error:
            self._errors_in_a_row += 1
            self._raise_when_gone(error)
            return error
        self._errors_in_a_row = 0
        self._skip = 0
        self._known_good = align_down(start + len(buffer) - 1, self._sector) if len(buffer) >= self._sector else self._known_good
        return None

    def _raise_when_gone(self, error: SourceReadError) -> None:
        """A disk that is pulled out must not be taken for one that is bad from here to its end."""
        code = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
        if code not in _GONE:
            if code in _MEDIUM and self._errors_in_a_row % _ERRORS_BEFORE_PROBE:
                return
            if self._known_good is None:
                return
            length = min(self._sector, self.size - self._known_good)
            try:
                self._source.pread_into(self._aligned[:length], self._known_good)
            except SourceReadError:
                pass
            else:
                return
        raise SourceReadError(
            f"The disk does not answer any more, since byte {error.offset}. {error.message}",
            error.offset,
            error.length,
            "Switch it off and on or plug it in again, then run the same command: it goes on where it was.",
        ) from error


def _missing(extent: Extent, buffer: memoryview) -> Extent:
    buffer[:] = bytes(len(buffer))
    return extent


class _Owner(NamedTuple):
    """Whose a folder is: the disk in words, and the UUIDs of the images that were made of it."""

    disk: str
    images: frozenset[str]


def _line(disk: str) -> str:
    return " ".join(disk.split())


def _owner(folder: Path) -> _Owner | None:
    try:
        first, *others = (folder / "disk").read_text("utf-8", "surrogateescape").splitlines() or [""]
    except FileNotFoundError:
        return None
    return _Owner(_line(first), frozenset(line.removeprefix(_IMAGE) for line in others if line.startswith(_IMAGE)))


def _add_image(folder: Path, image: str) -> None:
    owner = _owner(folder)
    if owner is not None and image in owner.images:
        return
    with (folder / "disk").open("a", encoding="utf-8") as file:
        # A line that a power cut halved ends here.
        file.write(f"\n{_IMAGE}{image}\n")
        file.flush()
        os.fsync(file.fileno())


def _holds_data(folder: Path) -> bool:
    try:
        return (folder / "rescued").stat().st_size > 0
    except FileNotFoundError:
        return False


def _refused(folder: Path, owner: _Owner | None) -> RefusedError:
    if owner is None:
        whose = "that does not say from which disk"
    elif owner.images:
        whose = f"for another image, of this disk: {owner.disk[:200]}"
    else:
        whose = f"from another disk: {owner.disk[:200]}"
    return RefusedError(
        f"{folder} holds what was salvaged {whose}.",
        "Move that folder elsewhere and run the same command again. Remove it only when its own images are gone, or lack"
        " nothing any more.",
    )


def _claim(folder: Path, disk: str, image: str = "") -> None:
    """Make the folder and write whose it is, or refuse one that belongs to others; a mere map of others is forgotten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = _owner(folder)
        if owner is not None and (image in owner.images if image else owner.disk == _line(disk)):
            return
        if _holds_data(folder) if image else owner is not None:
            raise _refused(folder, owner)
        if owner is not None:
            forget(folder)
            folder.mkdir(exist_ok=True)
        (folder / "disk").write_text(_line(disk) + "\n", "utf-8", "surrogateescape")
        if image:
            _add_image(folder, image)
    except OSError as error:
        raise TargetWriteError(f"{folder} cannot be used to salvage into: {error.strerror}.") from error


def make_ready(folder: Path, disk: str, *, goes_on: bool) -> None:
    """Remove what was known of ``disk``, or with ``goes_on`` of another one, before an image is captured.

    Raises RefusedError when something was read with patience for another image, which no capture may use or throw away;
    RescueError.
    """
    try:
        owner = _owner(folder)
        if _holds_data(folder):
            raise _refused(folder, owner)
    except OSError as error:
        raise RescueError(f"{folder} cannot be read: {error.strerror}.") from error
    if not goes_on or (owner is not None and owner.disk != _line(disk)):
        forget(folder)


def forget(folder: Path) -> None:
    """Remove what a salvage left, once its image is complete and proved. Raises RescueError."""
    try:
        for name in ("rescued", "map", "map.new", "disk"):
            (folder / name).unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()
    except OSError as error:
        raise RescueError(f"{folder} cannot be removed: {error.strerror}.") from error
