"""Plan a restore or clone onto a disk that the partitions have to be fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal
from uuid import UUID, uuid4

import msgspec

from rescue.errors import RefusedError, UsageError
from rescue.model.container import Bears
from rescue.model.disk import Disk
from rescue.model.fit import NO_WISHES, DoesNotFitError, FitMode, Fitted, FitVolume, FitWish, FitWishes, Placement, SectorFit
from rescue.model.fitting import FitDisk, FitHow, FitReadBack, FitTable, FittedVolume, FitVolumes
from rescue.model.layout import HYBRID_MBR, LabelKind, Layout, Partition
from rescue.model.plan import Plan, Step
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Identity, Volume
from rescue.planning.convert import KINDS, label_warnings
from rescue.planning.fit import fit
from rescue.planning.fit_containers import container_bears, inner_sizes, inner_words, kept_sizes, still_whole
from rescue.planning.fit_kinds import gives_way, is_fixed
from rescue.planning.label import converted
from rescue.planning.new_ids import renewed
from rescue.planning.restore import complete_image
from rescue.planning.verify import image_words
from rescue.planning.words import (
    content_words,
    disk_words,
    losses_of,
    partition_words,
    role_words,
    volume_of,
    whole_warnings,
)
from rescue.planning.writable import refuse_mbr_of_file, refuse_other_sectors, refuse_unwritable, target_sectors
from rescue.records import replace
from rescue.units import GIB, MIB, human_size

REFILLED: Final = frozenset({"xfs", "f2fs", "vfat", "exfat"})  # no program makes them smaller
_PLACED_BY_SECTOR: Final = frozenset({"vfat", "exfat", "ntfs"})  # their boot sectors name their place
GROWABLE: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "f2fs"})
_OWN_IDS: Final = (
    "Give the disk, its partitions and its file systems identifiers of their own, and let fstab, crypttab and the configuration"
    " of GRUB and systemd-boot on it follow. After that the partition table is written."
)
_AFTERWARDS: Final = (
    "Make file systems that got more room fill it, let boot sectors name their new places, and check each by its own program."
)


class FitSource(msgspec.Struct, frozen=True):
    """What is fitted: an image, or the disk itself when ``image`` is "". ``words`` name it in sentences."""

    image: str
    words: str
    disk: Disk
    layout: Layout
    volumes: tuple[Volume, ...]
    used_bytes: int


def fit_source_of(image: ImageSummary) -> FitSource:
    """An image as what is fitted. Raises as complete_image."""
    disk = complete_image(image)
    layout = image.layout
    if layout is None:
        raise RefusedError(
            f"The image {image.name} does not say what is on the disk.", "Choose a disk that is at least as large."
        )
    return FitSource(image.path, image_words(image), disk, layout, image.volumes, image.used_bytes)


class FitChoice(msgspec.Struct, frozen=True):
    """How it is fitted. ``minimums``: bytes by partition that a volume can be shrunk to; without one it keeps its size.

    ``sectors``: what sectors of another size ask of each volume; None where the target has the same. ``refillable``: the
    partitions with a FAT32 or exFAT that can be made anew in a larger one, by what is in it. ``containers``: what LUKS and LVM
    bear, of which those in ``unlock`` were opened by a passphrase.
    """

    kind: Literal["restore", "clone"]
    mode: FitMode
    minimums: Mapping[int, int]
    verify: bool = True
    delta: bool | None = None
    wishes: FitWishes = NO_WISHES
    sectors: Mapping[int, SectorFit] | None = None
    refillable: frozenset[int] = frozenset()
    new_id: Callable[[], UUID] = uuid4
    containers: Mapping[int, Bears] = msgspec.field(default_factory=dict)
    unlock: tuple[int, ...] = ()


def needs_fit(
    source_size: int, target_size: int, mode: FitMode | None, wishes: FitWishes = NO_WISHES, label: LabelKind = "none"
) -> bool:
    """Whether partitions may have to change: asked for, or the target is smaller and nobody said that all must stay.

    ``label`` is the kind of the source's table.
    """
    if wishes.table not in ("", label) or wishes.new_ids:
        return True
    return wishes.changes or mode in ("auto", "keep") or (mode is None and target_size < source_size)


def fit_mode(source_size: int, target_size: int, mode: FitMode | None, wishes: FitWishes) -> FitMode:
    """The mode of a fit for which none was named: a larger disk is not filled unless somebody asked for a change."""
    return mode or ("auto" if wishes.changes or target_size < source_size else "keep")


def may_grow(source_size: int, target_size: int, wishes: FitWishes) -> bool:
    """Whether volumes may get more room than they have."""
    return wishes.changes or target_size > source_size


def may_shrink(source_size: int, target_size: int, wishes: FitWishes) -> bool:
    """Whether it must be known how small volumes can get."""
    return wishes.changes or bool(wishes.table) or target_size < source_size


def plan_fit(source: FitSource, target: DiskSurvey, choice: FitChoice) -> Plan:
    """Erase the target, write each volume to its new place, smaller or larger, prove it, and let it fill its partition.

    Raises RefusedError, DoesNotFitError (by how many bytes, and which partition is the reason).
    """
    disk = target.disk
    refuse_unwritable(target)
    sector_size = target_sectors(disk, source.layout.sector_size, choice.wishes.sector_size)
    other_sectors = sector_size != source.layout.sector_size
    if other_sectors and choice.sectors is None:
        refuse_other_sectors(disk, source.layout.sector_size, f"{source.words} has sectors of")
    volumes = {volume.partition: volume for volume in source.volumes}
    fitted = fit_source(source, disk.size, choice, sector_size)
    if fitted.layout.label != source.layout.label and not choice.wishes.sector_size:
        refuse_mbr_of_file(disk, fitted.layout, "have the file for sectors of 512 bytes: --sector-size 512")
    _refuse_for_sectors(source, fitted, choice, disk)
    placed = tuple(
        _placed(placement, volumes[placement.number], choice, sector_size)
        for placement in fitted.placements
        if placement.number in volumes
    )
    kept = [volumes[placement.number] for placement in fitted.placements if placement.number in volumes]
    used = source.used_bytes - sum(volume.used_bytes for volume in source.volumes if volume not in kept)
    after = tuple(volume for volume in placed if _is_changed_afterwards(volume, other_sectors))
    name = source.image or source.disk.path
    own = renewed(source.layout, fitted.layout, placed, source.volumes, choice.new_id) if choice.wishes.new_ids else None
    steps: list[Step] = [
        FitDisk(
            title="Write the data", image=source.image, source=source.disk, target=disk.path,
            layout=own.layout if own else fitted.layout, volumes=placed, folder=choice.wishes.overlay, delta=choice.delta,
        ),
    ]  # fmt: skip
    table = FitTable(title="Write the partition table", target=disk.path)
    if own is None:
        steps.append(table)
    verb = "Write" if choice.kind == "restore" else "Copy"
    sentences = [
        f"Erase everything on {disk_words(disk)}.",
        f"{verb} {source.words}: {human_size(used)} of data, fitted to {human_size(disk.size)}."
        f" The {'image' if source.image else 'disk'} itself is not changed.",
        *_changes(source, fitted, placed),
        "Write the partition table last, so that a half-written disk does not look like a whole one.",
    ]
    warnings = [*source.layout.problems, *fitted.notes, *_left_out(source, fitted)]
    if HYBRID_MBR in source.layout.problems:
        warnings.append(
            "The target gets a plain GPT: a system that needs the second description (an old Mac's) will not find it."
        )
    warnings += whole_warnings(source.layout, still_whole(kept, choice.containers))
    warnings += kept_sizes(source.layout, kept, choice.containers)
    warnings += _windows_on_mbr(source, fitted)
    if fitted.layout.label != source.layout.label:
        was, becomes = KINDS[source.layout.label], KINDS[fitted.layout.label]
        sentences.insert(2, f"Make its partition table {becomes}; it was {was}.")
        warnings += label_warnings(source.layout, fitted.layout.label, follows=own is not None)
    if other_sectors:
        old_size = source.layout.sector_size
        sentences.insert(2, f"Write its partition table anew, for sectors of {sector_size} bytes; it was for {old_size}.")
        warnings += _sector_warnings(source, kept)
    if choice.kind == "clone" and own is None:
        warnings.append(
            "The two disks will have the same identifiers. Take one of them out before a system is started from either, or it may"
            " use the wrong one."
        )
    if choice.verify:
        steps.append(FitReadBack(title="Read back and compare", target=disk.path))
        sentences.append("Read everything back from the disk and compare it with the hashes of what was read.")
    else:
        warnings.append("What is written will not be read back and compared.")
    if after:
        steps.append(
            FitVolumes(
                title="Let file systems fill their partitions",
                target=disk.path,
                sector_size=sector_size,
                volumes=after,
            )
        )
        sentences.append(_AFTERWARDS)
    if own is not None:
        # Last of all comes the table: cut off in between, the target looks like no disk that could be started.
        steps += [replace(own.step, target=disk.path), table]
        warnings += own.warnings
        sentences.append(_OWN_IDS)
    command = ["rescue", choice.kind, name, disk.path, "--fit", choice.mode, *wish_options(choice.wishes)]
    for number in choice.unlock:
        command += ["--unlock", str(number)]
    if choice.delta is not None:
        command.append("--delta" if choice.delta else "--no-delta")
    if not choice.verify:
        command.append("--no-verify")
    return Plan(
        kind=choice.kind,
        steps=tuple(steps),
        sentences=tuple(sentences),
        losses=losses_of(target),
        warnings=tuple(warnings),
        command=tuple(command),
        fingerprint=target.fingerprint,
        target=disk,
        source=None if source.image else source.disk,
        estimated_bytes=used * (2 if choice.verify else 1),
    )


def fit_source(source: FitSource, size: int, choice: FitChoice, sector_size: int = 0) -> Fitted:
    """The layout for a target of ``size`` bytes with sectors of ``sector_size`` bytes (0: those of the source).

    Swap space, which holds nothing, gives way when there is no other way; then what is small and active on an MBR.
    Raises DoesNotFitError, RefusedError for a size that a partition cannot have, UsageError for wishes that make no sense.
    """
    sector_size = sector_size or source.layout.sector_size
    layout, new_of, wishes = _of_kind(source, choice)
    volumes = {new_of[volume.partition]: volume for volume in source.volumes if volume.partition in new_of}
    minimums = {new_of[number]: size for number, size in choice.minimums.items() if number in new_of}
    refillable = frozenset(new_of[number] for number in choice.refillable if number in new_of)
    containers = {new_of[number]: found for number, found in choice.containers.items() if number in new_of}
    places = layout.data_partitions or _bare(layout, volumes, choice)
    needed = {new_of[number]: asked.needed for number, asked in (choice.sectors or {}).items() if number in new_of}
    bears = [_bears(p, volumes.get(p.number), minimums, refillable, containers, needed.get(p.number, 0)) for p in places]
    stages = {p.number: gives_way(p, volumes[p.number].identity) for p in places if p.number in volumes}

    def attempt(stage: int) -> Fitted:
        asked = [replace(b, fixed=b.fixed and not 0 < stages.get(b.partition, 0) <= stage) for b in bears]
        return fit(layout, asked, size, sector_size, choice.mode, wishes.volumes, wishes.order)

    try:
        found = _first_that_fits(attempt, sorted({0, *stages.values()}))
    except DoesNotFitError as error:
        raise _with_reason(error, volumes.get(error.partition)) from None
    if source.layout.data_partitions and not found.placements:
        raise UsageError("All partitions are left out: nothing would be written.", "To empty a disk: rescue wipe.")
    old_of = {new: old for old, new in new_of.items()}
    return replace(found, placements=tuple(replace(place, number=old_of[place.number]) for place in found.placements))


def _first_that_fits(attempt: Callable[[int], Fitted], stages: Sequence[int]) -> Fitted:
    for stage in stages[:-1]:
        with suppress(DoesNotFitError):
            return attempt(stage)
    return attempt(stages[-1])


def _with_reason(error: DoesNotFitError, volume: Volume | None) -> DoesNotFitError:
    """The same, and why the volume that is to blame cannot be made smaller."""
    if volume is None or not volume.whole_because:
        return error
    locked = volume.identity.usage == "crypto" and volume.partition
    hint = f"{error.hint} With its passphrase it can be made smaller: --unlock {volume.partition}." if locked else error.hint
    message = f"{error.message} {volume.whole_because}"
    return DoesNotFitError(message, hint, short=error.short, partition=error.partition, needed=error.needed)


def _bare(layout: Layout, volumes: Mapping[int, Volume], choice: FitChoice) -> tuple[Partition, ...]:
    """What fills a disk without a table, as if it were a partition, when it can have another size.

    Its beginning is written last, so that what is half there looks like nothing. So it is not when it gets a UUID of its own
    before that.
    """
    if layout.label != "none" or 0 not in volumes or choice.wishes.new_ids:
        return ()
    return (Partition(0, 0, layout.size, ""),)


def _of_kind(source: FitSource, choice: FitChoice) -> tuple[Layout, dict[int, int], FitWishes]:
    """The source's table as one of the wanted kind, the new numbers by the old ones, and the wishes by the new ones."""
    layout, wishes = source.layout, choice.wishes
    if not wishes.table or wishes.table == layout.label:
        return layout, {0: 0} | {p.number: p.number for p in layout.data_partitions}, wishes
    gone = {wish.partition for wish in wishes.volumes if wish.kind == "leave-out"}
    for number in (*gone, *(wish.partition for wish in wishes.volumes), *wishes.order):
        if not any(p.number == number for p in layout.data_partitions):
            raise UsageError(f"There is no partition {number} to be fitted.")
    contents = {volume.partition: volume.identity for volume in source.volumes}
    made = converted(layout, wishes.table, choice.new_id, gone, contents)
    new_of = dict(made.numbers)
    asked = tuple(replace(w, partition=new_of[w.partition]) for w in wishes.volumes if w.partition in new_of)
    order = tuple(new_of[number] for number in wishes.order if number in new_of)
    return made.layout, new_of, replace(wishes, volumes=asked, order=order)


