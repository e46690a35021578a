"""Arrays of Linux software RAID, put together of all their members.

Source: the Linux kernel, drivers/md/raid0.c (create_strip_zones), raid10.c (setup_geo, calc_sectors, __raid10_find_phys).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rescue.errors import UnsupportedError
from rescue.volumes.md import LINEAR, RaidMember
from rescue.volumes.md_parity import Parity, layout_of
from rescue.volumes.placed import Joined, Mirrored, Placed, Striped, Window
from rescue.volumes.spread import Piece, Spread

_ORIGINAL, _ALTERNATE = 1, 2  # layouts of a RAID 0 whose members have several sizes
_FAR_OFFSET: Final = 1 << 16
_FAR_SETS: Final = 17  # the bit from which on the layout of a RAID 10 tells how far copies are turned


def array_content(member: RaidMember, parts: Sequence[Placed]) -> Placed:
    """The content of an array whose members hold ``parts`` of it, in the order of their roles; ``member`` is any of them.

    Raises UnsupportedError.
    """
    if member.level == LINEAR:
        return Joined(parts)
    if member.level == 0:
        return _zones(parts, member.chunk, member.layout)
    if member.level == 10:
        return _ten(parts, member.chunk, member.layout)
    layout = layout_of(member.level, member.layout)
    if layout is None or len(parts) <= layout.parity:
        raise UnsupportedError(f"It is a part of a {member.kind} in a layout that this program does not know.")
    return Parity(parts, member.chunk, layout)


def _zones(parts: Sequence[Placed], chunk: int, layout: int) -> Placed:
    """Where a member ends, the others go on without it."""
    ends = sorted({part.size for part in parts})
    if len(ends) > 1 and layout not in (_ORIGINAL, _ALTERNATE):
        raise UnsupportedError("It is a part of a RAID 0 whose disks have several sizes, and does not tell in which layout.")
    zones: list[Placed] = []
    start = position = 0
    for end in ends:
        long = [Window(part, start, end) for part in parts if part.size >= end]
        # The first chunk of a zone is on its first member, or on the one whose turn it would be, had all zones so many.
        first = position // chunk % len(long) if layout == _ORIGINAL else 0
        long = [*long[first:], *long[:first]]
        zones.append(Striped(long, chunk) if len(long) > 1 else long[0])
        position += (end - start) * len(long)
        start = end
    return zones[0] if len(zones) == 1 else Joined(zones)


def _ten(parts: Sequence[Placed], chunk: int, layout: int) -> Placed:
    near, far = layout & 0xFF, layout >> 8 & 0xFF
    disks = len(parts)
    sets = {0: disks, 1: disks // far if far else 0, 2: near * far}.get(layout >> _FAR_SETS, 0)
    if not near or not far or near * far > disks or not sets or (sets < disks and (disks % sets or near > sets)):
        raise UnsupportedError("It is a part of a RAID 10 in a layout that this program does not know.")
    rows = parts[0].size // chunk
    if far == 1 and disks % near == 0:
        # Each chunk is on neighbours.
        pairs = [Mirrored([Window(part, 0, rows * chunk) for part in parts[at : at + near]]) for at in range(0, disks, near)]
        return pairs[0] if len(pairs) == 1 else Striped(pairs, chunk)
    count = rows // far * disks // near
    used_rows = -(-count * near * far // disks)
    stride = 1 if layout & _FAR_OFFSET else used_rows // far

    def places(number: int) -> list[Piece]:
        row, first = divmod(number * near, disks)
        if layout & _FAR_OFFSET:
            row *= far
        found = []
        for copy in range(near):
            turn, disk = divmod(first + copy, disks)
            at = row + turn
            for again in range(far):
                found.append(Piece(disk, at + again * stride))
                home = disk // sets * sets
                disk = home + (disk - home + near) % sets
        return found

    return Spread(parts, chunk, count, places)
