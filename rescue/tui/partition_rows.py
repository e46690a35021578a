"""The partitions of a disk and what is free between them, as rows for people; and what can be done to each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from rescue.model.extents import Extent
from rescue.model.layout import Layout, Partition
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity
from rescue.planning.operation_text import GPT_FLAGS, MBR_FLAGS, TYPES
from rescue.planning.partition import free_extents
from rescue.planning.words import content_words, holds_words, volume_of
from rescue.units import human_size

_TYPE_WORDS: Final = {
    "linux": "Linux",
    "swap": "Linux swap",
    "efi": "EFI system",
    "windows": "Windows data",
    "lvm": "Linux LVM",
    "raid": "Linux RAID",
    "bios-boot": "BIOS boot",
    "boot": "extended boot loader",
    "home": "Linux home",
    "recovery": "Windows recovery",
    "reserved": "Microsoft reserved",
    "fat32": "FAT32",
}
_FLAG_WORDS: Final = {
    "required": "needed by the platform",
    "no-block-io": "not for the firmware",
    "legacy-boot": "started by a BIOS",
    "read-only": "read-only (Windows)",
    "hidden": "hidden (Windows)",
    "no-automount": "gets no drive letter (Windows)",
    "active": "active: a BIOS starts from it",
}


class Row(msgspec.Struct, frozen=True):
    """A partition, or free space (``partition`` None) at the bytes of ``extent``; ``logical``: inside of the extended one."""

    extent: Extent
    partition: Partition | None = None
    logical: bool = False

    @property
    def key(self) -> str:
        """What it is in a list: by number or, free space, by place."""
        return f"p{self.partition.number}" if self.partition else f"f{self.extent.start}"


def rows_of(layout: Layout) -> list[Row]:
    """In the order of the disk, logical partitions behind the extended one that holds them."""
    rows = [Row(Extent(p.start, p.end), p, p.kind == "logical") for p in layout.partitions]
    if layout.label != "none":
        rows += [Row(extent) for extent in free_extents(layout)]
        rows += [Row(extent, logical=True) for extent in free_extents(layout, logical=True)]
    return sorted(rows, key=lambda row: (row.extent.start, bool(row.partition and row.partition.kind != "extended")))


def cells_of(
    row: Row, survey: DiskSurvey, found: Mapping[int, Identity] = MappingProxyType({})
) -> tuple[str, str, str, str, str]:
    """Number, what it holds, where it begins, its size, how much of that is used. ``found``: by place, what a search found."""
    start, size = human_size(row.extent.start), human_size(row.extent.length)
    partition = row.partition
    if partition is None:
        return ("·", "free", start, size, "")
    volume = volume_of(partition, survey.volumes)
    holds = holds_words(partition, volume.identity if volume else found.get(partition.start))
    if partition.kind == "extended":
        return (str(partition.number), holds, start, size, "")
    content = content_words(volume.identity) if volume else ""
    if survey.layout.label == "dos" and partition.attributes & 1:
        holds += ", active"
    used = human_size(volume.used_bytes) if volume and content and not volume.whole_because and content != "swap" else ""
    return (str(partition.number), holds, start, size, used)


def types_of(layout: Layout) -> list[tuple[str, str]]:
    """The types that a partition of this kind of table can have: as they are written, and in words."""
    index = 0 if layout.label == "gpt" else 1
    return [(name, _TYPE_WORDS[name]) for name, codes in TYPES.items() if codes[index] and name in _TYPE_WORDS]


def flags_of(partition: Partition, layout: Layout) -> list[tuple[str, str]]:
    """What can be switched of a partition: ``no-automount=on`` and ``☐ …`` in words with the state that it has now."""
    known = GPT_FLAGS if layout.label == "gpt" else MBR_FLAGS
    found = []
    for name, bit in known.items():
        on = bool(partition.attributes >> bit & 1)
        found.append((f"{name}={'off' if on else 'on'}", f"{'■' if on else '□'} {_FLAG_WORDS[name]}"))
    return found