def _bears(
    partition: Partition,
    volume: Volume | None,
    minimums: Mapping[int, int],
    refillable: frozenset[int],
    containers: Mapping[int, Bears],
    needed: int,
) -> FitVolume:
    """``needed``: what sectors of another size make it take, 0 where they do not."""
    identity = volume.identity if volume else Identity("")
    if partition.number in containers:
        return container_bears(partition.number, containers[partition.number], fixed=is_fixed(partition, identity))
    whole = volume is None or bool(volume.whole_because)
    return FitVolume(
        partition.number,
        max(partition.size if whole else min(minimums.get(partition.number, partition.size), partition.size), needed),
        can_grow=not whole and (identity.type in GROWABLE or partition.number in refillable),
        fixed=is_fixed(partition, identity),
    )


def _placed(placement: Placement, volume: Volume, choice: FitChoice, sector_size: int) -> FittedVolume:
    asked = (choice.sectors or {}).get(placement.number, SectorFit("copy")).how
    grown = placement.grows and placement.number in choice.refillable
    how = "refill" if asked == "refill" or grown else _how(placement, volume, choice)
    size = placement.target_end - placement.target_start
    inside = inner_sizes(choice.containers[placement.number], size) if how == "rebuild" else ()
    return FittedVolume(
        placement.number,
        placement.target_number,
        placement.source_start,
        placement.source_end,
        placement.target_start,
        placement.target_end,
        volume.identity.type,
        how,
        grows=placement.grows and volume.identity.type in GROWABLE and how != "refill",
        sector_size=sector_size if asked in ("refill", "patch") else 0,
        inside=inside,
    )


