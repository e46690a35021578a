"""Whether a disk may be written to at all."""

from __future__ import annotations

from rescue.errors import RefusedError
from rescue.model.disk import Disk
from rescue.model.layout import Layout
from rescue.model.survey import DiskSurvey


def refuse_unwritable(target: DiskSurvey) -> None:
    """Raise RefusedError, saying why and what to do, for a disk that is protected, unreadable or read-only."""
    disk = target.disk
    if target.protections:
        reasons = "; ".join(p.reason for p in target.protections)
        hints = " ".join(dict.fromkeys(p.hint for p in target.protections if p.hint))
        raise RefusedError(f"{disk.title} is protected: {reasons}.", hints or "Choose another disk.")
    if target.is_rescue_medium:
        raise RefusedError(
            f"{disk.title} is protected: the rescue system runs from it.",
            "Choose another disk, or start the rescue system into RAM.",
        )
    if target.unreadable:
        raise RefusedError(f"{disk.title} cannot be read. {target.unreadable}", "Check its cable, or choose another disk.")
    if disk.read_only:
        raise RefusedError(f"{disk.title} is read-only.", "Check its write-protect switch, or choose another disk.")


def refuse_moving(source: DiskSurvey) -> None:
    """Raise RefusedError for a disk one of whose partitions is at two places: a copy of it would look whole, and not be."""
    if source.moving:
        raise RefusedError(
            f"The move of partition {source.moving} of {source.disk.title} was interrupted: what it holds is at two places.",
            f"Complete it first: {source.completion}",
        )


def target_sectors(disk: Disk, source: int, asked: int) -> int:
    """The sectors, in bytes, that a table on a target is written for.

    A file has none of its own: those of the source, or those that were ``asked`` for (0: none). Raises RefusedError for a
    disk that has others than were asked for.
    """
    if disk.is_file:
        return asked or source
    if asked not in (0, disk.logical_sector_size):
        raise RefusedError(
            f"{disk.title} has sectors of {disk.logical_sector_size} bytes, {asked} were asked for.",
            "Leave --sector-size out: it is for targets that are files.",
        )
    return disk.logical_sector_size


def refuse_mbr_of_file(disk: Disk, layout: Layout, instead: str = "") -> None:
    """Raise RefusedError for a new MBR in a file that counts in other sectors than of 512 bytes: nothing tells so afterwards.

    ``instead``: what else can be done than to keep the GPT, as a clause.
    """
    if disk.is_file and layout.label == "dos" and layout.sector_size != 512:
        raise RefusedError(
            f"{disk.title} is a file for sectors of {layout.sector_size} bytes. A GPT tells so, an MBR does not: with one its"
            f" partitions would be taken for {layout.sector_size // 512} times smaller than they are, and overwritten.",
            "Keep the GPT, or "
            + (instead or f"use the file as a device: losetup --sector-size {layout.sector_size} --find --show FILE"),
        )


def refuse_other_sectors(disk: Disk, sector_size: int, whose: str) -> None:
    """Raise RefusedError for a target whose sectors are of another size. ``whose`` begins a clause: "X has sectors of"."""
    # A file has no sectors of its own; a disk's are in its hardware and in every table and file system on it.
    if not disk.is_file and disk.logical_sector_size != sector_size:
        raise RefusedError(
            f"{disk.title} has sectors of {disk.logical_sector_size} bytes, {whose} {sector_size}."
            " Its partition table and file systems would not be understood.",
            f"Choose a disk with sectors of {sector_size} bytes, or let its partitions be fitted (--fit auto).",
        )
