"""Plan the salvage of a failing disk: what is easy to read into an image, then what is hard into one upon it."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from rescue.model.disk import Disk
from rescue.model.plan import MendImage, MountImage, Plan, Step, VerifyImage
from rescue.model.survey import ImageSummary
from rescue.planning.names import OTHER_SUFFIX, with_suffix
from rescue.planning.request import BackupRequest
from rescue.planning.verify import OPEN, OPENING
from rescue.planning.words import disk_words, plain
from rescue.stores.names import check_new_name
from rescue.units import human_size

_MORE: Final = re.compile(r"-more(-\d+)?$")


def salvage_folder(store: str, image: str) -> str:
    """Where it is kept what is known of a failing disk: beside the image that lacks something, for it and those upon it.

    Named by the image (its name in the store), because two disks can be called the same.
    """
    return f"{store}/{_stem(image)}.rescue"


def _stem(image: str) -> str:
    return _MORE.sub("", with_suffix(image, ""))


def name_of_more(image: str, taken: Container[str]) -> str:
    """The name of an image that mends another one: ``laptop-more.rimg``, ``laptop-more-2.rimg``."""
    stem = _stem(image)
    name, count = f"{stem}-more{OTHER_SUFFIX}", 1
    while name in taken:
        count += 1
        name = f"{stem}-more-{count}{OTHER_SUFFIX}"
    return name


def mending(
    disk: Disk, store: str, image: str, name: str, request: BackupRequest, *, holds: tuple[str, ...], split: int
) -> tuple[list[Step], list[str]]:
    """The steps and sentences that get what ``image`` (its name in the store) lacks into an image upon it, and prove that."""
    folder = salvage_folder(store, image)
    steps: list[Step] = [
        MendImage(
            title="Read again what could not be read",
            source=disk,
            store=store,
            image=image,
            name=name,
            salvage=folder,
            level=request.level,
            comment=request.comment,
            holds=holds,
            split=split,
        )
    ]
    sentences = [
        f"Then read what is missing again, block by block and sector by sector. What is won becomes {name}, upon {plain(image)}.",
        f"Keep in {folder} what is known of the disk, so that another run goes on from there.",
        "Name the files that are damaged.",
    ]
    if request.verify:
        # What is wrong in the image may be wrong on the disk too; it is not asked of a failing one.
        steps.append(VerifyImage(title="Check the image", image=f"{store}/{name}", own_only=True))
        steps.append(MountImage(title=OPEN, image=f"{store}/{name}"))
        sentences += ["Read what was written again and check every hash in it.", OPENING]
    return steps, sentences


def plan_mending(
    disk: Disk,
    store: str,
    image: ImageSummary,
    request: BackupRequest,
    *,
    taken: Container[str],
    holds: tuple[str, ...],
    split: int,
    command: tuple[str, ...],
) -> Plan:
    """Ask the disk for what its newest image lacks, and for nothing else. Raises UsageError (a name that cannot be)."""
    name = name_of_more(image.name, taken)
    check_new_name(name)
    steps, sentences = mending(disk, store, image.name, name, request, holds=holds, split=split)
    sentences[0] = (
        f"Read of {disk_words(disk)} only the {human_size(image.bad_bytes)} that {plain(image.name)} lacks, block by block and"
        f" sector by sector. What is won becomes {name}, upon that image. Nothing on the disk is changed."
    )
    return Plan(
        kind="backup",
        steps=tuple(steps),
        sentences=tuple(sentences),
        warnings=() if request.verify else ("The image will not be checked after it was written.",),
        command=command,
        source=disk,
        estimated_bytes=image.bad_bytes,
    )