def _how(placement: Placement, volume: Volume, choice: FitChoice) -> FitHow:
    if placement.number in choice.containers:
        return "rebuild" if placement.grows or placement.shrinks else "copy"
    if not placement.shrinks:
        return "copy"
    return "refill" if volume.identity.type in REFILLED else "shrink"


def _is_changed_afterwards(volume: FittedVolume, other_sectors: bool) -> bool:
    is_named = other_sectors and volume.filesystem in _PLACED_BY_SECTOR
    return volume.grows or volume.target_start != volume.start or is_named


def _other(sector_size: int) -> int:
    return 4096 if sector_size == 512 else 512


def _refuse_for_sectors(source: FitSource, fitted: Fitted, choice: FitChoice, disk: Disk) -> None:
    """Raise RefusedError for the first volume that cannot be on sectors of another size."""
    for placement in fitted.placements:
        asked = (choice.sectors or {}).get(placement.number)
        size = placement.target_end - placement.target_start
        if asked is not None and (asked.how == "refuse" or asked.needed > size):
            partition = next((p for p in source.layout.partitions if p.number == placement.number), None)
            volume = next((v for v in source.volumes if v.partition == placement.number), None)
            what = partition_words(partition, volume) if partition else "What is on the disk"
            raise RefusedError(
                f"{what}: cannot be put onto {disk.title}, whose sectors have {_other(source.layout.sector_size)} bytes and not"
                f" {source.layout.sector_size}. {asked.because}",
                f"Leave the partition out (--leave-out {placement.number}), or choose a disk with the same sectors."
                if partition
                else "Choose a disk with the same sectors.",
            )


