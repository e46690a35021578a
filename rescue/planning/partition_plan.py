"""Plan to edit the partitions of a disk: a queue of operations becomes steps, in an order that can be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rescue.engine.move_journal import Begun, journal_places
from rescue.errors import RefusedError, UsageError
from rescue.model.edit import (
    EditStep,
    EraseExtents,
    FormatVolume,
    MoveVolume,
    PutTableBack,
    ResizeVolume,
    SaveTables,
    SetTable,
)
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import HYBRID_MBR, Layout, Partition
from rescue.model.operation import (
    Add,
    Convert,
    Copy,
    Create,
    Delete,
    FileSystem,
    Format,
    Label,
    Move,
    NewTable,
    Operation,
    Resize,
)
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey
from rescue.model.tables import link_offsets
from rescue.model.volume import Identity, Volume
from rescue.planning.convert import KINDS, convert_in_place, label_warnings
from rescue.planning.operation_text import parse_operation
from rescue.planning.partition import apply, partition_of, unused_end
from rescue.planning.partition_copy import check_label, copy_partition, label_volume
from rescue.planning.partition_draft import NO_LOOKS, Draft, Looks, is_new, place_words, what_of
from rescue.planning.partition_size import GROWABLE, SHRINKABLE, refuse_smaller, refuse_unlikely
from rescue.planning.wipe import signature_extents
from rescue.planning.words import content_words, disk_words, losses_of, partition_words, plain, table_problems
from rescue.planning.writable import refuse_mbr_of_file, refuse_unwritable
from rescue.records import replace
from rescue.units import KIB, MIB, align_down, align_up, human_size

# What each program makes at least.
_LEAST: Final[dict[FileSystem, int]] = {"xfs": 300 * MIB, "btrfs": 128 * MIB, "f2fs": 64 * MIB, "ntfs": 2 * MIB}
_CUT: Final = "Until it has ended do not switch off: a file system that is made smaller or larger is damaged by that."


class PartitionRequest(msgspec.Struct, frozen=True):
    """What a person asks: operations as they are written; ``save`` is the file for the old table."""

    operations: tuple[str, ...]
    save: str
    go_on: bool = False  # with a move that was interrupted, and what came after it


def plan_partition(
    target: DiskSurvey,
    request: PartitionRequest,
    new_guid: Callable[[], str],
    begun: Begun | None = None,
    looks: Looks = NO_LOOKS,
) -> Plan:
    """Do the operations in order. ``begun`` is a move that was interrupted on this disk; ``looks`` looks at it.

    Raises RefusedError, UsageError.
    """
    refuse_unwritable(target)
    disk = target.disk
    if request.go_on and begun is None:
        raise UsageError(f"No move was interrupted on {disk.title}.", "Name an operation.")
    draft = Draft.of(target, looks)
    queue = request.operations
    if begun is not None:
        queue = _go_on(draft, begun, request, target)
    elif not queue:
        raise UsageError("There is nothing to do.", "Name an operation: rescue partition DISK 'create size=10GiB fs=ext4'.")
    for index, text in enumerate(queue):
        operation = parse_operation(text, draft.layout, new_guid)
        add_operation(draft, operation, tuple(queue[index:]), target)
    draft.flush()
    if begun is None and HYBRID_MBR in target.layout.problems:
        _drop_hybrid(draft, target)
    steps: tuple[EditStep, ...] = tuple(draft.steps)
    sentences = list(draft.sentences)
    if begun is None:
        title = "Keep the old partition table"
        save = SaveTables(
            title=title, target=disk.path, file=request.save, before=target.layout, layouts=tuple(draft.tables),
            changed=tuple(draft.changed),
        )  # fmt: skip
        steps = (save, *steps)
        undo = " With it the table can be put back (rescue partition --undo)." if not draft.changed else ""
        sentences.insert(
            0, f"Keep the old partition table and the headers of what is on {disk_words(disk)} in {request.save}.{undo}"
        )
    command = ("rescue", "partition", disk.path, *(("--continue",) if request.go_on else request.operations))
    return Plan(
        kind="partition",
        steps=steps,
        sentences=tuple(sentences),
        losses=tuple(dict.fromkeys(draft.losses)),
        warnings=tuple(dict.fromkeys([*table_problems(target.layout), *draft.warnings])),
        command=command,
        fingerprint=target.fingerprint,
        target=disk,
        estimated_bytes=draft.bytes,
    )


def _drop_hybrid(draft: Draft, target: DiskSurvey) -> None:
    """A table is written without what the first sector described beside a GPT: only where a person asks for another table."""
    title = target.disk.title
    if draft.replaced:
        draft.warnings.append(
            f"What the first sector of {title} describes beside its GPT (a hybrid MBR) is lost: a system that needs that second"
            " description (an old Mac's) will not find it."
        )
    elif draft.tables:
        raise RefusedError(
            f"The first sector of {title} describes partitions beside its GPT (a hybrid MBR), which would be lost.",
            "Edit it with gdisk, which asks what to keep; or give the disk a table of one kind first: 'convert mbr', which leaves"
            " its partitions where they are.",
        )


def _go_on(draft: Draft, begun: Begun, request: PartitionRequest, target: DiskSurvey) -> tuple[str, ...]:
    """Begin with the interrupted move; the operations that come after it."""
    record = begun.record
    count = len(record.queue)
    if not request.go_on and request.operations[len(request.operations) - count :] != record.queue:
        raise RefusedError(
            f"On {target.disk.title} the move of partition {record.number} was interrupted; until it is complete the partition"
            " cannot be read.",
            f"Complete it first: rescue partition {target.disk.path} --continue",
        )
    draft.steps.append(
        MoveVolume(
            title=f"Move partition {record.number}", target=draft.disk, number=record.number, before=record.before,
            after=record.after, identity=record.identity, journal=begun.place, queue=record.queue,
        )
    )  # fmt: skip
    total = sum(extent.length for extent in record.extents)
    draft.sentences.append(
        f"Go on moving partition {record.number} to {human_size(record.to)}: {human_size(begun.done)} of {human_size(total)} are"
        " there."
    )
    draft.layout = draft.written = record.after
    draft.changed += [Extent(place, place + record.size) for place in (record.start, record.to)]
    old = draft.contents.pop(record.start, None)
    used = old.used_bytes if old else total
    draft.contents[record.to] = Volume(record.number, record.to, record.to + record.size, record.identity, used)
    return record.queue[1:]


def add_operation(draft: Draft, operation: Operation, queue: tuple[str, ...], target: DiskSurvey) -> None:
    """Add what an operation comes to; ``queue`` is it and what comes after it. Raises RefusedError, UsageError."""
    before = draft.layout
    after = apply(before, operation)
    if after.label != before.label or isinstance(operation, NewTable):
        draft.replaced = True
        refuse_mbr_of_file(target.disk, after)
    match operation:
        case NewTable():
            _new_table(draft, operation, after, target)
        case Create():
            draft.layout = after
            new = next(p for p in after.partitions if p not in before.partitions and is_new(p, before))
            draft.sentences.append(_created(operation, new))
            held = draft.contents.get(new.start)
            if held and held.end > new.end and new.kind != "extended":
                draft.forget(new.start, new.end)  # its end is outside
            if operation.filesystem:
                _format(draft, new, operation.filesystem, operation.label)
        case Add():
            draft.layout = after
            new = next(p for p in after.partitions if p not in before.partitions and is_new(p, before))
            kind = "" if new.kind == "primary" else f" ({new.kind})"
            draft.sentences.append(f"Add partition {new.number}{kind} to the table, {place_words(new)}, with what is in it.")
            if new.kind != "extended":
                draft.add(new)
                _spare(draft, new)
        case Delete():
            partition = partition_of(before, operation.number)
            if partition.kind != "extended":
                draft.losses.append(what_of(draft, partition))
            draft.sentences.append(f"{what_of(draft, partition)}: take it out of the table. What is in it is not overwritten.")
            draft.layout = after
        case Format():
            partition = partition_of(before, operation.number)
            if draft.contents.get(partition.start):
                draft.losses.append(what_of(draft, partition))
            _format(draft, partition, operation.filesystem, operation.label)
        case Convert():
            _convert(draft, operation)
        case Label():
            label_volume(draft, partition_of(before, operation.number), operation.label)
        case Copy():
            copy_partition(draft, operation, after)
        case Resize():
            old = partition_of(before, operation.number)
            _resize(draft, old, after, to_most=not operation.size)
        case Move():
            _move(draft, partition_of(before, operation.number), after, queue, target.layout)
        case _:
            draft.sentences.append(f"{what_of(draft, partition_of(before, operation.number))}: set what the table says of it.")
            draft.layout = after


def _created(operation: Create, new: Partition) -> str:
    kind = "" if new.kind == "primary" else f" ({new.kind})"
    holding = f", with an empty {operation.filesystem}" if operation.filesystem else ""
    label = f" “{plain(operation.label)}”" if operation.label else ""
    return f"Create partition {new.number}{kind}: {place_words(new)}{holding}{label}."


def _new_table(draft: Draft, operation: NewTable, after: Layout, target: DiskSurvey) -> None:
    draft.losses += losses_of(target)
    kind = "GPT" if operation.label == "gpt" else "MBR"
    draft.sentences.append(f"Make a new, empty partition table ({kind}) on {disk_words(target.disk)}.")
    if any(volume.partition == 0 and volume.identity.type for volume in target.volumes):
        # Else the disk would hold both a table and a file system, and systems differ in which they see.
        extents = signature_extents(replace(target.layout, partitions=()))
        title = f"Erase what is on {draft.disk} without a table"
        draft.steps.append(EraseExtents(title=title, target=draft.disk, extents=extents))
        draft.changed += extents
        draft.sentences.append(
            "Erase what says that the disk is used without a table, at its beginning and end; nothing of what is added below."
        )
    draft.contents.clear()
    draft.layout = after


def _spare(draft: Draft, added: Partition) -> None:
    """What is added to a new table is there already: it is not erased with what the disk was without one."""
    own = ExtentMap([(added.start, added.end)])
    kept = [(step, ExtentMap(step.extents).difference(own)) for step in draft.steps if isinstance(step, EraseExtents)]
    for step, left in kept:
        changed = [replace(step, extents=tuple(left))] if left else []
        place = draft.steps.index(step)
        draft.steps[place : place + 1] = changed


def _convert(draft: Draft, operation: Convert) -> None:
    """Another kind of table around the same partitions."""
    before = draft.layout
    contents = {p.number: draft.contents[p.start].identity for p in before.data_partitions if p.start in draft.contents}
    made = convert_in_place(before, operation, contents)
    was, becomes = KINDS[before.label], KINDS[operation.label]
    draft.sentences.append(
        f"Make the partition table {becomes}; it is {was}. Partitions stay where they are, with what is in them."
    )
    draft.sentences += [f"Partition {old} becomes partition {new}." for old, new in made.numbers if old != new]
    for number in made.left_out:
        what = what_of(draft, partition_of(before, number))
        draft.losses.append(what)
        draft.sentences.append(
            f"Take {what} out of the table: {becomes} knows no such partition. What is in it is not overwritten."
        )
    draft.warnings += label_warnings(before, operation.label)
    draft.layout = made.layout


def _format(draft: Draft, partition: Partition, filesystem: FileSystem, label: str) -> None:
    least = _LEAST.get(filesystem, MIB)
    if partition.size < least:
        raise RefusedError(
            f"Partition {partition.number} ({human_size(partition.size)}) is too small for {filesystem}: it needs"
            f" {human_size(least)}."
        )
    check_label(filesystem, label)
    draft.flush()
    sector_size = draft.layout.sector_size
    title = f"Make {filesystem} in partition {partition.number}"
    draft.steps.append(
        FormatVolume(
            title=title, target=draft.disk, number=partition.number, start=partition.start, end=partition.end,
            sector_size=sector_size, filesystem=filesystem, label=label,
        )
    )  # fmt: skip
    draft.sentences.append(f"Make an empty {filesystem} in partition {partition.number}, {place_words(partition)}.")
    draft.changed.append(Extent(partition.start, partition.end))
    draft.forget(partition.start, partition.end)
    draft.contents[partition.start] = Volume(
        partition.number, partition.start, partition.end, Identity(filesystem, "filesystem", label), 0
    )


def _resize(draft: Draft, old: Partition, after: Layout, *, to_most: bool) -> None:
    new = partition_of(after, old.number)
    volume = draft.contents.get(old.start) if old.kind != "extended" else None
    what = what_of(draft, old)
    identity = volume.identity if volume else Identity()
    refuse_unlikely(draft, old, new)
    filled = draft.filled(volume)
    by_program = identity.type in GROWABLE
    if new == old:
        # So it is where the work was cut off when the table had been written, or where another program changed only that.
        if not by_program or not filled or old.size - filled < MIB:
            raise _has_that_size(draft, old, to_most=to_most)
        said = f"{what}: let it fill the partition; it takes {human_size(filled)} of it."
    elif new.end > old.end:
        said = f"{what}: make it larger, {human_size(new.size)}."
        if identity.type and not by_program:
            stays = f"{content_words(identity)} stays as it is: no program makes it larger"
            said += f" {stays}. The rest of the partition is not used."
    else:
        # Of what does not reach that far, only the table is changed.
        if not 0 < filled <= new.size:
            refuse_smaller(draft, old, new)
        by_program = identity.type in SHRINKABLE
        said = f"{what}: make it smaller, {human_size(new.size)}."
    if new.end >= old.end:
        draft.layout = after
    if by_program:
        draft.flush()
        draft.steps.append(
            ResizeVolume(
                title=f"Resize what is in partition {old.number}", target=draft.disk, start=old.start, old_end=old.end,
                new_end=new.end, identity=identity,
            )
        )  # fmt: skip
        draft.changed.append(Extent(old.start, max(old.end, new.end)))
        draft.warnings.append(_CUT)
    draft.layout = after
    if volume is not None:
        draft.contents[old.start] = replace(volume, end=new.end)
    draft.sentences.append(said)


def _has_that_size(draft: Draft, partition: Partition, *, to_most: bool) -> UsageError:
    if not to_most:
        return UsageError(f"Partition {partition.number} has that size already.")
    return UsageError(
        f"There is no free room behind partition {partition.number}: it cannot get larger where it is.",
        unused_end(draft.layout) or "Move, shrink or delete what is behind it first.",
    )


def _journal_place(draft: Draft, number: int, after: Layout, found: Layout) -> Extent:
    """Where the journal of a move is: where the disk is blank, if it is so anywhere. ``found`` is its table before the queue.

    Raises RefusedError: there is no room, or only before the first partition, where something is: boot loaders may be there.
    """
    places = journal_places(draft.layout, after)
    blank = next((place for place in places if draft.will_be_blank(place)), None)
    if blank is not None:
        return blank
    first = min((p.start for p in found.partitions), default=found.size)
    behind = [place for place in places if place.start >= first]
    # What is deleted, now or long ago, is known by its beginning or its end.
    ends = [(e.start, min(e.start + MIB, e.end)) for e in found.gaps] + [(max(e.end - MIB, e.start), e.end) for e in found.gaps]
    borders = ExtentMap(sorted([*signature_extents(found), *ends]))
    place = next((one for one in behind if not any(borders.overlapping(*one))), behind[0] if behind else None)
    if place is None:
        raise RefusedError(
            f"Partition {number} cannot be moved safely: there is no unallocated space for the journal of the move.",
            "Make another partition 1 MiB smaller first, or leave 1 MiB free behind this one's new place. What is not blank"
            " before the first partition is left alone: it may be a boot loader.",
        )
    held = next((p for p in found.data_partitions if p.start < place.end and place.start < p.end), None)
    whose = f": content of what was partition {held.number}" if held else ", of a deleted partition for example"
    draft.warnings.append(
        f"No unallocated space that can have the journal of the move is blank. {human_size(place.length)} at"
        f" {human_size(place.start)} are overwritten{whose}."
    )
    return place


def _move(draft: Draft, old: Partition, after: Layout, queue: tuple[str, ...], found: Layout) -> None:
    new = partition_of(after, old.number)
    if any(new.start < offset + 1 and offset < new.end for offset in link_offsets(draft.layout).values()):
        raise RefusedError(
            f"Partition {old.number} cannot move there: it would overwrite the description of a logical partition.",
            "Choose another place for it.",
        )
    draft.flush()
    place = _journal_place(draft, old.number, after, found)
    volume = draft.contents.pop(old.start, None)
    what = partition_words(old, volume)
    draft.steps.append(
        MoveVolume(
            title=f"Move partition {old.number}", target=draft.disk, number=old.number, before=draft.layout, after=after,
            identity=volume.identity if volume else Identity(), journal=place, queue=queue,
        )
    )  # fmt: skip
    draft.sentences.append(
        f"{what}: move it from {human_size(old.start)} to {human_size(new.start)}."
        " It can be interrupted: the same command goes on."
    )
    used = volume.used_bytes if volume else old.size
    draft.bytes += 2 * used
    draft.forget(new.start, new.end)
    if volume is not None:
        draft.contents[new.start] = replace(volume, start=new.start, end=new.end)
    draft.changed += [Extent(old.start, old.end), Extent(new.start, new.end)]
    draft.tables.append(after)
    draft.layout = draft.written = after


def plan_undo(target: DiskSurvey, file: str, *, done: bool = False) -> Plan:
    """Put the tables back that are kept in ``file``; ``done``: they are there already. Raises RefusedError."""
    refuse_unwritable(target)
    disk = target.disk
    said = f"Put the partition table of {disk_words(disk)} back as it is kept in {file}."
    if done:
        said = f"The partition table of {disk_words(disk)} is already as it is kept in {file}: there is nothing to do."
    return Plan(
        kind="partition",
        steps=(PutTableBack(title="Put the partition table back", target=disk.path, file=file),),
        sentences=(said,),
        command=("rescue", "partition", disk.path, "--undo", file),
        fingerprint=target.fingerprint,
        target=disk,
    )


def plan_repair(target: DiskSurvey, save: str, *, hybrid: bool) -> Plan:
    """Write both copies of a GPT and its protective MBR anew from the copy that is whole.

    ``hybrid``: the first sector describes partitions beside the GPT. Raises RefusedError.
    """
    refuse_unwritable(target)
    disk, layout = target.disk, target.layout
    if layout.label != "gpt":
        said = " ".join(table_problems(layout))
        raise RefusedError(
            f"{disk.title} has no GPT of which a copy is whole. {said}".rstrip(),
            f"Only a GPT is kept twice. Look for lost partitions with: rescue partition {disk.path} --search",
        )
    if not layout.problems:
        raise RefusedError(f"The GPT of {disk.title} is whole: there is nothing to repair.")
    if hybrid:
        raise RefusedError(
            f"The first sector of {disk.title} describes partitions beside its GPT (a hybrid MBR), which would be lost.",
            "Repair it with gdisk, which asks what to keep.",
        )
    sector = layout.sector_size
    # The array of a lost copy has as many entries as that of the other; standard ones take 16 KiB.
    last = align_down(layout.size, sector) - sector - align_up(16 * KIB, sector)
    after = replace(
        layout,
        usable_start=min([layout.usable_start, *(p.start for p in layout.partitions)]),
        usable_end=max([last, *(p.end for p in layout.partitions)]),
        problems=(),
    )
    steps = (
        SaveTables(
            title="Keep the damaged partition table", target=disk.path, file=save, before=layout, layouts=(after,), changed=()
        ),
        SetTable(title=f"Write the partition table of {disk.path}", target=disk.path, before=layout, after=after),
    )
    return Plan(
        kind="partition",
        steps=steps,
        sentences=(
            f"Keep the damaged partition table of {disk_words(disk)} in {save}.",
            f"Write both copies of the GPT and its protective MBR anew, with the {len(layout.partitions)} partitions of the copy"
            " that is whole.",
        ),
        warnings=layout.problems,
        command=("rescue", "partition", disk.path, "--repair"),
        fingerprint=target.fingerprint,
        target=disk,
    )


def layouts_of(plan: Plan) -> tuple[Layout, Layout] | None:
    """The table before and after a plan that edits it."""
    tables: Sequence[Layout] = [
        layout for step in plan.steps if isinstance(step, SetTable | MoveVolume) for layout in (step.before, step.after)
    ]
    return (tables[0], tables[-1]) if tables else None
