"""What to do so that the table names partitions that were found: operations as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rescue.model.layout import Layout
from rescue.model.lost import Lost
from rescue.planning.partition import MAX_PRIMARY
from rescue.units import MIB, TIB, align_down

_TYPES: Final = {
    "swap": "swap", "ntfs": "windows", "exfat": "windows", "vfat": "fat32", "LVM2_member": "lvm", "linux_raid_member": "raid",
}  # fmt: skip
_SMALL_FAT: Final = {"FAT12": "0x01", "FAT16": "0x0e"}


def believed(lost: Sequence[Lost]) -> list[Lost]:
    """Those that are surely still there: whole, none of their bytes are another's, and no partition is the same by now."""
    # What begins with the disk itself is a file system without a table, and needs none.
    whole = [one for one in lost if one.start and one.whole and not one.damaged and not one.inside]
    alone = [one for one in whole if not any(o is not one and o.start < one.end and one.start < o.end for o in whole)]
    return [one for one in alone if not one.twin_of]


def operations_for(layout: Layout, lost: Sequence[Lost]) -> list[str]:
    """Operations that add ``lost``, which do not overlap, to the table; with a new one where there is none.

    Where there is no room in an MBR for them they are what an extended partition around the last of them makes of it.
    """
    made: list[str] = []
    label = layout.label
    if label == "none":
        label = "dos" if _had_mbr(layout, lost) else "gpt"
        made.append(f"table {'mbr' if label == 'dos' else 'gpt'}")
    inside = next((p for p in layout.partitions if p.kind == "extended"), None)
    free = MAX_PRIMARY - sum(p.kind != "logical" for p in layout.partitions)
    outer = [one for one in lost if inside is None or not inside.start <= one.start < inside.end]
    if label == "dos" and inside is None and len(outer) > free > 0:
        first = outer[free - 1].start
        before = max([one.end for one in outer[: free - 1]] + [layout.sector_size])
        start = max(before, align_down(first - 1, MIB))
        made += [_add(one, label) for one in outer[: free - 1]]
        made.append(f"add start={start} size={outer[-1].end - start} type=extended")
        return made + [_add(one, label) for one in outer[free - 1 :]]
    return made + [_add(one, label) for one in lost]


def _had_mbr(layout: Layout, lost: Sequence[Lost]) -> bool:
    """Whether a disk that has no table any more had an MBR, which is lost by a single sector.

    What begins behind a track was made under one, and a GPT may need those very sectors. What is left of a GPT speaks for one,
    and so does an EFI system partition, a first partition further behind than 1 MiB, before which one may have been that is no
    file system (BIOS boot), and more than four, which would need descriptions between them in an MBR.
    """
    if not lost or layout.size > 2 * TIB:
        return False
    if any(one.start % MIB for one in lost):
        return True
    is_gpt = any("GPT" in problem for problem in layout.problems) or any(one.is_esp for one in lost)
    return not is_gpt and min(one.start for one in lost) <= MIB and len(lost) <= MAX_PRIMARY


def _add(one: Lost, label: str) -> str:
    return f"add start={one.start} size={one.end - one.start} type={type_of(one, label)}"


def type_of(one: Lost, label: str) -> str:
    """The word or the code for the type that a table of the kind ``label`` gives it."""
    if label == "dos" and one.identity.version in _SMALL_FAT:
        return _SMALL_FAT[one.identity.version]
    return "efi" if one.is_esp else _TYPES.get(one.identity.type, "linux")
