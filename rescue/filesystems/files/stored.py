"""What the readers of on-disk structures share: cached small reads, runs, path lookup, checked names."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from rescue.errors import FormatError
from rescue.filesystems.files.tree import PIECE, Entry, Kind, resolve
from rescue.model.source import Source, check_range

_WINDOW: Final = 64 * 1024
_WINDOWS: Final = 512  # 32 MiB
FOLDER_LIMIT: Final = 256 << 20  # bytes of one folder's names; exFAT allows no more, the others hold millions in it
_KINDS: Final = {
    0x1: Kind.FIFO,
    0x2: Kind.CHARACTER,
    0x4: Kind.FOLDER,
    0x6: Kind.BLOCK,
    0x8: Kind.FILE,
    0xA: Kind.LINK,
    0xC: Kind.SOCKET,
}

Ref = TypeVar("Ref")


def kind_of_mode(mode: int) -> Kind:
    """The kind in the upper bits of a Unix mode."""
    return _KINDS.get(mode >> 12 & 0xF, Kind.UNKNOWN)


def decode_utf16(data: bytes) -> str:
    """A name in UTF-16 as the name that Linux would show; halves of surrogate pairs as the bytes that UTF-8 would have."""
    text = data.decode("utf-16-le", "surrogatepass")
    return os.fsdecode(text.encode("utf-8", "surrogatepass"))


class Run(NamedTuple):
    """``length`` bytes of a file from ``start`` on, at ``place`` on the volume."""

    start: int
    place: int
    length: int


class WindowSource:
    """A Source that keeps the last windows of another: metadata is read in small pieces that lie near each other."""

    def __init__(self, source: Source) -> None:
        self.below = source
        self._windows: OrderedDict[int, bytes] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes."""
        return self.below.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        if length > _WINDOW:
            return self.below.pread(length, offset)
        first, last = offset // _WINDOW, (offset + length - 1) // _WINDOW
        start = offset - first * _WINDOW
        if first >= last:
            return self._window(first)[start : start + length]
        return (self._window(first) + self._window(last))[start : start + length]

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)

    def _window(self, number: int) -> bytes:
        found = self._windows.get(number)
        if found is None:
            start = number * _WINDOW
            found = self._windows[number] = self.below.pread(min(_WINDOW, self.size - start), start)
            if len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(number)
        return found


def joined(runs: Iterator[Run]) -> Iterator[Run]:
    """The runs, neighbours that follow each other on the volume too made one. Raises FormatError when they go backwards."""
    last: Run | None = None
    for run in runs:
        if last is None:
            last = run
        elif run.start < last.start + last.length:
            raise FormatError("The pieces of a file overlap.")
        elif run.start == last.start + last.length and run.place == last.place + last.length:
            last = Run(last.start, last.place, last.length + run.length)
        else:
            yield last
            last = run
    if last is not None:
        yield last


def read_runs(source: Source, runs: Iterator[Run], size: int) -> Iterator[tuple[int, bytes]]:
    """The content of a file of ``size`` bytes that lies in ``runs``, as :meth:`FileTree.read` gives it."""
    for start, place, length in joined(runs):
        end = min(start + length, size)
        for offset in range(start, end, PIECE):
            yield offset, source.pread(min(PIECE, end - offset), place + offset - start)


def whole(pieces: Iterator[tuple[int, bytes]], size: int, limit: int, what: str) -> bytes:
    """The content of a small file as bytes. Raises FormatError when it is larger than ``limit``."""
    if size > limit:
        raise FormatError(f"{what} has {size} bytes, more than the {limit} that there may be.")
    data = bytearray(size)
    for offset, piece in pieces:
        data[offset : offset + len(piece)] = piece
    return bytes(data[:size])


class StoredTree(ABC, Generic[Ref]):
    """A FileTree over on-disk structures. A reader gives names with references, and loads what a reference leads to."""

    kind: str = ""
    owners: bool = True
    folds_case: bool = False  # whether a name is also found in another case

    def __init__(self, source: Source) -> None:
        self.source = source  # for content
        self.volume = WindowSource(source)  # for structures
        self._notes: list[str] = []

    @property
    def notes(self) -> list[str]:
        """See FileTree."""
        return self._notes

    @abstractmethod
    def root(self) -> Entry:
        """See FileTree."""

    @abstractmethod
    def names(self, entry: Entry) -> Iterator[tuple[str, Ref]]:
        """Names in a folder and where they lead, without "." and "..". Raises FormatError."""

    @abstractmethod
    def load(self, name: str, path: str, ref: Ref) -> Entry:
        """The entry behind a reference. Raises FormatError."""

    @abstractmethod
    def content(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """As :meth:`FileTree.read`, for a file without a problem."""

    @abstractmethod
    def readlink(self, entry: Entry) -> str:
        """See FileTree."""

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """See FileTree."""
        return {}

    def left_out(self, entry: Entry) -> tuple[str, ...]:
        """See FileTree."""
        return ()

    def entry(self, path: str) -> Entry:
        """See FileTree."""
        return resolve(self, path, self._lookup)

    def children(self, entry: Entry) -> Iterator[Entry]:
        """See FileTree."""
        for name, ref in self._checked(entry):
            path = f"{entry.path}/{name}" if entry.path else name
            try:
                yield self.load(name, path, ref)
            except FormatError as error:
                yield Entry(name, path, Kind.UNKNOWN, problem=error.message)

    def read(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See FileTree."""
        if entry.kind is not Kind.FILE:
            raise FormatError(f"{entry.path} is not a file.")
        if entry.problem:
            raise FormatError(f"{entry.path} cannot be read. {entry.problem}")
        return self.content(entry)

    def _lookup(self, folder: Entry, name: str) -> Entry | None:
        return self._find(folder, name, lambda text: text) or (
            self._find(folder, name, str.casefold) if self.folds_case else None
        )

    def _find(self, folder: Entry, name: str, key: Callable[[str], str]) -> Entry | None:
        wanted = key(name)
        for found, ref in self._checked(folder):
            if key(found) == wanted:
                return self.load(found, f"{folder.path}/{found}" if folder.path else found, ref)
        return None

    def _checked(self, entry: Entry) -> Iterator[tuple[str, Ref]]:
        if entry.kind is not Kind.FOLDER:
            raise FormatError(f"{entry.path} is not a folder.")
        if entry.problem:
            raise FormatError(f"{entry.path or 'The top folder'} cannot be read. {entry.problem}")
        return self.names(entry)
