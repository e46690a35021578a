"""The logical volumes of a group as Sources over its physical volumes.

Linear, striped, RAID 1 that is in order, thin volumes, snapshots and their origins. Of all others (caches, VDO, other RAID)
every extent is kept: what is used of those cannot be told from what lies on one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from rescue.errors import FormatError, RescueError, SourceReadError, UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.model.extents import ExtentMap
from rescue.volumes.elsewhere import MISSING
from rescue.volumes.lvm_group import Group, LogicalVolume, Segment
from rescue.volumes.lvm_snapshot import snapshot, snapshot_parts
from rescue.volumes.lvm_thin import POOL, Pools
from rescue.volumes.lvm_thin import VOLUME as THIN
from rescue.volumes.placed import Joined, Mirrored, Placed, Striped, Window, joined

# What does not change where the bytes of a volume are; with any other word it is kept whole.
_HARMLESS: Final = frozenset({"READ", "WRITE", "VISIBLE", "FIXED_MINOR", "ACTIVATION_SKIP"})
_REASONS: Final = {
    "thin-pool": "It is a thin pool.",
    "thin": "It is in a thin pool, which is kept whole.",
    "cache": "It is cached by another volume.",
    "writecache": "It is cached by another volume.",
    "cache-pool": "It is a cache.",
    "vdo": "It is in a VDO pool, which is kept whole.",
    "vdo-pool": "It is a VDO pool.",
    "mirror": "It is a mirror of the old kind.",
    "snapshot": "It is a snapshot.",
    "integrity": "It has checksums of its own (dm-integrity).",
}
_NOT_UNDERSTOOD: Final = (UnsupportedError, FormatError, SourceReadError)
_NEEDED: Final = "Another volume of its group needs it as it is (a snapshot, a cache or a pool)."
# drivers/md/dm-raid.c, struct dm_raid_superblock
_RAID_MAGIC: Final = 0x64526D44
_IN_SYNC: Final = (1 << 64) - 1


class Logical(msgspec.Struct, frozen=True):
    """A volume that people see. Without a ``source`` it is kept whole, which ``whole_because`` explains. ``size`` in bytes.

    ``used`` are the bytes of it that are kept, where that is known without looking into it (of a thin pool).
    """

    name: str
    size: int
    source: Placed | None
    whole_because: str = ""
    used: ExtentMap | None = None


class Volumes(msgspec.Struct):
    """The volumes of a group, and the bytes of each physical volume (by its key) that are kept whatever is in them."""

    logical: list[Logical] = msgspec.field(default_factory=list)
    whole: dict[str, ExtentMap] = msgspec.field(default_factory=dict)


def logical_volumes(group: Group, members: Mapping[str, Placed]) -> Volumes:
    """Put the volumes of a group together from the physical volumes that are here, by their keys.

    Raises UnsupportedError when a volume of the group is of a type of which nothing is known, so that what it takes is not.
    Raises SourceReadError when what a volume says of itself cannot be read.
    """
    strange = {s.type for volume in group.volumes.values() for s in volume.segments if not _is_known(s.type)}
    if strange:
        raise UnsupportedError(f"Its volume group has volumes of LVM's type {sorted(strange)[0]}, which is not known.")
    return _Assembly(group, members).all()


def _is_known(type_: str) -> bool:
    """Whether a segment of this type takes nothing of a physical volume but the places that it names."""
    kind = type_.partition("+")[0]  # behind it are flags
    return kind in _REASONS or kind in ("striped", "error", "zero") or re.fullmatch(r"raid\d+(_[a-z0-9_]+)?", kind) is not None


class _Assembly:
    """One group. ``mapped`` are the volumes whose own extents need not be kept, because what is used of them is told."""

    def __init__(self, group: Group, members: Mapping[str, Placed]) -> None:
        self._group = group
        self._members = members
        self._mapped: set[str] = set()
        self._pools = Pools(group, self._part)
        # By the names of the volumes that describe them: LVM hides the store, and calls the snapshot by its name.
        self._parts = {v.name: parts for v in group.volumes.values() if (parts := snapshot_parts(group, v))}
        self._snapshots: dict[str, tuple[Placed, set[str]]] = {}
        self._broken: dict[str, str] = {}  # why one is not looked into
        self._find_snapshots()
        self._needed = self._parts_of_unknown()

    def _find_snapshots(self) -> None:
        for name, parts in self._parts.items():
            try:
                if "VISIBLE" not in self._group.volumes[name].status:
                    raise UnsupportedError("It is a snapshot that nobody sees.")
                origin, _ = self._part(parts.origin)
                store, mapped = self._part(parts.store)
                self._snapshots[name] = snapshot(parts, origin, store), mapped
            except _NOT_UNDERSTOOD as error:
                self._broken[name] = _words(error)

    def _parts_of_unknown(self) -> set[str]:
        """The volumes that others are made of in ways that are not looked into: every extent of those is kept."""
        found: set[str] = set()
        for volume in self._group.volumes.values():
            for segment in volume.segments:
                if segment.type == THIN:
                    # It needs its pool, which is looked at for itself; the thin volume that it was a copy of it does not need.
                    found |= {str(segment.said.get("external_origin", ""))}
                elif volume.name not in self._snapshots:
                    found |= segment.names
        return found

    def all(self) -> Volumes:
        """See logical_volumes."""
        stores = {parts.store for parts in self._parts.values()}
        visible = [v for v in self._group.volumes.values() if "VISIBLE" in v.status and v.name not in stores]
        pools = [volume for volume in visible if _types(volume) == {POOL}]
        made = {volume.name: self._logical(volume) for volume in visible if volume not in pools}
        # What is kept of a pool depends on which of its volumes are looked into.
        made |= {volume.name: self._pool(volume) for volume in pools}
        found = Volumes([made[volume.name] for volume in visible])
        for key in self._members:
            volumes = (volume for volume in self._group.volumes.values() if volume.name not in self._mapped)
            found.whole[key] = joined(_held(self._group, volume, key) for volume in volumes)
        return found

    def _logical(self, volume: LogicalVolume) -> Logical:
        name = self._parts[volume.name].store if volume.name in self._parts else volume.name
        try:
            if volume.name in self._broken:
                raise UnsupportedError(self._broken[volume.name])
            if volume.name in self._needed:
                raise UnsupportedError(_reason(volume) or _NEEDED)
            source, mapped = self._snapshots.get(volume.name) or self._part(volume.name)
        except _NOT_UNDERSTOOD as error:
            return Logical(name, volume.extents * self._group.extent_size, None, _words(error))
        self._mapped |= mapped
        if _types(volume) == {THIN}:
            self._pools.tell(volume)
        return Logical(name, source.size, source)

    def _pool(self, volume: LogicalVolume) -> Logical:
        size = volume.extents * self._group.extent_size
        try:
            _require_harmless(volume)
            pool, others = self._pools.pool(volume.name), self._pools.others(volume.name)
        except _NOT_UNDERSTOOD as error:
            return Logical(volume.name, size, None, _words(error))
        self._mapped |= pool.mapped
        return Logical(volume.name, pool.data.size, pool.data, used=others)

    def _part(self, name: str) -> tuple[Placed, set[str]]:
        """A volume by its name, and the names of those whose extents that accounts for. Raises as what it is made of."""
        volume = self._group.volumes.get(name)
        if volume is None:
            raise FormatError(f"LVM metadata: there is no volume {name}.")
        _require_harmless(volume)
        if _types(volume) == {THIN}:
            return self._pools.volume(volume), set()
        return _compose(self._group, volume, self._members)


def _types(volume: LogicalVolume) -> set[str]:
    return {segment.type for segment in volume.segments}


def _require_harmless(volume: LogicalVolume) -> None:
    strange = sorted(volume.status - _HARMLESS)
    if strange:
        raise UnsupportedError(f"Its state is {', '.join(strange)}.")


def _words(error: RescueError) -> str:
    if isinstance(error, SourceReadError):
        return f"Its structures cannot be read: {error.message}"
    return error.message if isinstance(error, UnsupportedError) else f"Its structures make no sense: {error.message}"


def _compose(group: Group, volume: LogicalVolume, members: Mapping[str, Placed]) -> tuple[Placed, set[str]]:
    """The volume as a Source, and the names of the volumes whose extents that accounts for. Raises UnsupportedError."""
    if not volume.segments:
        raise UnsupportedError("It has no extents.")
    types = {segment.type for segment in volume.segments}
    if types == {"striped"}:
        return Joined([_striped(group, segment, members) for segment in volume.segments]), {volume.name}
    if types == {"raid1"} and len(volume.segments) == 1:
        return _mirrored(group, volume.segments[0], members)
    type_ = sorted(types - {"striped"})[0]
    raise UnsupportedError(_reason(volume) or f"This program cannot look into volumes of LVM's type {type_}.")


def _reason(volume: LogicalVolume) -> str:
    """Why volumes of its type are whole, in words; "" for others."""
    types = sorted(segment.type.partition("+")[0] for segment in volume.segments)
    return next((_REASONS[type_] for type_ in types if type_ in _REASONS), "")


def _striped(group: Group, segment: Segment, members: Mapping[str, Placed]) -> Placed:
    each, rest = divmod(segment.extents, len(segment.stripes))
    if rest:
        raise UnsupportedError("Its stripes are of different lengths.")
    parts = []
    for place in segment.stripes:
        member = group.members.get(place.on)
        if member is None:
            raise UnsupportedError("It is stacked upon other volumes.")
        if place.first + each > member.count:
            raise UnsupportedError("It leaves its physical volume.")
        if place.on not in members:
            raise UnsupportedError(MISSING)
        start = member.start + place.first * group.extent_size
        parts.append(Window(members[place.on], start, start + each * group.extent_size))
    if len(parts) == 1:
        return parts[0]
    if not segment.stripe_size or parts[0].size % segment.stripe_size:
        raise UnsupportedError("Its stripes make no sense.")
    return Striped(parts, segment.stripe_size)


def _mirrored(group: Group, segment: Segment, members: Mapping[str, Placed]) -> tuple[Placed, set[str]]:
    if not segment.members or len(segment.members) % 2:
        raise UnsupportedError("Its copies make no sense.")
    copies = []
    names = set()
    for meta, data in zip(segment.members[::2], segment.members[1::2], strict=True):
        parts = [group.volumes.get(name) for name in (meta, data)]
        sources = []
        for part in parts:
            if part is None or part.status - _HARMLESS or {s.type for s in part.segments} != {"striped"}:
                raise UnsupportedError("Its copies are not in order.")
            sources.append(Joined([_striped(group, s, members) for s in part.segments]))
        _require_in_sync(sources[0])
        if sources[1].size != segment.extents * group.extent_size:
            raise UnsupportedError("Its copies have different sizes.")
        copies.append(sources[1])
        names.add(data)
    return Mirrored(copies), names


def _require_in_sync(meta: Placed) -> None:
    state = Fields(meta.pread(min(512, meta.size), 0), "dm-raid superblock")
    in_order = state.u32(0) == _RAID_MAGIC and not state.u64(24) and state.u64(32) == _IN_SYNC and state.u64(40) == _IN_SYNC
    if not in_order:
        raise UnsupportedError("Its copies are not (yet) the same.")


def _held(group: Group, volume: LogicalVolume, key: str) -> ExtentMap:
    """The bytes of a physical volume that a logical volume takes."""
    return ExtentMap(sorted(_held_by_segments(group, volume, key)))


def _held_by_segments(group: Group, volume: LogicalVolume, key: str) -> Iterator[tuple[int, int]]:
    member = group.members[key]
    for segment in volume.segments:
        each = -(-segment.extents // len(segment.stripes)) if segment.type == "striped" else segment.extents
        for place in segment.stripes:
            if place.on == key:
                start = member.start + place.first * group.extent_size
                yield start, start + each * group.extent_size
