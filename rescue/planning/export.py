"""Plan the export of an image as a virtual disk."""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from rescue.errors import RefusedError, UsageError
from rescue.model.plan import ExportFormat, ExportImage, Plan
from rescue.model.survey import ImageSummary
from rescue.planning.verify import image_words, usable
from rescue.units import TIB, human_size

FORMATS: Final[tuple[ExportFormat, ...]] = get_args(ExportFormat)
_SUFFIXES: Final[dict[str, ExportFormat]] = {**{f".{name}": name for name in FORMATS}, ".img": "raw"}
_VHD_LIMIT: Final = 2 * TIB - 8 * (1 << 30)  # 2040 GiB, by its specification


class FileFacts(msgspec.Struct, frozen=True):
    """What is known of the file that is to be made."""

    path: str
    suffix: str  # with its dot, lower case
    exists: bool
    folder: str
    free_bytes: int


def plan_export(image: ImageSummary, file: FileFacts, format_: str = "") -> Plan:
    """Write the disk in the image to a new file, without ``format_`` by its suffix. Raises UsageError, RefusedError."""
    disk = usable(image)
    chosen = _SUFFIXES.get(format_ and f".{format_}", _SUFFIXES.get(file.suffix))
    if chosen is None:
        known = ", ".join(FORMATS)
        raise UsageError(f"{file.path} does not tell which format it shall have.", f"Name one with --format: {known}.")
    if file.exists:
        raise RefusedError(f"{file.path} exists already.", "Choose another name; nothing is overwritten.")
    if chosen == "vhd" and disk.size > _VHD_LIMIT:
        raise RefusedError(
            f"A VHD holds at most {human_size(_VHD_LIMIT)}, and the disk in the image has {human_size(disk.size)}.", "Use VHDX."
        )
    warnings = []
    if file.free_bytes < image.used_bytes:
        warnings.append(
            f"{file.folder} has {human_size(file.free_bytes)} free, and up to {human_size(image.used_bytes)} are needed."
            " If that is not enough, the export stops and removes what it wrote."
        )
    command = ["rescue", "export", image.path, file.path]
    if file.suffix not in _SUFFIXES or _SUFFIXES[file.suffix] != chosen:
        command += ["--format", chosen]
    return Plan(
        kind="export",
        steps=(ExportImage(title=f"Export to {file.path}", image=image.path, file=file.path, format=chosen),),
        sentences=(
            f"Read {image_words(image)}: a disk of {human_size(disk.size)}. The image is not changed.",
            f"Write it as a virtual disk ({chosen}) to {file.path}, without space for what is not used.",
            "Read both and compare them.",
        ),
        warnings=tuple(warnings),
        command=tuple(command),
        estimated_bytes=image.used_bytes * 2,
    )
