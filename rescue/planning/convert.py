"""A partition table made one of the other kind where the partitions are: what is in the way, with numbers, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

from rescue.devices.write_table import table_writes
from rescue.errors import RefusedError, UsageError
from rescue.model.layout import LabelKind, Layout
from rescue.model.operation import Convert
from rescue.model.tables import MBR_SECTORS, link_offsets
from rescue.model.volume import Identity
from rescue.planning.label import Converted, converted
from rescue.units import MIB, align_down, human_size

KINDS: Final = {"gpt": "a GPT", "dos": "an MBR"}


def convert_in_place(layout: Layout, operation: Convert, contents: Mapping[int, Identity] = MappingProxyType({})) -> Converted:
    """The table as one of the other kind, for partitions that do not move. ``contents`` by number.

    Raises RefusedError when it has no room, or no type or number for a partition; UsageError when there is nothing to convert.
    """
    if layout.label == operation.label:
        raise UsageError(f"The partition table is {KINDS[operation.label]}, of that kind already.")
    guids = iter(operation.guids)

    def new_id() -> UUID:
        try:
            return UUID(next(guids))
        except (StopIteration, ValueError) as error:
            raise UsageError("There are not as many new identifiers as partitions.") from error

    made = converted(layout, operation.label, new_id, contents=contents)
    if operation.label == "gpt":
        _require_room(made.layout)
    else:
        _require_reach(made)
    table_writes(made.layout, b"")  # refuses what cannot be written down
    return made


def _require_room(layout: Layout) -> None:
    """A GPT takes bytes at both ends of the disk."""
    for partition in layout.partitions:
        before, behind = layout.usable_start - partition.start, partition.end - layout.usable_end
        if before > 0:
            raise RefusedError(
                f"The MBR cannot become a GPT: it takes the first {layout.usable_start} bytes of the disk, and partition"
                f" {partition.number} begins {before} bytes before that.",
                f"Move the partition first: 'move {partition.number} start=1MiB'.",
            )
        if behind > 0:
            size = align_down(layout.usable_end - partition.start, MIB)
            raise RefusedError(
                f"The MBR cannot become a GPT: its backup takes the last {layout.size - layout.usable_end} bytes of the disk, and"
                f" partition {partition.number} ends {behind} bytes behind that.",
                f"Make the partition smaller first: 'resize {partition.number} size={size // MIB}MiB'.",
            )


def _require_reach(made: Converted) -> None:
    """An MBR has a limit, four entries, and describes each further partition in a sector before it."""
    layout = made.layout
    old_of = {new: old for old, new in made.numbers}
    limit = MBR_SECTORS * layout.sector_size
    for partition in layout.data_partitions:
        if partition.end > limit:
            raise RefusedError(
                f"The GPT cannot become an MBR: partition {old_of[partition.number]} ends {human_size(partition.end - limit)}"
                f" ({partition.end - limit} bytes) behind {human_size(limit)}, where an MBR ends.",
                "Leave the GPT as it is.",
            )
    try:
        link_offsets(layout)
    except RefusedError as error:
        count = len(layout.data_partitions)
        raise RefusedError(
            f"The GPT cannot become an MBR: of its {count} partitions the last {count - 3} would be logical ones, each of which"
            f" needs {layout.sector_size} free bytes before it. {error.message}",
            "Delete a partition, or move the last ones by 1 MiB first.",
        ) from error


def label_warnings(before: Layout, label: LabelKind, *, follows: bool = False) -> list[str]:
    """What a table of the other kind costs: sentences for people. ``follows``: what names its partitions is changed too."""
    where = (
        "Its boot loader for BIOS computers lies where the GPT is written."
        if label == "gpt"
        else "Boot loaders in a BIOS boot partition, and Windows on a computer with UEFI, do not start from an MBR."
    )
    said = [
        f"This disk will not start by itself until its boot loader is installed anew. {where} Only a computer with UEFI that"
        " finds an EFI system partition may still start from it."
    ]
    if not follows and any(p.uuid for p in before.data_partitions):
        said.append("The identifiers of the disk and of its partitions change (PARTUUID); those of file systems stay (UUID).")
    return said
