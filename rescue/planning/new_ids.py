"""New identifiers for a disk that is written from another one: which, and what cannot get one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec

from rescue.errors import RefusedError
from rescue.model.fitting import FitIds, FittedVolume, NewId
from rescue.model.layout import Layout, Partition
from rescue.model.volume import Volume
from rescue.planning.words import content_words
from rescue.records import replace

RENEWED: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "vfat", "exfat", "swap"})


class Renewed(msgspec.Struct, frozen=True):
    """The target's table with new identifiers, the step that gives file systems theirs, and sentences on what keeps its own."""

    layout: Layout
    step: FitIds
    warnings: tuple[str, ...]


def renewed(
    source: Layout, target: Layout, placed: Sequence[FittedVolume], volumes: Sequence[Volume], new_id: Callable[[], UUID]
) -> Renewed:
    """New identifiers for all on ``target``, the fitted layout. Raises RefusedError for a disk without a partition table."""
    if target.label == "none":
        raise RefusedError(
            "A disk without a partition table cannot get new identifiers: half written it would look like a whole one.",
            "Leave --new-ids out.",
        )
    layout = _renewed_table(target, new_id)
    new_of = {p.number: p for p in layout.partitions}
    old_of = {p.number: p for p in source.partitions}
    by_number = {volume.partition: volume for volume in volumes}
    references, found, kept, warnings = [(source.id, layout.id)], [], [], []
    for place in placed:
        old, volume = old_of[place.partition], by_number[place.partition]
        references.append((_partuuid(old, source), _partuuid(new_of[place.target_partition], layout)))
        kind, uuid = volume.identity.type, volume.identity.uuid
        new = ""
        if kind in RENEWED and uuid and not volume.whole_because:
            new = fresh(kind, new_id)
            references.append((uuid, new))
        elif kind:
            why = f" {volume.whole_because}" if kind in RENEWED and volume.whole_because else ""
            what = content_words(volume.identity)
            kept.append(place.target_partition)
            warnings.append(
                f"Partition {place.target_partition} ({what}) keeps its identifiers: no program here changes them.{why}"
            )
        if kind and not volume.whole_because:
            found.append(NewId(place.target_partition, place.target_start, place.target_end, kind, uuid, new))
    if any(volume.filesystem == "ntfs" for volume in placed):
        warnings.append(
            "Windows finds its partitions by the identifiers of disk and partitions. It does not start from the target until its"
            " startup repair has run."
        )
    pairs = tuple(dict.fromkeys((old, new) for old, new in references if old and new))
    step = FitIds(
        title="Give it identifiers of its own", target="", sector_size=layout.sector_size, volumes=tuple(found), references=pairs,
        kept=tuple(kept),
    )  # fmt: skip
    return Renewed(layout, step, tuple(warnings))


def _renewed_table(layout: Layout, new_id: Callable[[], UUID]) -> Layout:
    if layout.label == "gpt":
        parts = tuple(replace(p, uuid=str(new_id()).upper()) for p in layout.partitions)
        return replace(layout, id=str(new_id()).upper(), partitions=parts)
    disk = f"{new_id().int & 0xFFFFFFFF or 1:08x}"
    return replace(layout, id=disk, partitions=tuple(replace(p, uuid=f"{disk}-{p.number:02x}") for p in layout.partitions))


def _partuuid(partition: Partition, layout: Layout) -> str:
    """As Linux calls it: PARTUUID."""
    return partition.uuid.lower() or (f"{layout.id}-{partition.number:02x}" if layout.label == "dos" else "")


def fresh(kind: str, new_id: Callable[[], UUID]) -> str:
    """A new UUID, written as blkid writes those of this file system."""
    new = new_id()
    match kind:
        case "vfat" | "exfat":
            serial = f"{new.int & 0xFFFFFFFF or 1:08X}"
            return f"{serial[:4]}-{serial[4:]}"
        case "ntfs":
            return f"{new.int & (1 << 64) - 1 or 1:016X}"
        case _:
            return str(new)
