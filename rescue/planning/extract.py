"""Plan copying files out of an image or a disk into a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

import msgspec

from rescue.engine.counting import Amount
from rescue.errors import RefusedError, UsageError
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.disk import Disk
from rescue.model.plan import ExtractFiles, Plan
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.text import shown
from rescue.model.volume import Volume
from rescue.planning.request import ExtractRequest
from rescue.planning.verify import image_words, usable, usable_in_part
from rescue.planning.words import content_words, disk_words
from rescue.units import human_size

_NAMED: Final = 5
# What these cannot hold, in words: libblkid's names and the kernel's.
_FORGETFUL: Final = {
    "vfat": "FAT keeps no owners, permissions and links, and no file of 4 GiB or more",
    "msdos": "FAT keeps no owners, permissions and links, and no file of 4 GiB or more",
    "exfat": "exFAT keeps no owners, permissions and links",
}


class AlreadyThereError(RefusedError):
    """Files or folders of these ``names`` are in the folder that is to be copied into, and were not to be replaced."""

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{folder} holds {_named(names)} already.",
            "Choose another folder, or let it be replaced (--overwrite). Nothing was written.",
        )
        self.names = tuple(names)


class FolderFacts(msgspec.Struct, frozen=True):
    """What is known of the folder that is to be copied into.

    ``present``: the wanted names that are there, each with whether it is a folder. ``disks``: what it is stored on, as paths.
    """

    folder: str
    free_bytes: int
    filesystem: str = ""
    present: dict[str, bool] = msgspec.field(default_factory=dict)
    disks: tuple[str, ...] = ()


def without_nested(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths in order, each once, without those that are inside of another one."""
    known = set(paths)
    if "" in known:
        return ("",)
    return tuple(path for path in dict.fromkeys(paths) if not any(str(above) in known for above in PurePosixPath(path).parents))


def plan_extract(
    source: ImageSummary | DiskSurvey,
    volume: Volume,
    entries: Sequence[Entry],
    amount: Amount,
    folder: FolderFacts,
    request: ExtractRequest,
    containers: tuple[Volume, ...] = (),
) -> Plan:
    """Copy ``entries``, which are what the request's paths lead to, and all below them.

    ``containers`` are those of the disk, when ``volume`` is one.

    Raises UsageError (nothing, or two of one name), AlreadyThereError; for an image as
    :func:`~rescue.planning.verify.usable`.
    """
    disk = _disk_of(source, request)
    _refuse_same_names(entries)
    if folder.present and not request.overwrite:
        raise AlreadyThereError(folder.folder, sorted(folder.present))
    return Plan(
        kind="extract",
        steps=(
            ExtractFiles(
                title="Copy the files",
                volume=volume,
                paths=tuple(os.fsencode(entry.path) for entry in entries),
                folder=folder.folder,
                image=source.path if isinstance(source, ImageSummary) else "",
                disk=disk,
                overwrite=request.overwrite,
                salvage=request.salvage,
                inside=request.inside,
                containers=containers,
            ),
        ),
        sentences=(
            f"Read {_where(source, volume)}. Nothing on it is changed.",
            f"Copy {_what(entries)}: {amount_words(amount)}.",
            f"Write into {shown(folder.folder)} ({human_size(folder.free_bytes)} free), and wait until all is on its disk.",
        ),
        losses=tuple(_loss(name, is_folder) for name, is_folder in sorted(folder.present.items())),
        warnings=tuple(_warnings(source, amount, folder, request)),
        command=_command(source, volume, entries, folder, request),
        source=disk,
        estimated_bytes=amount.content_bytes,
    )


def _disk_of(source: ImageSummary | DiskSurvey, request: ExtractRequest) -> Disk | None:
    if isinstance(source, ImageSummary):
        (usable_in_part if request.salvage else usable)(source)
        return None
    return source.disk


def _refuse_same_names(entries: Sequence[Entry]) -> None:
    if not entries:
        raise UsageError("Nothing was chosen to be copied.")
    twice = [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]
    if twice:
        raise UsageError(
            f"Several of the chosen files have the same name: {_named(twice)}.",
            "Copy them one after the other into different folders.",
        )


def amount_words(amount: Amount) -> str:
    """``1204 files in 37 folders, 3.4 GiB``, or at least as many."""
    files = "1 file" if amount.files == 1 else f"{amount.files} files"
    folders = "" if not amount.folders else " in 1 folder" if amount.folders == 1 else f" in {amount.folders} folders"
    least = "" if amount.complete else "more than "
    return f"{least}{files}{folders}, {human_size(amount.content_bytes)}"


def _where(source: ImageSummary | DiskSurvey, volume: Volume) -> str:
    what = content_words(volume.identity)
    part = f"partition {volume.partition} ({what}) of " if volume.partition else ""
    return part + (image_words(source) if isinstance(source, ImageSummary) else disk_words(source.disk))


def _what(entries: Sequence[Entry]) -> str:
    if any(not entry.path for entry in entries):
        return "all that is in it"
    return _named([entry.name + ("/" if entry.kind is Kind.FOLDER else "") for entry in entries])


def _named(names: Sequence[str]) -> str:
    told = ", ".join(_short(shown(name)) for name in names[:_NAMED])
    more = len(names) - _NAMED
    return f"{told} and {more} more" if more > 0 else told


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:40]}…{name[-19:]}"


def _loss(name: str, is_folder: bool) -> str:
    short = _short(shown(name))
    return f"In the folder {short}: every file that is among those to be copied" if is_folder else short


def _warnings(source: ImageSummary | DiskSurvey, amount: Amount, folder: FolderFacts, request: ExtractRequest) -> list[str]:
    warnings = []
    if amount.content_bytes > folder.free_bytes and not request.overwrite:
        warnings.append(
            f"There is not room enough: {human_size(amount.content_bytes)} are to be copied, and {shown(folder.folder)} has"
            f" {human_size(folder.free_bytes)} free. What fits is copied, then it stops."
        )
    kept = _FORGETFUL.get(folder.filesystem, "")
    if kept:
        warnings.append(f"{kept}: what it could not keep is told at the end.")
    if isinstance(source, DiskSurvey):
        if source.disk.path in folder.disks:
            warnings.append(
                f"The folder is on the same disk, which is written to. If {source.disk.path} is failing, use another."
            )
        if any("mounted" in protection.reason for protection in source.protections):
            warnings.append(f"{source.disk.path} is in use: what was changed a moment ago may be missing or incomplete.")
    return warnings


def _command(
    source: ImageSummary | DiskSurvey, volume: Volume, entries: Sequence[Entry], folder: FolderFacts, request: ExtractRequest
) -> tuple[str, ...]:
    what = source.path if isinstance(source, ImageSummary) else source.disk.path
    name = f"{volume.partition}/{shown(request.inside)}" if request.inside else str(volume.partition)
    places = [f"{name}:/{shown(entry.path)}" for entry in entries]
    options = [*(["--overwrite"] if request.overwrite else []), *(["--salvage"] if request.salvage else [])]
    return ("rescue", "extract", what, *places, folder.folder, *options)
