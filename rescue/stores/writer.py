"""Writing one object of a folder store: under names that end in ``.partial``, then all at once complete."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from rescue.errors import RescueError, TargetWriteError
from rescue.stores.names import clear_marker, marker_path, name_taken, partial_path, remove_file, sync_folder, taken_by
from rescue.stores.output import OutputFile, rename_new
from rescue.system.joined import MAX_PARTS, part_path
from rescue.units import human_size

# The medium is gone: what is on it cannot be changed any more, and that has been said already.
_GONE = (errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO)


class StoreWriter:
    """The bytes of one new object, in order, until :meth:`commit` or :meth:`abort`. Leaving the context without commit aborts.

    ``split`` is the size of the parts that it is cut into, in bytes; 0: it is not cut. An object that fits into one part is
    not cut either. Made by FolderStore.
    """

    def __init__(self, path: Path, first: OutputFile, split: int, last: OutputFile | None = None, count: int = 1) -> None:
        self.path = path
        self._first = first  # stays open to the end: the lock of the object is on it
        self._split = split
        self._current = last or first
        self._count = count
        self._before = (count - 1) * split  # bytes in the parts before the current one
        self._numbered: list[int] = []  # parts that have their final name

    def tell(self) -> int:
        """Bytes of the object so far."""
        return self._before + self._current.position

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data``. Raises TargetWriteError."""
        view = memoryview(data)
        while len(view):
            room = self._split - self._current.position if self._split else len(view)
            if not room:
                self._next_part()
                continue
            piece = view[:room]
            try:
                self._current.write(piece)
            except OSError as error:
                raise self._failed(error) from error
            view = view[len(piece) :]

    def _next_part(self) -> None:
        if self._count == MAX_PARTS:
            raise TargetWriteError(
                f"{self.path.name} needs more than {MAX_PARTS} parts of {human_size(self._split)}.", "Choose larger parts."
            )
        try:
            self._current.sync()
            fd = os.open(
                partial_path(self.path, self._count + 1),
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
        except OSError as error:
            raise self._failed(error) from error
        if self._current is not self._first:
            self._current.close()
        self._current = OutputFile(fd)
        self._count += 1
        self._before += self._split

    def commit(self) -> None:
        """Make the object complete: on the medium, then under its name. Raises TargetWriteError, RefusedError (name taken).

        The parts before the current one are on the medium already.
        """
        taken = taken_by(self.path)
        if taken:
            raise name_taken(taken)
        try:
            self._current.sync()
            if self._count > 1:
                self._number_parts()
            rename_new(partial_path(self.path), part_path(self.path, 1) if self._count > 1 else self.path)
        except FileExistsError as error:
            raise name_taken(Path(error.filename2)) from error
        except OSError as error:
            raise self._failed(error) from error
        self._close()
        sync_folder(self.path.parent)
        clear_marker(self.path)

    def _number_parts(self) -> None:
        """Give all parts but the first their names, and see to it that these are on the medium before the first gets its own."""
        os.close(os.open(marker_path(self.path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        sync_folder(self.path.parent)
        for number in range(self._count, 1, -1):
            rename_new(partial_path(self.path, number), part_path(self.path, number))
            self._numbered.append(number)
        sync_folder(self.path.parent)

    def abort(self, keep: bool = False) -> None:
        """Remove what was written, or leave it to be continued later. Does nothing after :meth:`commit`. Raises RescueError."""
        if self._first.fd < 0:
            return
        try:
            if not keep:
                self._remove()
            else:
                with suppress(OSError):  # as much as the medium takes
                    self._current.push()
        except RescueError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _GONE:
                raise
        finally:
            self._close()

    def _remove(self) -> None:
        for number in range(self._count, 1, -1):
            remove_file(part_path(self.path, number) if number in self._numbered else partial_path(self.path, number))
        clear_marker(self.path)
        # Last, and while the lock is held: as long as it is there, the others are known for leftovers.
        remove_file(partial_path(self.path))

    def _close(self) -> None:
        self._current.close()
        self._first.close()

    def _failed(self, error: OSError) -> TargetWriteError:
        folder = self.path.parent
        position = self.tell()
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                return TargetWriteError(
                    f"{folder} is full: {position} bytes of {self.path.name} were written.",
                    "Free some space or choose another folder.",
                )
            case errno.EFBIG:
                return TargetWriteError(
                    f"The file system of {folder} does not take files larger than {self._current.position} bytes (FAT: 4 GiB).",
                    "Cut the image into parts (--split), or use a disk with exFAT, NTFS, ext4, xfs or btrfs.",
                )
            case errno.EIO | errno.ENXIO | errno.ENODEV | errno.EROFS:
                return TargetWriteError(
                    f"The disk of {folder} does not take data any more, at byte {position} of {self.path.name}:"
                    f" {error.strerror}.",
                    "Check its cable and its health, then run the same command again.",
                )
            case _:
                return TargetWriteError(f"{self.path.name} cannot be written to at byte {position}: {error.strerror}.")

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
