"""Two mounted file systems held against each other: every name with all that belongs to it, and every byte."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from rescue.engine.refill_flags import marks_of
from rescue.errors import DamagedError, RescueError
from rescue.units import MIB

_TOP: Final = {b"lost+found"}  # every mkfs makes its own
# How xfs keeps ACLs, which root is shown a second time.
_TWICE: Final = {"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"}
More: TypeAlias = Mapping[str, Callable[[bytes], bytes]]
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class _Level:
    """A folder of both sides, open, and the names in it that are still to be looked at."""

    def __init__(self, old: int, new: int, path: bytes) -> None:
        self.old, self.new, self.path = old, new, path
        self.left: list[bytes] = []

    def look(self) -> None:
        """Read the names. Raises DamagedError when they are not the same."""
        skipped = _TOP if not self.path else set()
        ours = set(map(os.fsencode, os.listdir(self.old))) - skipped
        theirs = set(map(os.fsencode, os.listdir(self.new))) - skipped
        for name in sorted(ours ^ theirs)[:1]:
            raise _different(self.path + name, "it is in one of the two only")
        self.left = sorted(ours, reverse=True)

    def close(self) -> None:
        """Close both."""
        os.close(self.old)
        os.close(self.new)


def _opened(old: bytes, new: bytes, old_folder: int | None, new_folder: int | None, path: bytes) -> _Level:
    ours = os.open(old, _FLAGS | os.O_DIRECTORY, dir_fd=old_folder)
    try:
        return _Level(ours, os.open(new, _FLAGS | os.O_DIRECTORY, dir_fd=new_folder), path)
    except OSError:
        os.close(ours)
        raise


def _different(path: bytes, why: str) -> DamagedError:
    shown = "".join(c if c.isprintable() else "?" for c in path.decode("utf-8", "replace"))[-200:]
    return DamagedError(
        f"The copy is not equal to what it was made from: {why}: {shown or 'the root directory'}.",
        "Try again, or restore without another size.",
    )


def require_equal(old: Path, new: Path, check: Callable[[], None], *, more: More | None = None) -> None:
    """Raise DamagedError with the first name that differs: in kind, mode, owner, time, size, content, target, device,
    flags, project, extended attributes with ACLs, or in which names are one file.

    ``more`` are attributes that are there without being listed, and what of their values counts. ``check`` is called often.
    Raises RescueError when one cannot be read.
    """
    files: dict[int, int] = {}  # files with several names: inode there, inode here
    levels: list[_Level] = []
    try:
        levels.append(_opened(os.fsencode(old), os.fsencode(new), None, None, b""))
        levels[-1].look()
        _same_node(levels[0].old, levels[0].new, b".", b"", files, more or {})
        while levels:
            check()
            level = levels[-1]
            if not level.left:
                levels.pop().close()
                continue
            name = level.left.pop()
            path = level.path + name
            mode = _same_node(level.old, level.new, name, path, files, more or {})
            if stat.S_ISDIR(mode):
                levels.append(_opened(name, name, level.old, level.new, path + b"/"))
                levels[-1].look()
            elif stat.S_ISREG(mode):
                _same_content(level.old, level.new, name, path, check)
    except OSError as error:
        raise RescueError(f"The copy could not be compared: {error.strerror}.") from error
    finally:
        for level in levels:
            level.close()


def _same_node(old: int, new: int, name: bytes, path: bytes, files: dict[int, int], more: More) -> int:
    """Compare all but content; the mode."""
    ours = os.stat(name, dir_fd=old, follow_symlinks=False)
    theirs = os.stat(name, dir_fd=new, follow_symlinks=False)
    sized = stat.S_ISREG(ours.st_mode) or (stat.S_ISLNK(ours.st_mode) and not more)
    for what, one, other in (
        ("its kind or mode differs", ours.st_mode, theirs.st_mode),
        ("its owner differs", (ours.st_uid, ours.st_gid), (theirs.st_uid, theirs.st_gid)),
        ("its time differs", ours.st_mtime_ns, theirs.st_mtime_ns),
        ("its device differs", ours.st_rdev, theirs.st_rdev),
        ("its size differs", sized and ours.st_size, sized and theirs.st_size),
    ):
        if one != other:
            raise _different(path, what)
    if not stat.S_ISDIR(ours.st_mode):
        if ours.st_nlink != theirs.st_nlink:
            raise _different(path, "it has not as many names")
        if ours.st_nlink > 1 and files.setdefault(ours.st_ino, theirs.st_ino) != theirs.st_ino:
            raise _different(path, "it is not the same file as under its other name")
    if (stat.S_ISDIR(ours.st_mode) or stat.S_ISREG(ours.st_mode)) and marks_of(name, old) != marks_of(name, new):
        raise _different(path, "its flags or its project differ")
    attributes = _attributes(old, name, more)
    if attributes != _attributes(new, name, more):
        raise _different(path, "its extended attributes differ")
    # ntfs-3g makes a link of a junction, to a place below its own mount point: its data were just compared.
    is_link = stat.S_ISLNK(ours.st_mode) and "system.ntfs_reparse_data" not in attributes
    if is_link and os.readlink(name, dir_fd=old) != os.readlink(name, dir_fd=new):
        raise _different(path, "its target differs")
    return ours.st_mode


def _attributes(folder: int, name: bytes, more: More) -> dict[str, bytes]:
    # There is no call that takes a folder; this path is short, however deep the folder is.
    place = f"/proc/self/fd/{folder}/".encode() + name
    names = os.listxattr(place, follow_symlinks=False)
    found = {key: os.getxattr(place, key, follow_symlinks=False) for key in names if key not in _TWICE}
    for key, counting in more.items():
        try:
            found[key] = counting(os.getxattr(place, key, follow_symlinks=False))
        except OSError as error:
            # Also where there is none: ntfs-3g says that the root directory has an access list that it cannot read.
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.EIO, errno.EPERM):
                raise
            found[f"{key}: none"] = os.strerror(error.errno).encode()
    return found


def _same_content(old: int, new: int, name: bytes, path: bytes, check: Callable[[], None]) -> None:
    ours = os.open(name, _FLAGS, dir_fd=old)
    try:
        theirs = os.open(name, _FLAGS, dir_fd=new)
        try:
            while True:
                check()
                one, other = os.read(ours, MIB), os.read(theirs, MIB)
                if one != other:
                    raise _different(path, "its content differs")
                if not one:
                    return
        finally:
            os.close(theirs)
    finally:
        os.close(ours)