def _sector_warnings(source: FitSource, kept: Sequence[Volume]) -> list[str]:
    """What may not work on a disk with other sectors."""
    said = [
        "Boot loaders of BIOS computers do not work on sectors of another size, and are not written. Computers with UEFI start"
        " from the disk."
    ]
    for volume in kept:
        partition = next((p for p in source.layout.partitions if p.number == volume.partition), None)
        if not volume.identity.type and not (partition and role_words(partition)):
            said.append(f"What is in partition {volume.partition} is not known. It is copied as it is, and may not work there.")
    return said


def _changes(source: FitSource, fitted: Fitted, placed: Sequence[FittedVolume]) -> list[str]:
    """A sentence for each partition that changes."""
    by_number = {volume.partition: volume for volume in placed}
    said = []
    for place in fitted.placements:
        old, new = place.source_end - place.source_start, place.target_end - place.target_start
        volume = by_number.get(place.number)
        what = f"Partition {place.target_number}" if place.target_number else "The file system"
        anew = ""
        if volume and volume.how == "refill":
            anew = f" Its {content_words(Identity(volume.filesystem))} is made anew, with the same UUID, and filled by its files."
        elif volume and volume.sector_size:
            anew = f" Its {content_words(Identity(volume.filesystem))} is made to count in the new sectors."
        if new != old:
            said.append(f"{what} becomes {'smaller' if new < old else 'larger'}: {human_size(old)} → {human_size(new)}.{anew}")
        elif place.moves:
            said.append(f"{what} ({human_size(new)}) moves to {human_size(place.target_start)}.{anew}")
        elif anew:
            said.append(f"{what} ({human_size(new)}) keeps its place.{anew}")
        if volume is not None:
            said += inner_words(volume)
        if place.target_number != place.number:
            said.append(f"Partition {place.number} of the source becomes partition {place.target_number}.")
    if not said and fitted.layout.size != source.layout.size:
        said.append("All partitions keep their sizes and places.")
    return said


