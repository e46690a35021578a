"""What a plan says of the disks that are read beside its source, because they hold the rest of what is on it."""

from __future__ import annotations

from rescue.model.disk import Disk
from rescue.model.survey import DiskSurvey
from rescue.records import replace


def with_words(disk: Disk) -> tuple[str, ...]:
    """The options that name them."""
    return tuple(word for path in disk.beside for word in ("--with", path))


def beside_sentences(disk: Disk) -> tuple[str, ...]:
    """That they are read, and what is not done with them."""
    if not disk.beside:
        return ()
    others = ", ".join(disk.beside)
    return (
        f"Look at {others} as well, which may hold the rest of what is on {disk.path}, to know what of it is in use. Only what is"
        f" on {disk.path} itself is kept: the other disks need images of their own.",
    )


def without(source: DiskSurvey, target: Disk) -> DiskSurvey:
    """The same source, not looked at together with the disk that is about to be overwritten."""
    beside = tuple(path for path in source.disk.beside if path != target.path)
    return replace(source, disk=replace(source.disk, beside=beside))
