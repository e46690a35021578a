"""The ways of placing partitions on a target: where they are, close together, or as near to where they were as can be."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rescue.errors import RefusedError
from rescue.model.layout import Layout, Partition
from rescue.model.tables import link_offsets, logical_partitions
from rescue.planning.fit_items import Item, Room
from rescue.planning.fit_share import share
from rescue.records import replace
from rescue.units import MIB, align_down, align_up


class Attempt(msgspec.Struct, frozen=True):
    """One way of placing: it needs the bytes up to ``end``. ``places`` are those of the items, empty when it does not fit.

    ``links`` are the EBRs' offsets by source number (0: that of an empty chain); ``extended`` is the range of the extended
    partition, (0, 0) for none.
    """

    end: int
    places: tuple[tuple[int, int], ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    extended: tuple[int, int] = (0, 0)
    fits: bool = False


def in_place(items: Sequence[Item], layout: Layout, room: Room) -> Attempt | None:
    """Everything where it is on the source, to the byte; None where that makes no table, whatever the target's size."""
    sector = room.sector_size
    partitions = [item.partition for item in items]
    edges = [edge for p in partitions for edge in (p.start, p.end)]
    if edges != sorted(edges) or any(edge % sector for edge in edges) or any(p.start < room.start for p in partitions):
        return None
    if any(item.clamp(item.partition.size) != item.partition.size for item in items):
        return None
    end = max(edges, default=room.start)
    if room.limit and end > room.limit:
        return Attempt(end)
    old = next((p for p in layout.partitions if p.kind == "extended"), None)
    extended, links = (0, 0), {}
    if old is not None and old.start + sector <= room.end and (logical_end(partitions) or not logical_end(layout.partitions)):
        if old.start % sector:
            return None
        extended = (old.start, max(align_down(min(old.end, room.end), sector), logical_end(partitions)))
        kept = replace(old, start=extended[0], end=extended[1])
        try:
            links = link_offsets(replace(layout, sector_size=sector, partitions=(kept, *partitions))) or {0: old.start}
        except RefusedError:
            return None
    places = tuple((p.start, p.end) for p in partitions)
    return Attempt(end, places, tuple(links.items()), extended, end <= room.end)


def logical_end(partitions: Sequence[Partition]) -> int:
    """Where the last logical partition ends."""
    return max((p.end for p in partitions if p.kind == "logical"), default=0)


def _linked(items: Sequence[Item], places: Sequence[tuple[int, int]], room: Room) -> Attempt:
    """The attempt with an extended partition around the logical ones, each with 1 MiB for its EBR before it."""
    end = max((end for _, end in places), default=room.start)
    logical = [(item, start, stop) for item, (start, stop) in zip(items, places, strict=True) if item.is_logical]
    if not logical:
        return Attempt(end, tuple(places), fits=end <= room.end)
    base = logical[0][1] - MIB
    head = logical_partitions([item.partition for item, _, _ in logical])[0]
    links = []
    for item, start, _ in logical:
        slot = base if item.partition is head else start - MIB
        # The chain begins at the start of the extended partition, with the first number, wherever that one lies.
        links.append((item.partition.number, slot + room.sector_size if slot == base and item.partition is not head else slot))
    return Attempt(end, tuple(places), tuple(links), (base, logical[-1][2]), end <= room.end)


def near(items: Sequence[Item], room: Room) -> Attempt:
    """Each with the size nearest to its own, where it was unless one before it is in the way."""
    cursor = room.start
    places = []
    for item in items:
        size = item.nominal(room.sector_size)
        old = item.partition.start
        earliest = max(room.first, align_up(cursor, MIB)) + item.lead
        start = earliest
        stays = not item.is_logical and size == item.partition.size and old >= cursor and old % room.sector_size == 0
        if stays or (old % MIB == 0 and old >= earliest):
            start = old
        places.append((start, start + size))
        cursor = start + size
    return _linked(items, places, room)


def _anchored(items: Sequence[Item], room: Room) -> int:
    """How many partitions at the start keep size and place, even an unaligned one, at no cost to the others."""
    cursor = room.start
    for index, item in enumerate(items):
        partition = item.partition
        stays = (
            not item.is_logical
            and item.is_rigid
            and item.floor == partition.size
            and partition.start % room.sector_size == 0
            and cursor <= partition.start <= max(room.first, align_up(cursor, MIB))
        )
        if not stays:
            return index
        cursor = partition.end
    return len(items)


def packed(items: Sequence[Item], room: Room, *, anchored: bool) -> Attempt:
    """Close together from the start, sharing the room in proportion to their sizes; aligned to 1 MiB.

    With ``anchored`` the first partitions that need not change stay exactly where they are.
    """
    count = _anchored(items, room) if anchored else 0
    places = [(item.partition.start, item.partition.end) for item in items[:count]]
    rest = items[count:]
    cursor = max(room.first, align_up(places[-1][1], MIB)) if places else room.first
    need = sum(item.lead + align_up(item.floor, MIB) for item in rest[:-1])
    if not rest:
        return _linked(items, places, room)
    end = cursor + need + rest[-1].lead + rest[-1].floor
    if end > room.end:
        return Attempt(end)
    for item, size in zip(rest, _sizes(rest, room.end - cursor), strict=True):
        cursor += item.lead
        places.append((cursor, cursor + size))
        cursor = align_up(cursor + size, MIB)
    return replace(_linked(items, places, room), end=end)


def _sizes(items: Sequence[Item], available: int) -> list[int]:
    """The sizes in bytes of partitions that share ``available`` bytes; their floors are known to fit."""
    leads = sum(item.lead for item in items)
    floors = [align_up(item.floor, MIB) // MIB for item in items]
    units = (available - leads) // MIB
    if sum(floors) > units:
        # Not a MiB to share: the last one alone may end before a whole MiB does.
        sizes = [item.clamp(align_up(item.floor, MIB)) for item in items]
        spent = leads + sum(align_up(size, MIB) for size in sizes[:-1])
        return [*sizes[:-1], min(sizes[-1], available - spent)]
    caps = [units if item.cap < 0 else align_up(item.cap, MIB) // MIB for item in items]
    weights = [item.partition.size for item in items]
    return [item.clamp(unit * MIB) for item, unit in zip(items, share(weights, floors, caps, units), strict=True)]
