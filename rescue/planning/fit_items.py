"""What fit planning works with: the room on the target, and what each partition may become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from rescue.errors import RefusedError, UsageError
from rescue.model.fit import FitMode, FitVolume, FitWish
from rescue.model.layout import Layout, Partition
from rescue.model.tables import MBR_SECTORS, array_bytes, entry_count
from rescue.model.volume import Identity
from rescue.planning.fit_kinds import is_fixed
from rescue.units import MIB, align_down, align_up, human_size

# Firmware of small boards lies before the first partition: Rockchip's reaches to 16 MiB. More before it is mere free space.
_BOOT_GAP: Final = 32 * MIB


class Room(msgspec.Struct, frozen=True):
    """Where partitions may lie on the target: ``[start, end)``; those that move, from ``first`` on (a multiple of 1 MiB).

    ``tail`` are the bytes behind ``end`` that a GPT takes; ``limit`` is what an MBR can describe, 0 for a GPT.
    """

    size: int
    sector_size: int
    label: str
    start: int
    first: int
    end: int
    tail: int
    limit: int
    entries: int = 0  # of a GPT


class Item(msgspec.Struct, frozen=True):
    """A partition and the sizes that it may take, in bytes, multiples of the target's sectors: ``[floor, cap]``.

    ``natural`` is the floor without what a person asked for, ``least`` what the content needs; ``cap`` is -1 where any size
    will do.
    """

    partition: Partition
    floor: int
    cap: int
    natural: int
    least: int

    @property
    def is_logical(self) -> bool:
        """Whether an EBR goes before it."""
        return self.partition.kind == "logical"

    @property
    def lead(self) -> int:
        """Bytes before the partition that are kept for its EBR."""
        return MIB if self.is_logical else 0

    @property
    def is_rigid(self) -> bool:
        """Whether only one size will do."""
        return self.cap == self.floor

    def nominal(self, sector_size: int) -> int:
        """The size that comes nearest to what it has on the source."""
        return self.clamp(align_up(self.partition.size, sector_size))

    def clamp(self, size: int) -> int:
        """The size that it may take that is nearest to ``size``."""
        held = max(size, self.floor)
        return held if self.cap < 0 else min(held, self.cap)


def room_on(layout: Layout, size: int, sector_size: int) -> Room:
    """The room for the partitions of ``layout`` on a disk of ``size`` bytes. Raises RefusedError."""
    whole = align_down(size, sector_size)
    beginning = min((p.start for p in layout.partitions), default=MIB)
    # What lies before the first partition may be a boot loader: none is moved onto it, and none into the first MiB.
    first = max(align_up(beginning, MIB) if beginning <= _BOOT_GAP else MIB, MIB)
    if layout.label != "gpt":
        limit = MBR_SECTORS * sector_size
        return Room(size, sector_size, layout.label, sector_size, first, min(whole, limit), 0, limit)
    highest = max((p.number for p in layout.partitions), default=0)
    start = 2 * sector_size + array_bytes(max(128, align_up(highest, 32)), sector_size)
    if sector_size == layout.sector_size and 2 * sector_size < layout.usable_start <= min(beginning, _BOOT_GAP):
        start = layout.usable_start  # a short table with partitions right behind it, or room left for a longer one
    entries = entry_count(highest, start, sector_size)
    tail = sector_size + array_bytes(entries, sector_size)
    return Room(size, sector_size, "gpt", start, max(first, align_up(start, MIB)), whole - tail, tail, 0, entries)


def _known(partition: Partition, volumes: Sequence[FitVolume]) -> FitVolume:
    """What is known of a partition's content; of an unknown one every byte is needed and it fills no other size."""
    found = next((v for v in volumes if v.partition == partition.number), None)
    return found or FitVolume(partition.number, partition.size, False, is_fixed(partition, Identity()))


def _wished(wishes: Sequence[FitWish], numbers: set[int]) -> dict[int, FitWish]:
    by_number = {wish.partition: wish for wish in wishes}
    if len(by_number) < len(wishes):
        raise UsageError("For one partition only one thing can be asked.")
    for number, wish in by_number.items():
        if number not in numbers:
            raise UsageError(f"There is no partition {number} to be fitted.")
        if wish.kind in ("exactly", "at-least") and wish.size <= 0:
            raise UsageError(f"Partition {number} cannot have a size of {wish.size} bytes.")
    return by_number


def _item(partition: Partition, volume: FitVolume, wish: FitWish | None, mode: FitMode, sector_size: int) -> Item:
    size = align_up(partition.size, sector_size)
    least = align_up(max(volume.minimum, 1), sector_size)
    # On sectors of another size it may need more than it has.
    least, size = (min(least, size), size) if mode == "same" or not volume.can_grow else (least, max(size, least))
    natural = least
    cap = -1 if volume.can_grow and mode == "auto" else size
    if volume.fixed or mode == "same":
        natural, cap = size, size
    match wish:
        case None:
            return Item(partition, natural, cap, natural, least)
        case FitWish(kind="keep"):
            return Item(partition, size, size, natural, least)
        case FitWish(kind="min" | "max") if mode == "same":
            raise _another_size(partition)
        case FitWish(kind="min"):
            return Item(partition, least, least, least, least)
        case FitWish(kind="max"):
            return Item(partition, least, -1 if volume.can_grow else size, least, least)
    wanted = align_up(wish.size, sector_size)
    what = f"Partition {partition.number} cannot be made"
    if mode == "same" and wanted != size:
        raise _another_size(partition)
    if wanted > size and not volume.can_grow:
        raise RefusedError(f"{what} larger than it is, {human_size(partition.size)}.", "Make another partition larger.")
    if wish.kind == "at-least":
        return Item(partition, max(wanted, least), max(cap, wanted) if cap >= 0 else cap, natural, least)
    if wanted < least:
        raise RefusedError(
            f"{what} smaller than {human_size(least)} ({least} bytes): {human_size(wanted)} were asked for.",
            f"Ask for at least {least} bytes.",
        )
    return Item(partition, wanted, wanted, natural, least)


def _another_size(partition: Partition) -> UsageError:
    return UsageError(
        f"Partition {partition.number} cannot be made another size: all are to be the same as on the source.",
        "Use another way of fitting.",
    )


def items_of(
    layout: Layout,
    volumes: Sequence[FitVolume],
    mode: FitMode,
    wishes: Sequence[FitWish],
    order: Sequence[int],
    sector_size: int,
) -> list[Item]:
    """The partitions that are kept, in their wanted order. Raises UsageError, and RefusedError for a size that cannot be."""
    data = {p.number: p for p in sorted(layout.data_partitions, key=lambda p: p.start)}
    by_number = _wished(wishes, set(data))
    kept = [n for n in data if not (n in by_number and by_number[n].kind == "leave-out")]
    if order:
        if sorted(order) != sorted(kept):
            raise UsageError("The order must name every partition that is kept, each once.")
        kept = list(order)
        places = [index for index, number in enumerate(kept) if data[number].kind == "logical"]
        if places and places[-1] - places[0] >= len(places):
            raise UsageError("Logical partitions must stay side by side: they share one extended partition.")
    return [_item(data[n], _known(data[n], volumes), by_number.get(n), mode, sector_size) for n in kept]