def _left_out(source: FitSource, fitted: Fitted) -> list[str]:
    """A sentence for each partition that is not to be on the target."""
    kept = {place.number for place in fitted.placements}
    gone = [p for p in source.layout.data_partitions if p.number not in kept]
    return [f"{partition_words(p, volume_of(p, source.volumes))}: is left out, and will not be on the target." for p in gone]


def wish_options(wishes: FitWishes) -> list[str]:
    """The wishes as they are written on the command line."""
    options = []
    for wish in wishes.volumes:
        options += ["--leave-out", str(wish.partition)] if wish.kind == "leave-out" else ["--size", _size_option(wish)]
    if wishes.order:
        options += ["--order", ",".join(map(str, wishes.order))]
    if wishes.table:
        options += ["--table", "gpt" if wishes.table == "gpt" else "mbr"]
    if wishes.new_ids:
        options.append("--new-ids")
    if wishes.sector_size:
        options += ["--sector-size", str(wishes.sector_size)]
    return [*options, "--overlay", wishes.overlay] if wishes.overlay else options


def _size_option(wish: FitWish) -> str:
    match wish.kind:
        case "keep":
            said = "same"
        case "exactly" | "at-least":
            unit, name = next(((u, n) for u, n in ((GIB, "GiB"), (MIB, "MiB")) if wish.size % u == 0), (1, ""))
            said = f"{wish.size // unit}{name}{'+' if wish.kind == 'at-least' else ''}"
        case other:
            said = other
    return f"{wish.partition}={said}"


def _windows_on_mbr(source: FitSource, fitted: Fitted) -> list[str]:
    moved = {place.number for place in fitted.placements if place.moves}
    found = [v.partition for v in source.volumes if v.identity.type == "ntfs" and v.partition in moved]
    if source.layout.label != "dos" or not found:
        return []
    return [
        f"Partition {found[0]} moves. If Windows is started from it: on a disk with an MBR it looks for its partitions by their"
        " place, and needs its own startup repair then."
    ]
