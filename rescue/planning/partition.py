"""Operations on a Layout value: what each makes of the partition table, or why it cannot be done. Nothing here touches a disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, assert_never

from rescue.errors import RefusedError, UsageError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout, Partition
from rescue.model.operation import (
    Add,
    Convert,
    Copy,
    Create,
    Delete,
    Flag,
    Format,
    Label,
    Move,
    Name,
    NewTable,
    Operation,
    Resize,
    SetType,
)
from rescue.model.tables import entry_room, link_offsets
from rescue.planning.convert import convert_in_place
from rescue.records import replace
from rescue.units import MIB, align_down, align_up, distinct_sizes, human_size

ALIGN: Final = 1 * MIB
MAX_PRIMARY: Final = 4
MAX_LOGICAL: Final = 60  # Linux makes device nodes for no more
MAX_GPT: Final = 128
MAX_NAME: Final = 36  # UTF-16 units of a GPT entry
_MBR_SECTORS: Final = 1 << 32
_EXTENDED: Final = "0x0f"


def apply_all(layout: Layout, operations: Sequence[Operation]) -> Layout:
    """The layout after a queue of operations. Raises RefusedError, UsageError."""
    for operation in operations:
        layout = apply(layout, operation)
    return layout


def apply(layout: Layout, operation: Operation) -> Layout:
    """The layout after one operation: partitions are sorted, do not overlap, and new borders are at whole MiB.

    Starts are rounded up, sizes down. Raises RefusedError when there is no room for it, UsageError when it makes no sense.
    """
    if isinstance(operation, NewTable):
        return _new_table(layout, operation)
    if layout.label == "none":
        raise RefusedError(
            "The disk has no partition table.", "Make one first: table gpt. What is on the disk now is lost with it."
        )
    if isinstance(operation, Create):
        return _create(layout, operation)
    if isinstance(operation, Add):
        return _add(layout, operation)
    if isinstance(operation, Convert):
        return convert_in_place(layout, operation).layout
    partition = partition_of(layout, operation.number)
    match operation:
        case Delete():
            return _delete(layout, partition)
        case Resize():
            return _changed(layout, partition, end=_new_end(layout, partition, operation.size))
        case Move():
            return _move(layout, partition, operation.start)
        case Copy():
            if partition.kind == "extended":
                raise UsageError("An extended partition holds partitions, and cannot be copied.")
            uuid = operation.uuid if layout.label == "gpt" else ""
            size = align_up(partition.size, ALIGN)
            return _create(layout, Create(partition.type, uuid, operation.start, size, partition.name))
        case Format() | Label():
            if partition.kind == "extended":
                raise UsageError("An extended partition holds partitions, no file system.")
            return layout
        case Name():
            return _named(layout, partition, operation.name)
        case SetType():
            if partition.kind == "extended":
                raise UsageError("The type of an extended partition cannot be changed.", "Delete it.")
            return _replaced(layout, replace(partition, type=operation.type))
        case Flag():
            return _flagged(layout, partition, operation)
        case _:
            assert_never(operation)


def partition_of(layout: Layout, number: int) -> Partition:
    """The partition with this number. Raises UsageError."""
    found = next((p for p in layout.partitions if p.number == number), None)
    if found is None:
        there = ", ".join(str(p.number) for p in layout.partitions) or "none"
        raise UsageError(f"There is no partition {number}.", f"There are: {there}.")
    return found


def free_extents(layout: Layout, *, logical: bool = False) -> list[Extent]:
    """Where partitions can be made: whole MiB that no partition has, in the order of the disk.

    With ``logical`` those inside of the extended partition, each with room for its description before it.
    """
    extended = next((p for p in layout.partitions if p.kind == "extended"), None)
    if logical and extended is None:
        return []
    low, high = (
        (extended.start, extended.end)
        if logical and extended
        else (max(layout.usable_start, ALIGN), min(layout.usable_end, layout.size, _addressable(layout)))
    )
    kinds = ("logical",) if logical else ("primary", "extended")
    taken = ExtentMap(sorted((p.start, p.end) for p in layout.partitions if p.kind in kinds))
    found = []
    for extent in ExtentMap([(low, high)]).difference(taken):
        # A logical partition is described in a sector before it.
        start = align_up(extent.start, ALIGN) if not logical else align_up(extent.start + layout.sector_size, ALIGN)
        # The next logical partition keeps the sector before it, too.
        end = extent.end if not logical or extent.end == high else extent.end - layout.sector_size
        end = align_down(end, ALIGN)
        if start < end:
            found.append(Extent(start, end))
    return found


def _addressable(layout: Layout) -> int:
    """Where what an MBR can describe ends."""
    return layout.size if layout.label != "dos" else _MBR_SECTORS * layout.sector_size


def _sorted(layout: Layout, partitions: Sequence[Partition]) -> Layout:
    table = layout.table
    if layout.label == "dos":
        # Where the descriptions of logical partitions lie follows from the partitions.
        table = tuple(extent for extent in table if extent.start == 0)
    ordered = tuple(sorted(partitions, key=lambda p: (p.start, p.kind != "extended")))
    return replace(layout, partitions=ordered, table=table, problems=())


def _replaced(layout: Layout, partition: Partition) -> Layout:
    return _sorted(layout, [partition if p.number == partition.number else p for p in layout.partitions])


def _new_table(layout: Layout, operation: NewTable) -> Layout:
    if layout.size < 4 * MIB:
        raise RefusedError(f"The disk is too small for partitions: {human_size(layout.size)}.")
    sector = layout.sector_size
    end = align_down(layout.size, sector)
    if operation.label == "gpt":
        return Layout(
            layout.size, sector, "gpt", operation.id, usable_start=ALIGN, usable_end=end - sector - align_up(16384, sector)
        )
    usable_end = min(end, _MBR_SECTORS * sector)
    return Layout(layout.size, sector, "dos", operation.id, sector, usable_end, table=(Extent(0, sector),))


def _create(layout: Layout, operation: Create) -> Layout:
    extended = next((p for p in layout.partitions if p.kind == "extended"), None)
    primaries = [p for p in layout.partitions if p.kind != "logical"]
    is_extended = operation.type == "extended"
    if operation.name:
        _check_name(layout, operation.name)
    if is_extended and (extended or operation.filesystem):
        why = "There is an extended partition already." if extended else "An extended partition holds no file system."
        raise UsageError(why)
    inside = extended and operation.start >= 0 and extended.start <= operation.start < extended.end
    full = layout.label == "dos" and len(primaries) >= MAX_PRIMARY
    logical = bool(inside or (extended and operation.start < 0 and (full or _is_better_logical(layout, operation.size))))
    if full and not logical:
        raise RefusedError(
            f"An MBR has room for {MAX_PRIMARY} partitions, and it has them.",
            "Delete one and create an extended one (type=extended), which holds more; or use a GPT.",
        )
    start, end = _place(layout, operation, logical=logical)
    new = Partition(
        number=_free_number(layout, logical=logical),
        start=start,
        end=end,
        type=_EXTENDED if is_extended else operation.type,
        uuid=operation.uuid,
        name=operation.name,
        kind="logical" if logical else "extended" if is_extended else "primary",
    )
    return _sorted(layout, [*layout.partitions, new])


def _is_better_logical(layout: Layout, size: int) -> bool:
    """Whether a partition has room in the extended one, and none beside it; without a size, whether there is more room."""
    beside, within = (max((e.length for e in free_extents(layout, logical=one)), default=0) for one in (False, True))
    return beside < size <= within if size else within > beside


def _add(layout: Layout, operation: Add) -> Layout:
    """The partition where it is: only that no other has these bytes, and that there is room to describe it, counts."""
    start, end, sector = operation.start, operation.start + operation.size, layout.sector_size
    extended = next((p for p in layout.partitions if p.kind == "extended"), None)
    logical = extended is not None and extended.start <= start < extended.end
    is_extended = operation.type == "extended"
    if operation.name:
        _check_name(layout, operation.name)
    if start % sector or end % sector:
        raise UsageError(f"The partition does not begin and end at whole sectors of {sector} bytes.")
    if is_extended and extended:
        raise UsageError("There is an extended partition already.")
    if layout.label == "dos" and not logical and sum(p.kind != "logical" for p in layout.partitions) >= MAX_PRIMARY:
        raise RefusedError(
            f"An MBR has room for {MAX_PRIMARY} partitions, and it has them.",
            "Add an extended one first (type=extended), around those that are to be in it; or use a GPT.",
        )
    low, high = (extended.start + sector, extended.end) if logical and extended else (layout.usable_start, layout.usable_end)
    others = [(p.start, p.end) for p in layout.partitions if p.kind != ("extended" if logical else "logical")]
    others += [(at, at + sector) for at in link_offsets(layout).values()] if logical else []
    before = sector if logical else 0  # for its own description
    if start - before < low - before or end > min(high, layout.size, _addressable(layout)):
        raise RefusedError(f"A partition from {start} to {end} does not lie where this table can have one.")
    if any(start - before < other_end and other_start < end for other_start, other_end in others):
        raise RefusedError(f"Another partition has some of the bytes from {start} to {end}, or the sector before them.")
    number = _free_number(layout, logical=logical)
    kind: Literal["primary", "extended", "logical"] = "logical" if logical else "extended" if is_extended else "primary"
    code = _EXTENDED if is_extended else operation.type
    return _sorted(layout, [*layout.partitions, Partition(number, start, end, code, operation.uuid, operation.name, kind=kind)])


def _place(layout: Layout, operation: Create, *, logical: bool) -> tuple[int, int]:
    size = align_down(operation.size, ALIGN)
    if operation.size and not size:
        raise UsageError(f"{human_size(operation.size)} is too small for a partition; the smallest is 1 MiB.")
    free = free_extents(layout, logical=logical)
    if operation.start >= 0:
        start = align_up(operation.start, ALIGN)
        room = next((extent for extent in free if extent.start <= start < extent.end), None)
        if room is None:
            raise RefusedError(f"There is no free space at {human_size(start)}.", _free_words(free, layout))
    else:
        room = max(free, key=lambda extent: extent.length, default=None)
        if room is None and logical:
            extended = next(p for p in layout.partitions if p.kind == "extended")
            raise RefusedError(
                f"There is no free space in the extended partition ({extended.number}), and an MBR has room for no other.",
                f"Make it larger (resize {extended.number} size=max), or delete a partition in it, first.",
            )
        if room is None:
            raise RefusedError("There is no free space on the disk.", _free_words(free, layout))
        start = room.start
    end = start + size if size else room.end
    if end > room.end:
        wanted, there = distinct_sizes(size, room.end - start)
        raise RefusedError(
            f"There is no room for {wanted} at {human_size(start)}: {there} are free there.",
            _free_words(free, layout),
        )
    return start, end


def unused_end(layout: Layout) -> str:
    """A sentence on what lies behind the end of a GPT that was made for a smaller disk, and of how to use it; else ""."""
    behind = layout.size - layout.usable_end - 2 * ALIGN
    if layout.label != "gpt" or behind <= 0:
        return ""
    return (
        f"The disk is larger than its table knows: the last {human_size(behind)} can be used when the table was written anew"
        " (rescue partition DISK --repair)."
    )


def _free_words(free: Sequence[Extent], layout: Layout) -> str:
    if not free:
        return unused_end(layout) or "Delete or shrink a partition first."
    words = f"Free are: {', '.join(f'{human_size(e.length)} at {human_size(e.start)}' for e in free)}."
    return f"{words} {unused_end(layout)}".rstrip()


def _free_number(layout: Layout, *, logical: bool) -> int:
    taken = {p.number for p in layout.partitions}
    most = MAX_PRIMARY if layout.label == "dos" else min(MAX_GPT, entry_room(layout) or MAX_GPT)
    low, count = (5, MAX_LOGICAL) if logical else (1, most)
    number = next((n for n in range(low, low + count) if n not in taken), None)
    if number is None:
        kind = "logical partitions" if logical else "partitions"
        raise RefusedError(f"The partition table has room for only {count} {kind}, and it has them.", "Delete one first.")
    return number


def _delete(layout: Layout, partition: Partition) -> Layout:
    left = [p for p in layout.partitions if p.number != partition.number]
    if partition.kind == "extended" and any(p.kind == "logical" for p in left):
        raise RefusedError("The extended partition holds logical ones.", "Delete those first.")
    if partition.kind == "logical":
        # They are numbered by their chain: those behind a deleted one get the next lower number.
        left = [_renumbered(layout, p) if p.number > partition.number else p for p in left]
    return _sorted(layout, left)


def _renumbered(layout: Layout, partition: Partition) -> Partition:
    number = partition.number - 1
    return replace(partition, number=number, uuid=f"{layout.id}-{number:02x}" if partition.uuid else "")


def _room_behind(layout: Layout, partition: Partition) -> int:
    """Where the free space behind a partition ends."""
    if partition.kind == "logical":
        extended = next(p for p in layout.partitions if p.kind == "extended")
        later = [p.start - layout.sector_size for p in layout.partitions if p.kind == "logical" and p.start > partition.start]
        return min([extended.end, *later])
    later = [p.start for p in layout.partitions if p.kind != "logical" and p.start > partition.start]
    return min([layout.usable_end, layout.size, _addressable(layout), *later])


def _new_end(layout: Layout, partition: Partition, size: int) -> int:
    room = _room_behind(layout, partition)
    if not size:
        return max(align_down(room, ALIGN), partition.end)
    if size == partition.size:
        return partition.end  # also where that is not at a whole MiB
    end = align_down(partition.start + size, ALIGN)
    if end <= partition.start:
        raise UsageError(f"{human_size(size)} is too small for a partition; the smallest is 1 MiB.")
    if end > room:
        wanted, there = distinct_sizes(size, room - partition.start)
        raise RefusedError(
            f"Partition {partition.number} cannot get {wanted}: it has room for {there}.",
            unused_end(layout) or "Move or delete what is behind it first.",
        )
    if partition.kind == "extended":
        inner = max((p.end for p in layout.partitions if p.kind == "logical"), default=0)
        if end < inner:
            raise RefusedError(f"The extended partition must reach to {human_size(inner)}, where its last logical one ends.")
    return end


def _move(layout: Layout, partition: Partition, start: int) -> Layout:
    if partition.kind == "extended":
        raise RefusedError("An extended partition cannot be moved.", "Move what is in it.")
    start = align_up(start, ALIGN)
    without = _sorted(layout, [p for p in layout.partitions if p.number != partition.number])
    free = free_extents(without, logical=partition.kind == "logical")
    end = start + partition.size
    # What it has now it may keep, also when that is not at whole MiB.
    free = list(ExtentMap(sorted([*free, (partition.start, partition.end)])))
    if start == partition.start:
        raise UsageError(f"Partition {partition.number} starts there already.")
    if not any(extent.start <= start and end <= extent.end for extent in free):
        raise RefusedError(
            f"Partition {partition.number} ({human_size(partition.size)}) has no room at {human_size(start)}.",
            _free_words(free, layout),
        )
    return _changed(layout, partition, start=start, end=end)


def _changed(layout: Layout, partition: Partition, *, start: int = -1, end: int) -> Layout:
    return _replaced(layout, replace(partition, start=partition.start if start < 0 else start, end=end))


def _check_name(layout: Layout, name: str) -> None:
    if layout.label != "gpt":
        raise UsageError("Partitions of an MBR have no names.", "Label the file system instead.")
    if len(name.encode("utf-16-le")) > 2 * MAX_NAME or "\0" in name:
        raise UsageError(f"“{name}” is too long for the name of a partition: {MAX_NAME} characters fit.")


def _named(layout: Layout, partition: Partition, name: str) -> Layout:
    _check_name(layout, name)
    return _replaced(layout, replace(partition, name=name))


def _flagged(layout: Layout, partition: Partition, operation: Flag) -> Layout:
    if layout.label == "dos" and partition.kind != "primary":
        raise UsageError("Only a primary partition can be active.")
    bit = 1 << operation.bit
    changed = replace(partition, attributes=partition.attributes | bit if operation.on else partition.attributes & ~bit)
    result = _replaced(layout, changed)
    if layout.label == "dos" and operation.on:
        # One partition is active at most.
        others = [replace(p, attributes=p.attributes & ~bit) if p.number != partition.number else p for p in result.partitions]
        result = _sorted(result, others)
    return result
