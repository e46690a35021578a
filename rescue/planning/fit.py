"""Fit the partitions of one disk onto another: a new Layout, and where the bytes of each partition go. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rescue.errors import UsageError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.fit import DoesNotFitError, FitMode, Fitted, FitVolume, FitWish, Placement
from rescue.model.layout import Layout, Partition
from rescue.model.tables import gpt_extents, logical_partitions
from rescue.planning.fit_items import Item, Room, items_of, room_on
from rescue.planning.fit_place import Attempt, in_place, near, packed
from rescue.records import replace
from rescue.units import align_down, align_up, human_size


def fit(
    layout: Layout,
    volumes: Sequence[FitVolume],
    target_size: int,
    target_sector_size: int,
    mode: FitMode = "auto",
    wishes: Sequence[FitWish] = (),
    order: Sequence[int] = (),
) -> Fitted:
    """The partitions of ``layout`` on a disk of ``target_size`` bytes with sectors of ``target_sector_size`` (512 or 4096).

    "auto": fixed partitions keep their size, the others grow or shrink in proportion to fill the disk; on one that is not
    larger nothing changes that need not. "same": all as on the source, to the byte. "keep": sizes as on the source, moved
    together or made smaller only when they must be. ``order``: partition numbers as they shall follow each other.
    A partition without a FitVolume keeps its size. Whatever changes its place or size starts at a multiple of 1 MiB.
    Raises DoesNotFitError; RefusedError for a size that a partition cannot have; UsageError for wishes that make no sense.
    """
    if target_sector_size not in (512, 4096) or target_size < 0:
        raise UsageError(f"A disk of {target_size} bytes with sectors of {target_sector_size} cannot be fitted.")
    if layout.label == "none":
        return _whole(layout, volumes, target_size, target_sector_size, mode, bool(wishes or order))
    room = room_on(layout, target_size, target_sector_size)
    takes_rest = any(wish.kind == "max" for wish in wishes)
    if takes_rest and mode != "same":
        asked = {wish.partition for wish in wishes}
        kept = [FitWish(p.number, "keep") for p in layout.data_partitions if p.number not in asked]
        wishes, mode = [*wishes, *kept], "auto"
    items = items_of(layout, volumes, mode, wishes, order, target_sector_size)
    as_is = in_place(items, layout, room)
    attempts = [as_is] if as_is else []
    if mode != "same":
        close = [packed(items, room, anchored=True), packed(items, room, anchored=False)]
        if mode == "keep":
            close.insert(0, near(items, room))
        free = any(item.cap < 0 or item.cap > align_up(item.partition.size, target_sector_size) for item in items)
        more = target_size > layout.size or len(items) < len(layout.data_partitions) or takes_rest
        fills = mode == "auto" and free and more
        attempts = [*close, *attempts] if fills else [*attempts, *close]
    chosen = next((attempt for attempt in attempts if attempt.fits), None)
    if chosen is None:
        raise _refusal(items, attempts, room, mode)
    return _fitted(layout, room, items, chosen)


def _fitted(layout: Layout, room: Room, items: Sequence[Item], chosen: Attempt) -> Fitted:
    chain = logical_partitions([item.partition for item in items])
    numbers = {p.number: number for number, p in enumerate(chain, start=5)}
    partitions: list[Partition] = []
    placements = []
    for item, (start, end) in zip(items, chosen.places, strict=True):
        old = item.partition
        number = numbers.get(old.number, old.number)
        uuid = old.uuid if layout.label == "gpt" else f"{layout.id}-{number:02x}"
        partitions.append(replace(old, number=number, start=start, end=end, uuid=uuid))
        placements.append(Placement(old.number, number, old.start, old.end, start, end))
    links: list[tuple[int, int]] = [(offset, offset + room.sector_size) for _, offset in chosen.links]
    for old in layout.partitions:
        if old.kind == "extended" and chosen.extended[1]:
            partitions.append(replace(old, start=chosen.extended[0], end=chosen.extended[1]))
    partitions.sort(key=lambda p: (p.start, p.kind != "extended"))
    new = Layout(
        size=room.size,
        sector_size=room.sector_size,
        label=layout.label,
        id=layout.id,
        usable_start=room.start,
        usable_end=room.end,
        partitions=tuple(partitions),
        table=_table(room, links),
    )
    unused = room.size - room.limit if room.limit else 0
    notes = (
        (
            f"An MBR describes only the first {human_size(room.limit)} of a disk with sectors of {room.sector_size} bytes:"
            f" {human_size(unused)} stay unused.",
        )
        if unused > 0
        else ()
    )
    return Fitted(new, tuple(placements), notes)


def _table(room: Room, links: Sequence[tuple[int, int]]) -> tuple[Extent, ...]:
    if room.label == "gpt":
        return gpt_extents(room.size, room.sector_size, room.entries)
    return tuple(ExtentMap([(0, room.sector_size), *sorted(links)]))


def _refusal(items: Sequence[Item], attempts: Sequence[Attempt], room: Room, mode: FitMode) -> DoesNotFitError:
    """Why nothing fits: by how many bytes, and which partition is the reason."""
    if not attempts:
        return _unplaceable(items, room)
    end = min(attempt.end for attempt in attempts)
    number, why = _reason(items, end - room.end, mode)
    if room.limit and end > room.limit:
        return DoesNotFitError(
            f"The partitions do not fit: an MBR describes only the first {human_size(room.limit)} of a disk with sectors of"
            f" {room.sector_size} bytes, which is {human_size(end - room.limit)} ({end - room.limit} bytes) too little. {why}",
            "Make it a GPT, or leave a partition out.",
            short=end - room.limit,
            partition=number,
            needed=0,
        )
    needed = end + room.tail
    short = needed - room.size
    return DoesNotFitError(
        f"The partitions do not fit: the disk is too small by {human_size(short)} ({short} bytes). {why}",
        f"Choose a disk of at least {needed} bytes, or {_way_out(items, short, mode)}.",
        short=short,
        partition=number,
        needed=needed,
    )


def _way_out(items: Sequence[Item], short: int, mode: FitMode) -> str:
    """What helps without a larger disk: another mode, asking less of one that keeps its size, or leaving one out."""
    if mode == "same":
        return "let the partitions be moved and made smaller (--fit auto)"
    kept = max(items, key=lambda i: i.floor - i.least, default=None)
    if kept is not None and kept.floor - kept.least >= short:
        return f"let partition {kept.partition.number} be smaller than {human_size(kept.floor)}"
    return "leave a partition out"


def _unplaceable(items: Sequence[Item], room: Room) -> DoesNotFitError:
    """Why the partitions cannot stay where they are on a disk of any size: sectors, the table, no room for an EBR."""
    for item in items:
        partition, why = item.partition, ""
        if partition.start % room.sector_size or partition.end % room.sector_size:
            why = f"it does not start and end with a sector of {room.sector_size} bytes"
        elif partition.start < room.start:
            why = "the partition table needs that place"
        if why:
            break
    else:
        partition = next((i.partition for i in items if i.is_logical), items[0].partition)
        why = "there is no room for what describes the logical partitions, or the order is another one"
    return DoesNotFitError(
        f"Partition {partition.number} cannot stay where it is: {why}.",
        "Let the partitions be moved (--fit auto or --fit keep).",
        short=0,
        partition=partition.number,
        needed=0,
    )


def _reason(items: Sequence[Item], short: int, mode: FitMode) -> tuple[int, str]:
    """The number of the partition that is most to blame, and a sentence that says why."""
    if not items:
        return 0, "Its table alone needs more."
    if mode == "same":
        last = max(items, key=lambda i: i.partition.end)
        return last.partition.number, f"Partition {last.partition.number} ends behind what the disk has for partitions."
    asked = sum(item.floor - item.natural for item in items)
    if asked >= short:
        largest = max(items, key=lambda i: i.floor - i.natural)
        more = largest.floor - largest.natural
        return (
            largest.partition.number,
            f"Partition {largest.partition.number} was asked to be {human_size(more)} larger than it must be.",
        )
    largest = max(items, key=lambda i: i.floor)
    number = largest.partition.number
    if largest.least < largest.floor:
        return number, f"Partition {number} keeps its size of {human_size(largest.floor)}."
    return number, f"Partition {number} cannot be made smaller than {human_size(largest.floor)}."


def _whole(layout: Layout, volumes: Sequence[FitVolume], size: int, sector_size: int, mode: FitMode, is_asked: bool) -> Fitted:
    """The fit of a disk without a table: one volume from its first to its last byte, or bytes of an unknown kind."""
    if is_asked:
        raise UsageError("The disk has no partitions that could be chosen.")
    volume = next((v for v in volumes if v.partition == 0), FitVolume(0, layout.size))
    source = layout.size
    least = source if mode == "same" or volume.fixed else min(max(volume.minimum, 1), source)
    room = align_down(size, sector_size)
    # A file of any length is a disk too: what is there is kept to the byte when it has the same room.
    end = size if size == source and sector_size == layout.sector_size else room
    if not (volume.can_grow and mode == "auto"):
        end = min(end, source)
    if end < least:
        needed = align_up(least, sector_size)
        raise DoesNotFitError(
            f"What is on the disk does not fit: the target is too small by {human_size(needed - size)} ({needed - size} bytes)."
            f" It cannot be made smaller than {human_size(least)}.",
            f"Choose a disk of at least {needed} bytes.",
            short=needed - size,
            partition=0,
            needed=needed,
        )
    new = Layout(size=size, sector_size=sector_size, label="none", usable_end=room)
    return Fitted(new, (Placement(0, 0, 0, source, 0, end),))
