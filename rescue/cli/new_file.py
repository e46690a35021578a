"""A target that is a file which does not exist yet: made sparse, and gone again when nothing was written to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from rescue.errors import RescueError, UsageError
from rescue.model.disk import Disk, Fingerprint
from rescue.model.layout import Layout
from rescue.model.survey import DiskSurvey


def names_new_file(target: str) -> bool:
    """Whether TARGET can only mean a file that is to be created."""
    return not target.startswith(("serial:", "/dev/")) and not os.path.lexists(target)


def blank_file(path: str, size: int) -> DiskSurvey:
    """What the survey of a new sparse file of ``size`` bytes would say."""
    path = os.path.abspath(path)
    return DiskSurvey(
        disk=Disk(path, size, is_file=True),
        layout=Layout(size, 512, "none"),
        volumes=(),
        fingerprint=Fingerprint(path, size, "", "", 0, ""),
    )


class NewFile(msgspec.Struct):
    """Whether a file that was made is to stay."""

    keep: bool = False


@contextmanager
def new_file(target: str, size: int, is_new: bool) -> Iterator[NewFile]:
    """A sparse file in place of TARGET, gone again unless it is to be kept. Raises UsageError (no such folder), RescueError."""
    state = NewFile()
    if not is_new:
        yield state
        return
    path = Path(target)
    if not os.path.isdir(path.parent):
        raise UsageError(f"There is no folder {path.parent} for {target}.")
    try:
        with path.open("xb") as file:
            os.chmod(file.fileno(), 0o600)
            os.truncate(file.fileno(), size)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            with suppress(OSError):
                path.unlink()
        raise RescueError(f"{target} cannot be created with {size} bytes: {error.strerror}.") from error
    try:
        yield state
    finally:
        if not state.keep:
            path.unlink(missing_ok=True)
