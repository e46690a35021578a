"""The names that one object of a folder store has while it is written, when it is complete, and when it is cut into parts.

Written: ``NAME.partial``, which is also the first part, then ``NAME.002.partial``, ``NAME.003.partial``, …
Complete: ``NAME``; or, when there are several parts, ``NAME.001``, ``NAME.002``, … (``cat`` joins them).

``NAME.001`` is what makes a cut object visible: it gets its name last and loses it first. As long as the other numbered parts
belong to no complete object, the file ``.NAME.rescue-parts`` says that they are the store's to continue or to remove. Without it,
numbered files are somebody's own, and are never touched.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from rescue.errors import RefusedError, RescueError, TargetWriteError, UsageError
from rescue.model.text import shown
from rescue.system.joined import found_parts, part_name, part_path
from rescue.units import MIB, human_size

PARTIAL: Final = ".partial"
MIN_SPLIT: Final = MIB

MARKER: Final = ".rescue-parts"

# Room for the longest names that files of an object have: NAME.002.partial, .NAME.rescue-parts
_NAME_LIMIT: Final = 255 - max(len(f".002{PARTIAL}"), len(f".{MARKER}"))


def check_name(name: str) -> None:
    """Raise UsageError for what cannot be the name of an object."""
    if not name or "/" in name or "\x00" in name or name.startswith(".") or name.endswith(PARTIAL):
        raise UsageError(f"{name!r} cannot be the name of an image.", "Use a plain file name, without folders.")


def check_new_name(name: str) -> None:
    """Raise UsageError for what cannot be the name of a new object."""
    check_name(name)
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise UsageError(f"{shown(name)[:80]} cannot be the name of an image: it holds bytes that are no UTF-8.", "Type it anew.")
    if len(os.fsencode(name)) > _NAME_LIMIT:
        raise UsageError(f"The name {name[:40]}… is too long.", f"Use at most {_NAME_LIMIT} bytes.")
    if part_name(name):
        raise UsageError(
            f"{name} cannot be the name of a new image: .{name[-3:]} means a part of one.", "Choose a name that ends otherwise."
        )


def check_split(split: int) -> None:
    """Raise UsageError for a size of parts, in bytes, that is too small; 0 means not to cut."""
    if split and split < MIN_SPLIT:
        raise UsageError(f"Parts of {human_size(max(split, 0))} are too small.", f"Use at least {human_size(MIN_SPLIT)}.")


def partial_path(path: Path, number: int = 1) -> Path:
    """Where part ``number`` of the object ``path`` is written."""
    return Path(f"{path if number == 1 else part_path(path, number)}{PARTIAL}")


def marker_path(path: Path) -> Path:
    """The file that marks the numbered parts of ``path`` as the store's own while they are of no complete object."""
    return path.with_name(f".{path.name}{MARKER}")


def taken_by(path: Path) -> Path | None:
    """The file that takes the name ``path`` for a new object; None when it is free."""
    if os.path.lexists(path):
        return path
    first = part_path(path, 1)
    if os.path.lexists(first):
        return first
    if not marker_path(path).exists():
        return next(iter(found_parts(path).values()), None)
    return None


def name_taken(path: Path) -> RefusedError:
    """The error for a name that another file has already: objects are never overwritten."""
    return RefusedError(f"{path} exists already.", "Choose another name; images are never overwritten.")


def written_parts(path: Path) -> dict[int, Path]:
    """The parts, but the first, of the object ``path`` that is not complete, by number, in order, as they are named now."""
    found = found_parts(path) if marker_path(path).exists() else {}
    found |= found_parts(path, PARTIAL)
    return {number: found[number] for number in sorted(found) if number > 1}


def clear_parts(path: Path) -> None:
    """Remove what is left of parts, but the first, of an object that is not complete. The caller holds its lock.

    Raises RescueError.
    """
    if not os.path.lexists(part_path(path, 1)):
        for file in reversed(written_parts(path).values()):
            remove_file(file)
    clear_marker(path)


def clear_marker(path: Path) -> None:
    """Remove the marker, after everything else that was done to the folder. Raises RescueError."""
    marker = marker_path(path)
    if marker.exists():
        sync_folder(path.parent)
        remove_file(marker)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there. Raises RescueError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RescueError(f"{path} cannot be removed: {error.strerror}.", "Remove it by hand.") from error


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the medium. Raises TargetWriteError."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        # Some network and FUSE file systems have no fsync of folders.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise TargetWriteError(f"{folder} cannot be written to: {error.strerror}.") from error
