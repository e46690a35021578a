"""Plan a clone: a disk is written over another, without an image between them."""

from __future__ import annotations

from collections.abc import Sequence

from rescue.errors import RefusedError
from rescue.model.clone import CloneDisk, CloneReadBack, CloneTable, Placed
from rescue.model.disk import Disk
from rescue.model.plan import Plan, Step, WipeTarget
from rescue.model.survey import DiskSurvey
from rescue.planning.beside import beside_sentences, with_words
from rescue.planning.request import CloneRequest
from rescue.planning.words import disk_words, losses_of, whole_warnings
from rescue.planning.writable import refuse_moving, refuse_other_sectors, refuse_unwritable
from rescue.units import human_size


def plan_clone(source: DiskSurvey, target: DiskSurvey, request: CloneRequest, *, stands_on: Sequence[str] = ()) -> Plan:
    """Erase the target, copy what is in use of the source, its table last, and read everything back.

    ``stands_on`` are the paths of the disks and files that a target which is a file is stored on. Raises RefusedError.
    """
    disk = target.disk
    refuse_clone(source, target, stands_on)
    _refuse_size(source.disk, disk)
    steps: list[Step] = [
        WipeTarget(title=f"Erase {disk.path}", target=disk.path),
        CloneDisk(
            title="Copy the data",
            source=source.disk,
            target=disk.path,
            volumes=tuple(Placed(v.partition, v.start, v.end, v.start) for v in source.volumes),
            delta=request.delta,
        ),
        CloneTable(title="Write the partition table", source=source.disk.path, target=disk.path),
    ]
    copied = f"Copy {disk_words(source.disk)} onto it: {human_size(source.used_bytes)} in use. Nothing on it is changed."
    if request.delta:
        copied += " What the target holds of it already is left as it is."
    sentences = [
        f"Erase everything on {disk_words(disk)}.",
        copied,
        *beside_sentences(source.disk),
        "Write the partition table last, so that a half-copied disk does not look like a whole one.",
    ]
    if disk.size > source.disk.size:
        moved = " The backup partition table moves to the disk's own end." if source.layout.label == "gpt" else ""
        sentences.append(f"Leave {human_size(disk.size - source.disk.size)} at the end unused, for the disk is larger.{moved}")
    warnings = [*source.layout.problems, *whole_warnings(source.layout, source.volumes)]
    if source.layout.label != "none" or source.volumes:
        warnings.append(
            "The two disks will have the same identifiers. Take one of them out before a system is started from either, or it may"
            " use the wrong one."
        )
    if request.verify:
        steps.append(CloneReadBack(title="Read back and compare", target=disk.path))
        sentences.append("Read everything back from the disk and compare it with the hashes of what was read.")
    else:
        warnings.append("What is written will not be read back and compared.")
    return Plan(
        kind="clone",
        steps=tuple(steps),
        sentences=tuple(sentences),
        losses=losses_of(target),
        warnings=tuple(warnings),
        command=(*_command(source.disk.path, disk.path, request), *with_words(source.disk)),
        fingerprint=target.fingerprint,
        target=disk,
        source=source.disk,
        estimated_bytes=source.used_bytes * (2 if request.verify else 1),
    )


def _command(source: str, target: str, request: CloneRequest) -> tuple[str, ...]:
    command = ["rescue", "clone", source, target]
    if request.delta is not None:
        command.append("--delta" if request.delta else "--no-delta")
    for partition in request.unlock:
        command += ["--unlock", str(partition)]
    if not request.verify:
        command.append("--no-verify")
    return tuple(command)


def _is_same(one: Disk, other: Disk) -> bool:
    """Whether two surveys are of one disk, also under two names: a second path to it has the same world-wide name."""
    return one.path == other.path or bool(one.wwn and (one.wwn, one.size) == (other.wwn, other.size))


def refuse_clone(source: DiskSurvey, target: DiskSurvey, stands_on: Sequence[str]) -> None:
    """Raise RefusedError when the source must not be copied onto the target, whatever its size."""
    disk = target.disk
    if _is_same(source.disk, disk):
        raise RefusedError(f"{disk_words(disk)} is the disk that is to be copied.", "Choose another target.")
    refuse_unwritable(target)
    if source.unreadable:
        raise RefusedError(f"{source.disk.title} cannot be read. {source.unreadable}", "Check its cable, or try another disk.")
    refuse_moving(source)
    if source.disk.path in stands_on:
        raise RefusedError(
            f"{disk.path} is stored on {disk_words(source.disk)}, the disk that is to be copied.", "Choose a target elsewhere."
        )


def _refuse_size(source: Disk, disk: Disk) -> None:
    if disk.size < source.size:
        raise RefusedError(
            f"{disk_words(disk)} is {human_size(source.size - disk.size)} too small: {source.title} has"
            f" {human_size(source.size)} ({source.size} bytes), it has {disk.size} bytes.",
            f"Choose a disk of at least {source.size} bytes.",
        )
    refuse_other_sectors(disk, source.logical_sector_size, f"{source.title} has sectors of")
