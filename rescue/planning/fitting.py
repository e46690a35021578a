"""Plan a restore or clone onto a disk that the partitions have to be fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from rescue.errors import RefusedError
from rescue.model.disk import Disk
from rescue.model.fit import NO_WISHES, DoesNotFitError, FitMode, Fitted, FitVolume, FitWish, FitWishes, Placement
from rescue.model.fitting import FitDisk, FitHow, FitReadBack, FitTable, FittedVolume, FitVolumes
from rescue.model.layout import Layout, Partition
from rescue.model.plan import Plan, Step
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Identity, Volume
from rescue.planning.fit import fit
from rescue.planning.fit_kinds import is_fixed
from rescue.planning.restore import complete_image
from rescue.planning.verify import image_words
from rescue.planning.words import disk_words, losses_of, partition_words, volume_of, whole_warnings
from rescue.planning.writable import refuse_other_sectors, refuse_unwritable
from rescue.units import GIB, MIB, human_size

REFILLED: Final = frozenset({"xfs", "vfat", "exfat"})  # no program makes them smaller
GROWABLE: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "f2fs"})


@dataclass(frozen=True, slots=True)
class FitSource:
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


@dataclass(frozen=True, slots=True)
class FitChoice:
    """How it is fitted. ``minimums``: bytes by partition that a volume can be shrunk to; without one it keeps its size."""

    kind: Literal["restore", "clone"]
    mode: FitMode
    minimums: Mapping[int, int]
    verify: bool = True
    delta: bool | None = None
    wishes: FitWishes = NO_WISHES


def needs_fit(source_size: int, target_size: int, mode: FitMode | None, wishes: FitWishes = NO_WISHES) -> bool:
    """Whether partitions may have to change: asked for, or the target is smaller and nobody said that all must stay."""
    return wishes.changes or mode in ("auto", "keep") or (mode is None and target_size < source_size)


def may_shrink(source_size: int, target_size: int, wishes: FitWishes) -> bool:
    """Whether it must be known how small volumes can get."""
    return wishes.changes or target_size < source_size


def plan_fit(source: FitSource, target: DiskSurvey, choice: FitChoice) -> Plan:
    """Erase the target, write each volume to its new place, smaller or larger, prove it, and let it fill its partition.

    Raises RefusedError, DoesNotFitError (by how many bytes, and which partition is the reason).
    """
    disk = target.disk
    refuse_unwritable(target)
    refuse_other_sectors(disk, source.disk.logical_sector_size, f"{source.words} has sectors of")
    volumes = {volume.partition: volume for volume in source.volumes}
    fitted = fit_source(source, disk.size, choice)
    placed = tuple(
        _placed(placement, volumes[placement.number]) for placement in fitted.placements if placement.number in volumes
    )
    kept = [volumes[placement.number] for placement in fitted.placements if placement.number in volumes]
    used = source.used_bytes - sum(volume.used_bytes for volume in source.volumes if volume not in kept)
    after = tuple(volume for volume in placed if volume.grows or volume.target_start != volume.start)
    name = source.image or source.disk.path
    steps: list[Step] = [
        FitDisk(
            title="Write the data", image=source.image, source=source.disk, target=disk.path, layout=fitted.layout,
            volumes=placed, folder=choice.wishes.overlay, delta=choice.delta,
        ),
        FitTable(title="Write the partition table", target=disk.path),
    ]  # fmt: skip
    verb = "Write" if choice.kind == "restore" else "Copy"
    sentences = [
        f"Erase everything on {disk_words(disk)}.",
        f"{verb} {source.words}: {human_size(used)} of data, fitted to {human_size(disk.size)}."
        f" The {'image' if source.image else 'disk'} itself is not changed.",
        *_changes(source, fitted),
        "Write the partition table last, so that a half-written disk does not look like a whole one.",
    ]
    warnings = [*source.layout.problems, *fitted.notes, *_left_out(source, fitted)]
    warnings += whole_warnings(source.layout, kept)
    warnings += _windows_on_mbr(source, fitted)
    if choice.kind == "clone":
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
                sector_size=source.layout.sector_size,
                volumes=after,
            )
        )
        sentences.append("Make file systems that got more room fill it, and check each by its own program.")
    command = ["rescue", choice.kind, name, disk.path, "--fit", choice.mode, *wish_options(choice.wishes)]
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


def fit_source(source: FitSource, size: int, choice: FitChoice) -> Fitted:
    """The layout for a target of ``size`` bytes. Swap space, which holds nothing, gives way when there is no other way.

    Raises DoesNotFitError, RefusedError for a size that a partition cannot have, UsageError for wishes that make no sense.
    """
    volumes = {volume.partition: volume for volume in source.volumes}
    bears = [_bears(p, volumes.get(p.number), choice.minimums) for p in source.layout.data_partitions]
    try:
        return fit(source.layout, bears, size, source.layout.sector_size, choice.mode, choice.wishes.volumes, choice.wishes.order)
    except DoesNotFitError:
        swaps = {number for number, volume in volumes.items() if volume.identity.type == "swap"}
        released = [replace(volume, fixed=volume.fixed and volume.partition not in swaps) for volume in bears]
        if released == bears:
            raise
        return fit(
            source.layout, released, size, source.layout.sector_size, choice.mode, choice.wishes.volumes, choice.wishes.order
        )


def _bears(partition: Partition, volume: Volume | None, minimums: Mapping[int, int]) -> FitVolume:
    identity = volume.identity if volume else Identity("")
    whole = volume is None or bool(volume.whole_because)
    return FitVolume(
        partition.number,
        partition.size if whole else min(minimums.get(partition.number, partition.size), partition.size),
        can_grow=not whole and identity.type in GROWABLE,
        fixed=is_fixed(partition, identity),
    )


def _placed(placement: Placement, volume: Volume) -> FittedVolume:
    return FittedVolume(
        placement.number,
        placement.target_number,
        placement.source_start,
        placement.source_end,
        placement.target_start,
        placement.target_end,
        volume.identity.type,
        _how(placement, volume),
        grows=placement.grows and volume.identity.type in GROWABLE,
    )


def _how(placement: Placement, volume: Volume) -> FitHow:
    if not placement.shrinks:
        return "copy"
    return "refill" if volume.identity.type in REFILLED else "shrink"


def _changes(source: FitSource, fitted: Fitted) -> list[str]:
    """A sentence for each partition that changes."""
    kinds = {volume.partition: volume.identity.type for volume in source.volumes}
    said = []
    for place in fitted.placements:
        old, new = place.source_end - place.source_start, place.target_end - place.target_start
        if new != old:
            how = "smaller" if new < old else "larger"
            kind = kinds.get(place.number, "")
            anew = (
                f" Its {kind} is made anew, with the same UUID, and filled by its files."
                if new < old and kind in REFILLED
                else ""
            )
            said.append(f"Partition {place.target_number} becomes {how}: {human_size(old)} → {human_size(new)}.{anew}")
        elif place.moves:
            said.append(f"Partition {place.target_number} ({human_size(new)}) moves to {human_size(place.target_start)}.")
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
