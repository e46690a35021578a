"""The snapshots of a volume group (not those of thin pools): a volume at an earlier moment, and what was changed since."""

from __future__ import annotations

from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.volumes.lvm_group import Group, LogicalVolume
from rescue.volumes.overlaid import Overlaid
from rescue.volumes.placed import Placed, Window
from rescue.volumes.snapshot_store import read_snapshot_store

SNAPSHOT: Final = "snapshot"


class SnapshotParts(msgspec.Struct, frozen=True):
    """What a snapshot of ``size`` bytes is made of, by the names of volumes. People know it by the name of its store."""

    size: int
    origin: str
    store: str


def snapshot_parts(group: Group, volume: LogicalVolume) -> SnapshotParts | None:
    """Of the volume that describes a snapshot its parts; None for any other, and while it is merged back."""
    if [segment.type for segment in volume.segments] != [SNAPSHOT]:
        return None
    segment = volume.segments[0]
    origin, store = segment.said.get("origin"), segment.said.get("cow_store")
    if not isinstance(origin, str) or not isinstance(store, str):
        return None
    return SnapshotParts(segment.extents * group.extent_size, origin, store)


def snapshot(parts: SnapshotParts, origin: Placed, store: Placed) -> Placed:
    """The snapshot. Raises FormatError, UnsupportedError (it overflowed), SourceReadError."""
    if origin.size < parts.size:
        raise UnsupportedError("It is a snapshot of a volume that was larger.")
    read = read_snapshot_store(store)
    if read.used > store.size:
        raise FormatError("store of a snapshot: it leaves its volume.")
    return Overlaid(parts.size, read.changed, store, Window(origin, 0, parts.size), [(0, read.used)])
