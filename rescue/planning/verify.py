"""Plan the check of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rescue.errors import CredentialError, DamagedError, FormatError, RefusedError, UsageError
from rescue.model.disk import Disk
from rescue.model.plan import CompareDisk, MountImage, Plan, Step, VerifyImage, VerifyStore
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.planning.words import plain
from rescue.units import human_size

OPEN: Final = "Open the image and check its file systems"
OPENING: Final = "Open every file system in the image over a throw-away overlay: check it, mount it, read a sample of its files."


def usable(image: ImageSummary) -> Disk:
    """The disk that an image holds. Raises what is wrong with the image, as found when it was opened."""
    if image.problem or image.disk is None:
        problem = image.problem or f"{plain(image.name)} does not say which disk it holds."
        match image.problem_exit_code:
            case 2:
                raise UsageError(problem)
            case 4:
                raise DamagedError(problem)
            case 5:
                raise CredentialError(problem)
            case _:
                raise FormatError(problem)
    return image.disk


def usable_in_part(image: ImageSummary) -> Disk:
    """The same for what is to be had of an image that lacks something: files of its chain, say."""
    if image.disk is not None and image.problem_exit_code in (0, DamagedError.exit_code):
        return image.disk
    return usable(image)


def image_words(image: ImageSummary) -> str:
    """An image by what it holds: ``the image a.img.zst (Samsung SSD 980, 465.8 GiB, made 2026-11-22 10:57 UTC on laptop)``."""
    parts = []
    if image.disk is not None:
        parts += [plain(image.disk.model), human_size(image.disk.size)]
    if image.created:
        where = f" on {plain(image.host)}" if image.host else ""
        parts.append(f"made {when(image.created)}{where}")
    return f"the image {plain(image.name)} ({', '.join(p for p in parts if p)})"


def when(created: str) -> str:
    """An ISO 8601 time in UTC as people read it."""
    return plain(created[:16].replace("T", " ")) + " UTC" if "T" in created else plain(created)


def plan_verify(image: ImageSummary, against: DiskSurvey | None = None, *, mount: bool = False) -> Plan:
    """Read all of an image and check every hash in it; with ``mount`` open its file systems; then hold ``against`` against it.

    Raises as :func:`usable`; RefusedError when ``against`` cannot hold the same.
    """
    imaged = usable(image)
    steps: list[Step] = [VerifyImage(title="Check the image", image=image.path)]
    sentences = [f"Read {image_words(image)} and check every hash in it. Nothing is changed."]
    command = ["rescue", "verify", image.path]
    if mount:
        steps.append(MountImage(title=OPEN, image=image.path))
        sentences.append(OPENING)
        command.append("--mount")
    if against is not None:
        disk = against.disk
        if against.unreadable:
            raise RefusedError(f"{disk.title} cannot be read: {against.unreadable}")
        if disk.size < imaged.size:
            missing = human_size(imaged.size - disk.size)
            raise RefusedError(f"{disk.title} is smaller by {missing} than the disk in the image: it cannot hold the same.")
        steps.append(CompareDisk(title="Compare with the disk", image=image.path, disk=disk))
        sentences.append(f"Read {disk.title} and compare it with the image.")
        command += ["--against", disk.path]
    return Plan(
        kind="verify",
        steps=tuple(steps),
        sentences=tuple(sentences),
        command=tuple(command),
        source=against.disk if against else None,
        estimated_bytes=image.used_bytes * len(steps),
    )


def plan_verify_store(folder: str, images: Sequence[ImageSummary]) -> Plan:
    """Check every image in a folder; what several images share is read once. Raises UsageError when there is none."""
    if not images:
        raise UsageError(f"No image was found in {plain(folder)}.")
    locked = sum(image.locked for image in images)
    return Plan(
        kind="verify",
        steps=(VerifyStore(title="Check all images", store=folder),),
        sentences=(
            f"Read all {len(images)} images in {plain(folder)} and check every hash in them. Nothing is changed.",
            "Check that what they need of each other is there. What several of them share is read once.",
        ),
        warnings=(f"{locked} of them are encrypted and were not opened: they are not checked.",) if locked else (),
        command=("rescue", "verify", folder),
        estimated_bytes=sum(image.own_bytes for image in images),
    )
