"""The folder that files are copied into: every name is opened inside of it, no link in it is ever followed.

Names come from an image and may be anything. One folder at a time is open; the way back up is taken through ".." and checked
to be the folder that it was.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from rescue.errors import RescueError, TargetWriteError
from rescue.filesystems.files.tree import Entry, Kind

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_REFUSED: Final = (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR)
_NO_LINKS: Final = (
    errno.EPERM,
    errno.EMLINK,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EXDEV,
    errno.ENOENT,
    errno.ELOOP,
    errno.ENOTDIR,
)
_SET_ID: Final = 0o6000
_libc = ctypes.CDLL(None, use_errno=True)
OWNERS: Final = "owners and groups (only root can give files to others)"
MODES: Final = "permissions"
TIMES: Final = "times"
ATTRIBUTES: Final = "extended attributes"
ACLS: Final = "access control lists (ACLs)"
_TYPES: Final = {
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.CHARACTER: stat.S_IFCHR,
}


class Unfit(Exception):  # noqa: N818 - not an error: one entry that this folder cannot take, told and left out
    """The folder cannot take an entry; the text says why."""


class Conflict(Exception):  # noqa: N818 - as Unfit
    """The name is taken; the text says by what."""


class _Level(msgspec.Struct):
    """A folder on the way: its name in the one above, which it is, and what was made in it."""

    name: str
    identity: tuple[int, int]
    made: set[int] = msgspec.field(default_factory=set)


@contextmanager
def open_target(path: Path) -> Iterator[TargetFolder]:
    """Open the folder, made when it is not there. Raises TargetWriteError."""
    try:
        # What a person typed may lead through links; what is in the image may not.
        with suppress(FileExistsError):
            os.mkdir(path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise TargetWriteError(f"Cannot write into {path}: {error.strerror}.", "Choose a folder that is there.") from error
    target = TargetFolder(path, fd)
    try:
        yield target
    finally:
        target.close()


class TargetFolder:
    """A folder below the target and how to get back up. Methods raise Unfit, Conflict and TargetWriteError."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._top = os.dup(fd)
        self._fd = fd
        self._levels = [_Level("", _identity(os.fstat(fd)))]

    def close(self) -> None:
        """Let the folders go."""
        os.close(self._fd)
        os.close(self._top)

    @property
    def inside(self) -> tuple[str, ...]:
        """The names that lead from the target to the folder that is open."""
        return tuple(level.name for level in self._levels[1:])

    def flush(self) -> None:
        """Return only when all that was written is on the medium. Raises TargetWriteError."""
        if _libc.syncfs(self._top):
            number = ctypes.get_errno()
            raise TargetWriteError(
                f"What was copied into {self.path} did not all reach the medium: {os.strerror(number)}.",
                "Check its disk, and copy again to another one.",
            )

    def has(self, name: str) -> bool:
        """Whether there is something of that name in the folder; never looks anywhere else."""
        try:
            _check_name(name)
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except (OSError, Unfit):
            return False
        return True

    def enter(self, name: str, overwrite: bool) -> None:
        """Make a folder and go into it; with ``overwrite`` one that was there before serves too."""
        _check_name(name)
        try:
            os.mkdir(name, 0o700, dir_fd=self._fd)
        except FileExistsError:
            if not overwrite or self._is_ours(name):
                raise self._taken(name) from None
        except OSError as error:
            raise self._answer(error, name) from error
        try:
            fd = os.open(name, _FOLDER, dir_fd=self._fd)
        except OSError as error:
            raise Conflict(f"There is something else of that name in {self._shown('')}.") from error
        identity = _identity(os.fstat(fd))
        self._levels[-1].made.add(identity[1])
        os.close(self._fd)
        self._fd = fd
        self._levels.append(_Level(name, identity))

    def leave(self, entry: Entry, attributes: dict[str, bytes], owners: bool) -> list[str]:
        """Give the open folder its metadata and go back up. Returns what could not be kept."""
        above = os.open("..", _FOLDER, dir_fd=self._fd)
        if _identity(os.fstat(above)) != self._levels[-2].identity:
            os.close(above)
            raise TargetWriteError(
                f"{self._shown('')} was moved while it was written.", "Extract again into a folder that nobody changes."
            )
        lost = _apply(self._fd, entry, attributes, owners)
        os.close(self._fd)
        self._fd = above
        self._levels.pop()
        return lost

    @contextmanager
    def file(self, name: str, overwrite: bool) -> Iterator[TargetFile]:
        """A new file; it is removed again when the block raises."""
        fd = self._make(name, overwrite, lambda: os.open(name, _NEW_FILE, 0o600, dir_fd=self._fd))
        file = TargetFile(fd, lambda error: self._answer(error, name))
        complete = False
        try:
            yield file
            complete = True
        finally:
            os.close(fd)
            if not complete:
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._fd)

    def link(self, name: str, to: str, overwrite: bool) -> None:
        """A symbolic link. What it leads to is never looked at."""
        if "\0" in to or not to:
            raise Unfit("It is a link that leads nowhere.")
        self._make(name, overwrite, lambda: os.symlink(to, name, dir_fd=self._fd))

    def special(self, entry: Entry, overwrite: bool) -> None:
        """A fifo, a socket or a device node."""
        mode = _TYPES[entry.kind] | 0o600
        device = os.makedev(*entry.device) if entry.kind in (Kind.BLOCK, Kind.CHARACTER) else 0
        try:
            self._make(entry.name, overwrite, lambda: os.mknod(entry.name, mode, device, dir_fd=self._fd), passed=(errno.EPERM,))
        except OSError as error:
            raise Unfit(f"It is a {entry.kind.value}, which only root can make, and not everywhere.") from error

    def hard_link(self, name: str, first: tuple[str, ...], overwrite: bool) -> bool:
        """A further name of a file copied before, given by the names that lead to it; False where that is not possible."""
        try:
            folder = self._open_inside(first[:-1])
        except OSError:
            return False
        try:
            self._make(
                name,
                overwrite,
                lambda: os.link(first[-1], name, src_dir_fd=folder, dst_dir_fd=self._fd, follow_symlinks=False),
                passed=_NO_LINKS,
            )
        except OSError:
            return False
        finally:
            os.close(folder)
        return True

    def finish_special(self, entry: Entry, attributes: dict[str, bytes], owners: bool) -> list[str]:
        """Give what is no file and no folder its metadata. Returns what could not be kept."""
        fd = os.open(entry.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            return _apply(fd, entry, attributes, owners)
        finally:
            os.close(fd)

    def _open_inside(self, names: tuple[str, ...]) -> int:
        fd = os.dup(self._top)
        try:
            for name in names:
                below = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
        except OSError:
            os.close(fd)
            raise
        return fd

    def _make(self, name: str, overwrite: bool, make: Callable[[], int | None], passed: tuple[int, ...] = ()) -> int:
        """Make something new; when the name is taken, once more after what was there before is removed."""
        _check_name(name)
        for attempt in (1, 2):
            try:
                made = make()
            except FileExistsError:
                if not overwrite or attempt == 2 or self._is_ours(name):
                    raise self._taken(name) from None
                self._remove(name)
            except OSError as error:
                if error.errno in passed:
                    raise
                raise self._answer(error, name) from error
            else:
                found = os.fstat(made) if made is not None else os.stat(name, dir_fd=self._fd, follow_symlinks=False)
                self._levels[-1].made.add(found.st_ino)
                return -1 if made is None else made
        raise self._taken(name)

    def _remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._fd)
        except OSError as error:
            raise Conflict(f"There is a folder of that name in {self._shown('')}.") from error

    def _is_ours(self, name: str) -> bool:
        """Whether what has the name was copied just now: under a name that this folder takes for the same."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_ino in self._levels[-1].made
        except OSError:
            return False

    def _taken(self, name: str) -> Conflict:
        if self._is_ours(name):
            return Conflict("The target takes its name for the same as another one in its folder (as Windows does with case).")
        return Conflict(f"{self._shown(name)} is already there.")

    def _answer(self, error: OSError, name: str) -> RescueError | Unfit:
        if error.errno in _NAME_REFUSED:
            return Unfit(f"The target cannot take its name ({error.strerror}).")
        if error.errno == errno.EFBIG:
            return Unfit("It is larger than the target's file system allows.")
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP):
            return Unfit(f"The target's file system cannot hold such a thing ({error.strerror}).")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return TargetWriteError(
                f"{self.path} is full. {name} was not copied completely and was removed; what was copied before is there.",
                "Make room or choose another folder.",
            )
        return TargetWriteError(f"Cannot write {self._shown(name)}: {error.strerror}.")

    def _shown(self, name: str) -> str:
        return str(self.path.joinpath(*self.inside, name))


class TargetFile:
    """A file that is being written; what is not written stays a hole."""

    def __init__(self, fd: int, answer: Callable[[OSError], RescueError | Unfit]) -> None:
        self._fd = fd
        self._answer = answer

    def write(self, data: bytes, offset: int) -> None:
        """Write all of the bytes."""
        view = memoryview(data)
        while view:
            try:
                count = os.pwrite(self._fd, view, offset)
            except OSError as error:
                raise self._answer(error) from error
            view, offset = view[count:], offset + count

    def finish(self, entry: Entry, attributes: dict[str, bytes], owners: bool) -> list[str]:
        """Give the file its size and metadata. Returns what could not be kept."""
        try:
            os.ftruncate(self._fd, entry.size)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise Unfit("It is larger than the target's file system allows.") from error
            raise self._answer(error) from error
        return _apply(self._fd, entry, attributes, owners)


def _check_name(name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise Unfit("Its name is none that a file can have here.")
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise Unfit("Its name is none that a file can have here.") from error


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _apply(fd: int, entry: Entry, attributes: dict[str, bytes], owners: bool) -> list[str]:
    """Owner, mode, attributes and times in the order in which none undoes another. Works on descriptors without rights too."""
    place = f"/proc/self/fd/{fd}"
    lost: list[str] = []
    mode = entry.mode
    if owners:
        try:
            os.chown(place, entry.uid, entry.gid)
        except OSError:
            lost.append(OWNERS)
            mode &= ~_SET_ID  # it would be another's right now
    if entry.kind is not Kind.LINK:
        try:
            os.chmod(place, mode)
        except OSError:
            lost.append(MODES)
    lost += _set_attributes(place, attributes)
    try:
        os.utime(place, ns=(entry.accessed, entry.modified))
    except (OSError, OverflowError):
        lost.append(TIMES)
    return lost


def _set_attributes(place: str, attributes: dict[str, bytes]) -> list[str]:
    lost: list[str] = []
    for name, value in attributes.items():
        try:
            os.setxattr(place, name, value)
        except (OSError, ValueError):
            lost.append(ACLS if name.startswith("system.posix_acl") else ATTRIBUTES)
    return sorted(set(lost))
