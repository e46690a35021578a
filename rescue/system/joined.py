"""A file that may be cut into parts, ``NAME.001``, ``NAME.002``, …: which files there are, and all of them as one Source."""

from __future__ import annotations

import os
import re
import stat
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from rescue.errors import DamagedError, RescueError, SourceReadError
from rescue.model.source import check_range
from rescue.system.blockfile import FileSource

MAX_PARTS: Final = 999

_PART = re.compile(r"(?s)(.+)\.(\d{3})")
# 999 parts are more than the descriptors that a process gets.
_KEPT_OPEN: Final = 8


class PartName(NamedTuple):
    """What the name of a part says: of which file, and which one (1 to 999)."""

    whole: str
    number: int


def part_name(name: str) -> PartName | None:
    """``x.img.zst.002`` is part 2 of ``x.img.zst``; None for what is not the name of a part."""
    match = _PART.fullmatch(name)
    return PartName(match[1], int(match[2])) if match and match[2].isascii() and int(match[2]) else None


def part_path(path: str | Path, number: int) -> Path:
    """Where part ``number`` of the file ``path`` is."""
    return Path(f"{path}.{number:03}")


def files_of(path: str | Path) -> tuple[Path, ...]:
    """The files behind ``path``: itself, or where it is cut (also when it is the first part) its parts in order; () for none.

    A part that is missing is missing from the answer. Raises RescueError when the folder cannot be read.
    """
    whole = _cut(Path(path))
    return tuple(found_parts(whole).values()) if whole else (Path(path),)


def _cut(path: Path) -> Path | None:
    """The path without the number of a part, where ``path`` is no file of its own."""
    part = part_name(path.name)
    if part and part.number == 1 and (path.is_file() or not os.path.lexists(path)):
        return path.with_name(part.whole)
    return None if os.path.lexists(path) else path


def found_parts(whole: Path, suffix: str = "") -> dict[int, Path]:
    """The parts of ``whole`` that there are (those whose names end in ``suffix`` besides), by number, in order.

    Raises RescueError when the folder cannot be read.
    """
    try:
        names = os.listdir(whole.parent)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise RescueError(f"The folder {whole.parent} cannot be read: {error.strerror}.") from error
    prefix = f"{whole.name}."
    parts = (part_name(name.removesuffix(suffix)) for name in names if name.startswith(prefix) and name.endswith(suffix))
    numbers = sorted(part.number for part in parts if part and part.whole == whole.name)
    return {number: Path(f"{part_path(whole, number)}{suffix}") for number in numbers}


def open_source(path: str | Path, *, gaps: bool = False) -> FileSource | JoinedSource:
    """What is behind ``path``, opened: one file or device, or the parts that it is cut into.

    Raises RescueError (cannot be opened), DamagedError (a part is missing, or is not as long as it must be). With ``gaps`` what
    is missing of the parts cannot be read, and the rest can; of a part behind the last one nothing is known.
    """
    whole = _cut(Path(path))
    parts = found_parts(whole) if whole else {}
    if whole is None or not parts:
        return FileSource(path)
    if gaps and 1 in parts:
        length, final = max(map(_size, parts.values())), max(parts)
        there = [(part_path(whole, number), length) for number in range(1, final)]
        return JoinedSource(str(path), [*there, (parts[final], _size(parts[final]))], gaps=True)
    for expected, number in enumerate(parts, 1):
        if number != expected:
            raise DamagedError(
                f"{part_path(whole, expected)} is missing: {whole.name} is cut into parts, and all of them are needed.",
                "Copy it into the folder of the others.",
            )
    pieces = [(file, _size(file)) for file in parts.values()]
    (first, full), last = pieces[0], pieces[-1]
    for file, size in pieces[1:]:
        if size > full or (size < full and file != last[0]):
            raise DamagedError(
                f"{file} is {size} bytes long, and {first.name} {full}: it was cut off, or belongs to another file.",
                "Copy all the parts again from where they came from.",
            )
    return JoinedSource(str(path), pieces)


def _size(file: Path) -> int:
    try:
        found = file.stat()
    except OSError as error:
        raise RescueError(f"Cannot open {file}: {error.strerror}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError(f"{file} is not a file.", "Copy all the parts again from where they came from.")
    return found.st_size


class JoinedSource:
    """Several files, one behind the other, as one Source. A context manager. Any number of threads may read from it.

    ``pieces`` are files and how many bytes of each count. With ``gaps`` what one of them lacks cannot be read (SourceReadError).
    """

    def __init__(self, path: str, pieces: Sequence[tuple[Path, int]], *, gaps: bool = False) -> None:
        self.path = path
        self._gaps = gaps
        self._files = [file for file, _ in pieces]
        self._starts = list(accumulate((size for _, size in pieces), initial=0))
        self._open: dict[int, FileSource] = {}  # those that nobody reads from at this moment; the latest used is last
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._starts[-1]

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        buffer = bytearray(length)
        self.pread_into(memoryview(buffer), offset)
        return bytes(buffer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        end = offset + len(buffer)
        check_range(self.size, offset, len(buffer))
        inside = [start for start in self._starts if offset < start < end]
        for low, high in pairwise([offset, *inside, end] if buffer else []):
            number = bisect_right(self._starts, low) - 1
            start = self._starts[number]
            try:
                with self._borrow(number) as file:
                    file.pread_into(buffer[low - offset : high - offset], low - start)
            except SourceReadError as error:
                raise SourceReadError(error.message, start + error.offset, error.length, error.hint) from error
            except RescueError as error:
                if not self._gaps:
                    raise
                message = f"{self._files[number]} is missing, or too short."
                raise SourceReadError(message, low, high - low) from error

    @contextmanager
    def _borrow(self, number: int) -> Iterator[FileSource]:
        """An open file that no other thread uses as long as the context lasts."""
        with self._lock:
            file = self._open.pop(number, None)
        if file is None:
            file = FileSource(self._files[number])
        try:
            yield file
        finally:
            with self._lock:
                surplus = [self._open.pop(number)] if number in self._open else []
                self._open[number] = file
                while len(self._open) > _KEPT_OPEN:
                    surplus.append(self._open.pop(next(iter(self._open))))
            for other in surplus:
                other.close()

    def drop_cache(self, start: int = 0, length: int = 0) -> None:
        """Make later reads come from the medium: drop the kernel's clean cached pages (all of them when length is 0)."""
        end = start + length if length else self.size
        for number, (low, high) in enumerate(pairwise(self._starts)):
            if low < end and start < high:
                first = max(start, low)
                with self._borrow(number) as file:
                    file.drop_cache(first - low, min(end, high) - first)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            files = list(self._open.values())
            self._open.clear()
        for file in files:
            file.close()

    def __enter__(self) -> JoinedSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
