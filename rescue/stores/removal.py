"""Removing complete objects, and holding those that something depends on."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rescue.errors import GoneError, RefusedError, RescueError
from rescue.stores.locks import lock_file
from rescue.stores.names import PARTIAL, clear_parts, marker_path, remove_file, sync_folder
from rescue.system.joined import files_of, part_name, part_path

# What was just written is locked a moment longer than it is invisible, and a key is changed within a second or two.
_WAIT_SECONDS: Final = 5.0


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keep the complete object ``path`` from being removed as long as the context lasts. Any number may hold it.

    Where it is a link, what is behind it is kept. Raises GoneError (there is no such object), RefusedError (its removal
    takes longer than can be waited for), RescueError.
    """
    busy = RefusedError(f"{path} is being removed right now.", "Look at the images again and choose anew.")
    fd = _patiently(lambda: _lock(path, os.O_RDONLY, fcntl.LOCK_SH, busy, follow=True))
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def hold_to_read(path: Path) -> Iterator[None]:
    """Keep what is behind ``path`` from being removed while it is read, where that is possible; links are followed.

    Where it is not (a file system without locks, a device, what is still being written) it is read without. Raises
    FileNotFoundError (there is no such file), RefusedError (it is being removed, or its keys are being changed).
    """
    fd = _lock_to_read(path)
    try:
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def _lock_to_read(path: Path) -> int:
    """A descriptor; -1 where there can be no lock."""
    found = files_of(path)
    if not found:
        raise FileNotFoundError(path)
    first = Path(os.path.realpath(found[0]))
    if first.exists() and (first.name.endswith(PARTIAL) or not first.is_file()):
        return -1
    busy = RefusedError(f"{path} is being removed or changed right now.", "Try again in a moment.")
    try:
        return _patiently(lambda: lock_file(first, os.O_RDONLY, fcntl.LOCK_SH, busy))
    except RefusedError:
        raise
    except RescueError:
        return -1


def _patiently(lock: Callable[[], int]) -> int:
    """Lock what another one may have locked for a moment. Raises as ``lock``."""
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            return lock()
        except GoneError:
            raise
        except RefusedError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)


def remove(path: Path, check: Callable[[], None]) -> None:
    """Remove the complete object ``path``. It is gone at once: a power cut leaves all of it, or nothing that looks like it.

    ``check`` is called when nobody can begin to depend on the object any more, and before anything is changed; what it raises
    keeps the object. Raises GoneError (there is no such object), RefusedError (it is held, is being written, or is
    a link), RescueError.
    """
    if is_link(path):
        raise RefusedError(f"{path} is a link. What is behind it is not removed.", "Remove the link by hand.")
    busy = RefusedError(
        f"{path} is in use: it is mounted, it is being read, or a backup that is running builds on it.",
        "Wait until that has ended, or unmount it.",
    )
    # NFS gives exclusive locks only to those who may write.
    fd = _lock(path, os.O_RDWR, fcntl.LOCK_EX, busy)
    try:
        check()
        if os.path.lexists(path) and not _is_first_part(path):
            remove_file(path)
        else:
            whole = _whole(path)
            try:
                os.rename(part_path(whole, 1), marker_path(whole))
            except OSError as error:
                raise RescueError(f"{part_path(whole, 1)} cannot be removed: {error.strerror}.") from error
            sync_folder(whole.parent)
            clear_parts(whole)
        sync_folder(path.parent)
    finally:
        os.close(fd)


def _is_first_part(path: Path) -> bool:
    part = part_name(path.name)
    return part is not None and part.number == 1


def _whole(path: Path) -> Path:
    return Path(str(path)[: -len(".001")]) if _is_first_part(path) else path


def is_link(path: Path) -> bool:
    """Whether a file of the object ``path`` is a symbolic link."""
    return any(file.is_symlink() for file in files_of(path))


def _lock(path: Path, flags: int, operation: int, busy: RefusedError, *, follow: bool = False) -> int:
    """Lock the file that makes the object visible. Raises GoneError when there is none."""
    for file in (path, part_path(path, 1)):
        try:
            return lock_file(Path(os.path.realpath(file)) if follow else file, flags, operation, busy)
        except FileNotFoundError:
            continue
    raise GoneError(f"There is no image {path}.", "Look at the images again and choose anew.")
