"""What the gaps in an image, or in what was restored from one, cost: by volume and file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rescue.filesystems.owners import owners
from rescue.model.damage import VolumeDamage
from rescue.model.extents import ExtentMap
from rescue.model.source import SliceSource, Source
from rescue.model.text import shown
from rescue.model.volume import Volume

SECONDS: Final = 120.0  # for each volume


def damage_of(disk: Source, volumes: Sequence[Volume], bad: ExtentMap, *, seconds: float = SECONDS) -> tuple[VolumeDamage, ...]:
    """What the bytes ``bad`` of a disk cost; they are never read. Takes at most about ``seconds`` for each volume."""
    found = []
    for volume in volumes:
        inside = bad.clip(volume.start, volume.end).shift(-volume.start)
        if not inside:
            continue
        damage = owners(SliceSource(disk, volume.start, volume.end), volume.identity, inside, seconds=seconds)
        names, notes = tuple(map(shown, damage.files)), tuple(map(shown, damage.notes))
        costs = (damage.file_bytes, damage.metadata, damage.free, damage.unknown)
        found.append(VolumeDamage(volume.partition, inside.total, names, damage.unnamed, *costs, notes))
    outside = bad.difference(ExtentMap(sorted((volume.start, volume.end) for volume in volumes)))
    if outside:
        found.append(VolumeDamage(-1, outside.total))
    return tuple(found)
