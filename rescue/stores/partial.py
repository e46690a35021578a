"""What an interrupted writer left of an object: locked, readable, and to be continued."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from rescue.errors import RefusedError, RescueError, TargetWriteError
from rescue.stores.locks import lock_file
from rescue.stores.names import MIN_SPLIT, check_split, clear_marker, partial_path, remove_file, written_parts
from rescue.stores.output import OutputFile
from rescue.stores.writer import StoreWriter
from rescue.system.joined import JoinedSource


class PartialObject(NamedTuple):
    """An object that was begun and that nobody is writing now: bytes of all its parts, seconds since 1970 of the last change."""

    name: str
    size: int
    modified: float


class Partial(JoinedSource):
    """The bytes of an interrupted object, as a Source; nobody else can write it meanwhile. A context manager."""

    def __init__(self, path: Path, fd: int) -> None:
        self._object = path
        self._lock_fd = fd
        pieces = _whole_pieces(path, os.fstat(fd).st_size)
        self._part_size = pieces[0][1]
        self._cut = len(pieces) > 1
        super().__init__(str(partial_path(path)), pieces)

    def append(self, length: int, split: int = 0) -> StoreWriter:
        """Cut everything after the first ``length`` bytes off, and continue from there. The lock goes to the writer.

        ``split`` as of :meth:`FolderStore.open_for_write`; 0 leaves an object that is cut as it is cut. Raises RefusedError (it
        was begun with other parts; nothing was changed), RescueError.
        """
        check_split(split)
        if not 0 <= length <= self.size:
            raise RescueError(f"{self.path} has only {self.size} bytes, not {length}.", "Begin anew.")
        if not split and self._cut:
            split = self._part_size
        if split and (length > split if length <= self._part_size else split != self._part_size):
            raise RefusedError(f"{self.path} was begun with other parts.", "Cut it as before, or remove it and begin anew.")
        count = -(-length // split) if split and length else 1
        super().close()
        try:
            return self._continue(length - (count - 1) * split, count, split)
        except OSError as error:
            raise RescueError(f"{self.path} cannot be continued: {error.strerror}.", "Remove it and begin anew.") from error

    def _continue(self, end: int, count: int, split: int) -> StoreWriter:
        path = self._object
        for number, file in reversed(written_parts(path).items()):
            if number > count:
                remove_file(file)
            elif file != partial_path(path, number):
                file.rename(partial_path(path, number))
        clear_marker(path)
        first = OutputFile(self._lock_fd, os.fstat(self._lock_fd).st_size)
        last = None
        if count > 1:
            fd = os.open(partial_path(path, count), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            last = OutputFile(fd, end)
            os.ftruncate(fd, end)
        else:
            os.ftruncate(self._lock_fd, end)
            first = OutputFile(self._lock_fd, end)
        self._lock_fd = -1
        return StoreWriter(path, first, split, last, count)

    def pwrite(self, data: bytes, offset: int) -> None:
        """Change bytes of the first part in place. Raises TargetWriteError."""
        if offset + len(data) > self._part_size:
            raise ValueError("only what is in the first part can be changed")
        try:
            while data:
                written = os.pwrite(self._lock_fd, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise self._unwritable(error) from error

    def flush(self) -> None:
        """Return when what was changed is on the medium; it is read from there afterwards. Raises TargetWriteError."""
        try:
            os.fsync(self._lock_fd)
        except OSError as error:
            raise self._unwritable(error) from error
        self.drop_cache()

    def _unwritable(self, error: OSError) -> TargetWriteError:
        return TargetWriteError(f"{self.path} cannot be written to: {error.strerror}.", "Choose another folder.")

    def close(self) -> None:
        """Close the files and give the lock back."""
        super().close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = -1

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _whole_pieces(path: Path, full: int) -> Sequence[tuple[Path, int]]:
    """The files of an interrupted object, up to the first that is not as long as the one before."""
    pieces = [(partial_path(path), full)]
    for expected, (number, file) in enumerate(written_parts(path).items(), 2):
        size = os.stat(file, follow_symlinks=False).st_size
        if number != expected or full < MIN_SPLIT or pieces[-1][1] != full or size > full:
            break
        pieces.append((file, size))
    return pieces


def lock_partial(path: Path, create: bool) -> int:
    """A descriptor of the exclusively locked ``.partial`` of ``path``. Raises RefusedError, RescueError, FileNotFoundError."""
    busy = RefusedError(f"Another backup is writing {path} right now.", "Wait until it has ended, or choose another name.")
    return lock_file(partial_path(path), os.O_RDWR | (os.O_CREAT if create else 0), fcntl.LOCK_EX, busy)
