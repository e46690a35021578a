"""A mounted folder as a FileTree: what serves btrfs, f2fs and all that no reader here knows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from rescue.errors import FormatError, RescueError, SourceReadError
from rescue.filesystems.files.stored import kind_of_mode
from rescue.filesystems.files.tree import PIECE, Entry, Kind, resolve

_SEARCH: Final = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME


class MountedTree:
    """The files below a folder. Never leaves it: no link is followed by the system. A context manager.

    Needs the rights to read them, and O_NOATIME (their owner or root) where the mount is writable.
    """

    def __init__(self, folder: Path, kind: str = "", cause: Callable[[RescueError], RescueError] = lambda error: error) -> None:
        """``cause`` makes of an error of reading one that says what is behind it."""
        self._cause = cause
        try:
            self._root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise FormatError(f"{folder} cannot be opened: {error.strerror}.") from error
        self._device = os.fstat(self._root).st_dev
        self.kind = kind
        self.owners = True
        self.notes: list[str] = []

    def close(self) -> None:
        """Let the folder go."""
        if self._root >= 0:
            os.close(self._root)
        self._root = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def root(self) -> Entry:
        """See FileTree."""
        return self._entry("", "", os.fstat(self._root))

    def entry(self, path: str) -> Entry:
        """See FileTree."""
        return resolve(self, path, self._lookup)

    def children(self, entry: Entry) -> Iterator[Entry]:
        """See FileTree."""
        if entry.kind is not Kind.FOLDER:
            raise FormatError(f"{entry.path} is not a folder.")
        with self._folder(entry.path) as folder, self._said(entry):
            listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
            try:
                names = os.listdir(listing)
            finally:
                os.close(listing)
            found = [self._child(entry, name, folder) for name in names]
        yield from found

    def read(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See FileTree."""
        if entry.kind is not Kind.FILE:
            raise FormatError(f"{entry.path} is not a file.")
        with self._parent(entry) as (parent, name), self._said(entry):
            fd = os.open(name, _FILE, dir_fd=parent)
        try:
            yield from _pieces(fd, entry)
        except SourceReadError as error:
            raise self._cause(error) from error
        finally:
            os.close(fd)

    def readlink(self, entry: Entry) -> str:
        """See FileTree."""
        with self._parent(entry) as (parent, name), self._said(entry):
            return os.readlink(name, dir_fd=parent)

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """See FileTree."""
        with self._parent(entry) as (parent, name), self._said(entry):
            place = f"/proc/self/fd/{parent}/{name}"
            try:
                return {key: os.getxattr(place, key, follow_symlinks=False) for key in os.listxattr(place, follow_symlinks=False)}
            except OSError as error:
                if error.errno in (errno.ENOTSUP, errno.EPERM):
                    return {}
                raise

    def left_out(self, entry: Entry) -> tuple[str, ...]:
        """See FileTree."""
        return ()

    def _lookup(self, folder: Entry, name: str) -> Entry | None:
        with self._folder(folder.path) as parent:
            try:
                return self._entry(name, _join(folder, name), os.stat(name, dir_fd=parent, follow_symlinks=False))
            except (FileNotFoundError, ValueError):
                return None
            except OSError as error:
                raise FormatError(f"{_join(folder, name)} cannot be read: {error.strerror}.") from error

    def _child(self, folder: Entry, name: str, parent: int) -> Entry:
        try:
            return self._entry(name, _join(folder, name), os.stat(name, dir_fd=parent, follow_symlinks=False))
        except OSError as error:
            return Entry(name, _join(folder, name), Kind.UNKNOWN, problem=f"It cannot be read: {error.strerror}.")

    def _entry(self, name: str, path: str, found: os.stat_result) -> Entry:
        device = (os.major(found.st_rdev), os.minor(found.st_rdev))
        kind = kind_of_mode(found.st_mode)
        # Numbers repeat in each subvolume of a btrfs, which has a device number of its own.
        volume = 0 if found.st_dev == self._device else found.st_dev
        return Entry(
            name,
            path,
            kind,
            size=found.st_size if kind in (Kind.FILE, Kind.FOLDER, Kind.LINK) else 0,
            allocated=found.st_blocks * 512,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            modified=found.st_mtime_ns,
            accessed=found.st_atime_ns,
            changed=found.st_ctime_ns,
            inode=volume << 64 | found.st_ino,
            links=found.st_nlink,
            device=device if kind in (Kind.BLOCK, Kind.CHARACTER) else (0, 0),
        )

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        """A folder by its path, opened name by name, so that no link on the way and no length of the path matters."""
        fd = os.dup(self._root)
        try:
            for part in path.split("/") if path else ():
                try:
                    below = os.open(part, _SEARCH, dir_fd=fd)
                except (OSError, ValueError) as error:
                    raise FormatError(f"{path} cannot be read: {error}.") from error
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _said(self, entry: Entry) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = FormatError(f"{entry.path or 'The top folder'} cannot be read: {error.strerror}.")
            raise (self._cause(said) if error.errno == errno.EIO else said) from error

    @contextmanager
    def _parent(self, entry: Entry) -> Iterator[tuple[int, str]]:
        """The folder that holds an entry, and its name in it."""
        with self._folder(entry.path.rpartition("/")[0]) as fd:
            yield fd, entry.name or "."


def _join(folder: Entry, name: str) -> str:
    return f"{folder.path}/{name}" if folder.path else name


def _pieces(fd: int, entry: Entry) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < entry.size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA)
            end = min(os.lseek(fd, offset, os.SEEK_HOLE), entry.size)
            while offset < end:
                data = os.pread(fd, min(PIECE, end - offset), offset)
                if not data:
                    return
                yield offset, data
                offset += len(data)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole up to the end
            raise SourceReadError(f"{entry.path} cannot be read: {error.strerror}.", offset, PIECE) from error
