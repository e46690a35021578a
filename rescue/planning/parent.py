"""Which image a new one of the same disk is made upon."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rescue.errors import CredentialError, RefusedError
from rescue.model.disk import Disk
from rescue.model.layout import Layout
from rescue.model.plan import ImageKind
from rescue.model.survey import DiskSurvey, ImageSummary, dates
from rescue.planning.request import BackupRequest
from rescue.planning.words import plain


def disk_key(disk: Disk, layout: Layout) -> tuple[object, ...] | None:
    """What tells one disk from others: the GUID of its GPT, else its MBR's id with serial and size; None when nothing does.

    A disk without a table is known by its serial and size, a raw disk file by its name and size.
    """
    kind = (disk.logical_sector_size, layout.label)
    if layout.label == "gpt":
        return (*kind, layout.id) if layout.id else None
    who = (*kind, disk.size, disk.serial, layout.id)
    if disk.serial or (layout.label == "dos" and layout.id.strip("0x")):
        return who
    return (*who, os.path.basename(disk.path))


def is_same_disk(image: ImageSummary, survey: DiskSurvey) -> bool:
    """Whether an image is of this disk."""
    if image.disk is None or image.layout is None:
        return False
    key = disk_key(image.disk, image.layout)
    return key is not None and key == disk_key(survey.disk, survey.layout)


def choose_parent(
    survey: DiskSurvey, images: Sequence[ImageSummary], request: BackupRequest, folder: str
) -> tuple[ImageKind, ImageSummary | None]:
    """The kind of the new image, and what it is made upon (None for a full one). Raises RefusedError, CredentialError.

    Unless asked otherwise: incremental upon the newest whole image of this disk in the store; full when there is none. Nothing
    is made upon what was found damaged.
    """
    if request.kind == "full":
        return "full", None
    if request.parent not in ("", "auto"):
        return request.kind or "incremental", _named(survey, images, request, folder)
    whole = [
        image
        for image in images
        if not image.problem
        and not failed_of(image, images)
        and image.encrypted == request.encrypt
        and is_same_disk(image, survey)
    ]
    if request.kind == "differential":
        # Upon the newest full image; what a differential points into is that alone.
        whole = [image for image in whole if image.kind == "full"]
    made = dates(images)
    newest = max(whole, key=lambda image: (made[image.uuid], image.rank, image.name), default=None)
    if newest is not None:
        return request.kind or "incremental", newest
    if request.kind or request.parent:
        locked = next((image for image in images if image.locked), None)
        if locked is not None and request.encrypt:
            raise _locked(locked, f", and {folder} holds no other of this disk to build upon")
        raise RefusedError(
            f"{folder} holds no whole image of {survey.disk.title} that a new one could be made upon.",
            "Make a full backup first.",
        )
    return "full", None


def failed_of(image: ImageSummary, images: Sequence[ImageSummary]) -> str:
    """The name of an image whose last check failed: of it and of those that it needs; "" when none did.

    One that lacks something of its disk is not damaged for that: its check finds what it lacks.
    """
    needed = {image.uuid, *(link.uuid for link in image.chain)}
    return next((one.name for one in images if one.uuid in needed and one.has_failed and not one.bad_bytes), "")


def _locked(image: ImageSummary, more: str = "") -> CredentialError:
    return CredentialError(
        f"{plain(image.name)} cannot be opened with this passphrase or key{more}.",
        "Give the passphrase or key of the image that the new one is to be made upon; or make a full backup (--kind full).",
    )


def _named(survey: DiskSurvey, images: Sequence[ImageSummary], request: BackupRequest, folder: str) -> ImageSummary:
    path = os.path.abspath(request.parent)
    found = next((image for image in images if image.path == path or image.name == request.parent), None)
    if found is None:
        raise RefusedError(
            f"{request.parent} is not an image in {folder}.", "The images of a chain have to be in one folder: name one of those."
        )
    if found.locked and request.encrypt:
        raise _locked(found)
    if found.problem:
        raise RefusedError(f"{plain(found.name)} cannot be made the base of an image. {found.problem}")
    if failed := failed_of(found, images):
        raise RefusedError(
            f"{plain(failed)} failed its last check: no image that needs it could be restored.",
            "Make a full backup (--kind full).",
        )
    if found.encrypted != request.encrypt:
        raise RefusedError(
            f"{plain(found.name)} is {'' if found.encrypted else 'not '}encrypted: what is made upon it has to be the same.",
            "Give --encrypt as well." if found.encrypted else "Make a full backup with --encrypt.",
        )
    if not is_same_disk(found, survey):
        raise RefusedError(f"{plain(found.name)} is an image of another disk than {survey.disk.title}.", "Make a full backup.")
    if request.kind == "differential" and found.kind != "full":
        # It points into the full image alone.
        needed = {link.uuid for link in found.chain}
        full = next((image for image in images if image.kind == "full" and image.uuid in needed), None)
        if full is None:
            raise RefusedError(f"The full image that {plain(found.name)} is made upon is not in {folder}.", "Make a full backup.")
        return full
    return found
