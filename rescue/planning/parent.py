"""Which image a new one of the same disk is made upon."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rescue.errors import RefusedError
from rescue.model.plan import ImageKind
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.planning.request import BackupRequest
from rescue.planning.words import plain


def is_same_disk(image: ImageSummary, survey: DiskSurvey) -> bool:
    """Whether an image is of this disk: by the GUID of its GPT, else by its MBR's id with serial and size.

    A disk without a table is known by its serial and size, a raw disk file by its name and size.
    """
    if image.disk is None or image.layout is None or image.disk.logical_sector_size != survey.disk.logical_sector_size:
        return False
    if image.layout.label != survey.layout.label:
        return False
    if survey.layout.label == "gpt":
        return bool(survey.layout.id) and image.layout.id == survey.layout.id
    if (image.disk.size, image.disk.serial, image.layout.id) != (survey.disk.size, survey.disk.serial, survey.layout.id):
        return False
    if survey.layout.label == "dos" and survey.layout.id.strip("0x"):
        return True
    return bool(survey.disk.serial) or os.path.basename(image.disk.path) == os.path.basename(survey.disk.path)


def choose_parent(
    survey: DiskSurvey, images: Sequence[ImageSummary], request: BackupRequest, folder: str
) -> tuple[ImageKind, ImageSummary | None]:
    """The kind of the new image, and what it is made upon (None for a full one). Raises RefusedError.

    Unless asked otherwise: incremental upon the newest whole image of this disk in the store; full when there is none.
    """
    if request.kind == "full":
        return "full", None
    if request.parent not in ("", "auto"):
        return request.kind or "incremental", _named(survey, images, request, folder)
    whole = [
        image for image in images if not image.problem and image.encrypted == request.encrypt and is_same_disk(image, survey)
    ]
    if request.kind == "differential":
        # Upon the newest full image; what a differential points into is that alone.
        whole = [image for image in whole if image.kind == "full"]
    newest = max(whole, key=lambda image: (image.created, image.name), default=None)
    if newest is not None:
        return request.kind or "incremental", newest
    if request.kind or request.parent:
        raise RefusedError(
            f"{folder} holds no whole image of {survey.disk.title} that a new one could be made upon.",
            "Make a full backup first.",
        )
    return "full", None


def _named(survey: DiskSurvey, images: Sequence[ImageSummary], request: BackupRequest, folder: str) -> ImageSummary:
    path = os.path.abspath(request.parent)
    found = next((image for image in images if image.path == path or image.name == request.parent), None)
    if found is None:
        raise RefusedError(
            f"{request.parent} is not an image in {folder}.", "The images of a chain have to be in one folder: name one of those."
        )
    if found.problem:
        raise RefusedError(f"{plain(found.name)} cannot be made the base of an image. {found.problem}")
    if found.encrypted != request.encrypt:
        raise RefusedError(
            f"{plain(found.name)} is {'' if found.encrypted else 'not '}encrypted: what is made upon it has to be the same.",
            "Give --encrypt as well." if found.encrypted else "Make a full backup with --encrypt.",
        )
    if not is_same_disk(found, survey):
        raise RefusedError(f"{plain(found.name)} is an image of another disk than {survey.disk.title}.", "Make a full backup.")
    return found
