"""The bytes of a partition table for a Layout."""

from __future__ import annotations

from itertools import pairwise

from rescue.devices.gpt_write import gpt_writes
from rescue.devices.mbr_write import mbr_writes
from rescue.errors import RefusedError
from rescue.model.layout import Layout


def table_writes(layout: Layout, head: bytes) -> list[tuple[int, bytes]]:
    """What ``(offset, bytes)`` makes ``layout`` the partition table of a disk of ``layout.size`` bytes, in order of writing.

    The first sector, without which there is no table, comes last. ``head`` are the first bytes of the disk that the boot
    code is kept from (the first 440; b"" for none). A GPT gets 128 entries, more when its numbers need them, and a plain
    protective MBR. Empty for label "none". Raises RefusedError when the layout cannot be written down.
    """
    _check(layout)
    match layout.label:
        case "gpt":
            return gpt_writes(layout, head)
        case "dos":
            return mbr_writes(layout, head)
        case "none":
            return []


def _check(layout: Layout) -> None:
    sector = layout.sector_size
    numbers = [p.number for p in layout.partitions]
    if len(set(numbers)) < len(numbers):
        raise RefusedError("Two partitions have the same number.")
    for partition in layout.partitions:
        if partition.start % sector or partition.end % sector:
            raise RefusedError(f"Partition {partition.number} does not start and end with a sector of {sector} bytes.")
        if partition.number < 1 or not sector <= partition.start < partition.end <= layout.size:
            raise RefusedError(f"Partition {partition.number} is not inside of the disk.")
    outer = sorted((p for p in layout.partitions if p.kind != "logical"), key=lambda p: p.start)
    inner = sorted((p for p in layout.partitions if p.kind != "extended"), key=lambda p: p.start)
    for group in (outer, inner):
        for left, right in pairwise(group):
            if right.start < left.end:
                raise RefusedError(f"Partitions {left.number} and {right.number} overlap.")
