"""A folder as a store."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from rescue.errors import RefusedError, RescueError, UsageError
from rescue.stores.writer import PARTIAL, StoreWriter

_NAME_LIMIT = 255 - len(PARTIAL)


class FolderStore:
    """Named immutable files in one folder. A name without ``.partial`` is a complete object."""

    def __init__(self, folder: str | Path) -> None:
        """Raises UsageError when there is no such folder."""
        self.folder = Path(folder)
        if not self.folder.exists():
            raise UsageError(f"The folder {self.folder} does not exist.", "Create it, or mount the disk that holds it.")
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is not a folder.", "Name the folder that the image shall be put into.")

    def check_writable(self) -> None:
        """Raise RefusedError when nothing can be stored here. Writes nothing to find out."""
        if os.statvfs(self.folder).f_flag & os.ST_RDONLY:
            raise RefusedError(f"{self.folder} is on a read-only file system.", "Mount it for writing, or choose another folder.")
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise RefusedError(f"{self.folder} may not be written to.", "Run as root, or choose another folder.")

    @property
    def free_bytes(self) -> int:
        """Bytes that can still be stored, as the file system says."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    def names(self) -> list[str]:
        """The complete objects, sorted. Raises RescueError when the folder cannot be read."""
        try:
            with os.scandir(self.folder) as entries:
                return sorted(
                    e.name for e in entries if not e.name.endswith(PARTIAL) and not e.name.startswith(".") and e.is_file()
                )
        except OSError as error:
            raise RescueError(f"The folder {self.folder} cannot be read: {error.strerror}.") from error

    def names_being_written(self) -> list[str]:
        """The objects that other processes are writing right now."""
        with os.scandir(self.folder) as entries:
            names = [e.name.removesuffix(PARTIAL) for e in entries if e.name.endswith(PARTIAL) and not e.name.startswith(".")]
        return sorted(name for name in names if name and self.being_written(name))

    def path(self, name: str) -> Path:
        """Where an object of this name is or would be. Raises UsageError for what cannot be a name."""
        if not name or "/" in name or "\x00" in name or name.startswith(".") or name.endswith(PARTIAL):
            raise UsageError(f"{name!r} cannot be the name of an image.", "Use a plain file name, without folders.")
        if len(os.fsencode(name)) > _NAME_LIMIT:
            raise UsageError(f"The name {name[:40]}… is too long.", f"Use at most {_NAME_LIMIT} bytes.")
        return self.folder / name

    def being_written(self, name: str) -> bool:
        """Whether another process is writing an object of this name right now."""
        try:
            fd = os.open(_partial(self.path(name)), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(fd)
        return False

    def open_for_write(self, name: str) -> StoreWriter:
        """Begin an object. Raises RefusedError when the name is taken or is being written, RescueError when it cannot be created.

        A ``.partial`` that a dead process left is begun anew: its lock went with the process.
        """
        path = self.path(name)
        self.check_writable()
        if os.path.lexists(path):
            raise name_taken(path)
        fd = _lock_partial(path)
        try:
            os.ftruncate(fd, 0)
            # The other one may have finished between the look above and the lock.
            if os.path.lexists(path):
                os.unlink(_partial(path))
                raise name_taken(path)
        except BaseException:
            os.close(fd)
            raise
        return StoreWriter(path, fd)


def name_taken(path: Path) -> RefusedError:
    """The error for a name that a complete object has already: objects are never overwritten."""
    return RefusedError(f"{path} exists already.", "Choose another name; images are never overwritten.")


def _partial(path: Path) -> str:
    return f"{path}{PARTIAL}"


def _lock_partial(path: Path) -> int:
    """A descriptor of the exclusively locked ``.partial`` of ``path``."""
    partial = _partial(path)
    while True:
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            hint = "Free some space or choose another folder." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise RescueError(f"{partial} cannot be created: {error.strerror}.", hint) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been renamed or removed between open and flock: then the lock is on something that has no name.
            if os.path.samestat(os.fstat(fd), os.stat(partial, follow_symlinks=False)):
                return fd
        except BlockingIOError as error:
            os.close(fd)
            raise RefusedError(
                f"Another backup is writing {path} right now.", "Wait until it has ended, or choose another name."
            ) from error
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(fd)
            raise RescueError(
                f"{partial} cannot be locked: {error.strerror}.", "Choose a folder on another file system."
            ) from error
        os.close(fd)
