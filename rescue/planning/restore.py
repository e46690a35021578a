"""Plan a restore: an image is written over a whole disk."""

from __future__ import annotations

from typing import Final

from rescue.errors import DamagedError, RefusedError
from rescue.model.damage import damage_lines
from rescue.model.disk import Disk
from rescue.model.plan import DeployImage, Plan, ReadBack, Step, WipeTarget, WriteTable
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.planning.request import RestoreRequest
from rescue.planning.verify import image_words, usable, usable_in_part
from rescue.planning.words import disk_words, losses_of, plain
from rescue.planning.writable import refuse_other_sectors, refuse_unwritable
from rescue.units import human_size

_SALVAGE: Final = "Use another image of this disk; or restore all that is whole with --salvage."


def plan_restore(image: ImageSummary, target: DiskSurvey, request: RestoreRequest) -> Plan:
    """Erase the target, write the image, its table last, and read everything back. Raises RefusedError."""
    source = usable_in_part(image) if request.salvage else complete_image(image)
    disk = target.disk
    _refuse(image, source, target)
    steps: list[Step] = [
        WipeTarget(title=f"Erase {disk.path}", target=disk.path),
        DeployImage(title="Write the data", image=image.path, target=disk.path, delta=request.delta, salvage=request.salvage),
        WriteTable(title="Write the partition table", image=image.path, target=disk.path),
    ]
    sentences = [
        f"Erase everything on {disk_words(disk)}.",
        f"Write {image_words(image)}: {human_size(image.used_bytes)} of data.",
        "Write the partition table last, so that a half-restored disk does not look like a whole one.",
    ]
    if request.delta:
        sentences[1] += " What the disk holds of it already is left as it is."
    if request.salvage:
        sentences[1] += " What it lacks or holds damaged becomes zeros; the files that this costs are named at the end."
    if disk.size > source.size:
        moved = " The backup partition table moves to the disk's own end." if image.layout and image.layout.label == "gpt" else ""
        sentences.append(f"Leave {human_size(disk.size - source.size)} at the end unused, for the disk is larger.{moved}")
    warnings = list(image.layout.problems) if image.layout else []
    if request.salvage:
        warnings += [text for text in (image.problem, *damage_lines(image.damage)) if text]
    if request.verify:
        steps.append(ReadBack(title="Read back and compare", image=image.path, target=disk.path))
        sentences.append("Read everything back from the disk and compare it with the image's hashes.")
    else:
        warnings.append("What is written will not be read back and compared.")
    command = ["rescue", "restore", image.path, disk.path]
    if request.delta is not None:
        command.append("--delta" if request.delta else "--no-delta")
    if request.salvage:
        command.append("--salvage")
    for partition in request.unlock:
        command += ["--unlock", str(partition)]
    if not request.verify:
        command.append("--no-verify")
    return Plan(
        kind="restore",
        steps=tuple(steps),
        sentences=tuple(sentences),
        losses=losses_of(target),
        warnings=tuple(warnings),
        command=tuple(command),
        fingerprint=target.fingerprint,
        target=disk,
        estimated_bytes=image.used_bytes * (2 if request.verify else 1),
    )


def complete_image(image: ImageSummary) -> Disk:
    """The disk in an image that can be restored without loss. Raises as usable; DamagedError with what is lost."""
    if image.problem and image.disk is not None and image.problem_exit_code == DamagedError.exit_code:
        raise DamagedError("\n".join([image.problem, *damage_lines(image.damage)]), _SALVAGE)
    source = usable(image)
    if image.bad_bytes:
        said = f"The image {plain(image.name)} is incomplete: {human_size(image.bad_bytes)} could not be read when it was made."
        raise DamagedError("\n".join([said, *damage_lines(image.damage)]), _SALVAGE)
    return source


def _refuse(image: ImageSummary, source: Disk, target: DiskSurvey) -> None:
    refuse_unwritable(target)
    disk = target.disk
    if disk.size < source.size:
        raise RefusedError(
            f"{disk_words(disk)} is {human_size(source.size - disk.size)} too small: the image {plain(image.name)} needs"
            f" {human_size(source.size)} ({source.size} bytes), it has {disk.size} bytes.",
            f"Choose a disk of at least {source.size} bytes.",
        )
    refuse_other_sectors(disk, source.logical_sector_size, f"the image {plain(image.name)} is of a disk with")
