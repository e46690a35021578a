"""A volume group that one physical volume holds all of, in linear volumes: the kind that can be laid out anew."""

from __future__ import annotations

from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.model.source import Source
from rescue.units import MIB
from rescue.volumes.lvm_group import Group, LogicalVolume, parse_group
from rescue.volumes.lvm_label import read_physical_volume
from rescue.volumes.lvm_text import Section, parse
from rescue.volumes.lvm_write import Extents, described, relaid

_MAX_HEAD: Final = 64 * MIB
_PLAIN: Final = frozenset({"READ", "WRITE", "VISIBLE", "FIXED_MINOR", "ACTIVATION_SKIP"})


class OwnGroup(msgspec.Struct, frozen=True):
    """The group, its description as LVM wrote it, and ``start``: the bytes of the physical volume in front of its extents.

    ``order`` are the names of the logical volumes as their beginnings follow each other.
    """

    group: Group
    description: Section
    start: int
    order: tuple[str, ...]

    @property
    def extent_size(self) -> int:
        """Bytes."""
        return self.group.extent_size

    def head(self, source: Source, size: int, counts: dict[str, int]) -> tuple[bytes, dict[str, int]]:
        """What is in front of the extents of a physical volume of ``size`` bytes, and where each volume begins on it, in bytes.

        ``source`` is the old one, ``counts`` are extents by name. Volumes follow each other without gaps. Raises FormatError,
        UnsupportedError, SourceReadError.
        """
        places: dict[str, Extents] = {}
        first = 0
        for name in self.order:
            places[name] = Extents(first, counts[name])
            first += counts[name]
        extents = (size - self.start) // self.extent_size
        if first > extents:
            raise FormatError(f"LVM metadata: {first} extents do not fit into {size} bytes.")
        text = described(self.description, size, extents, places)
        starts = {name: self.start + place.first * self.extent_size for name, place in places.items()}
        return relaid(source.pread(self.start, 0), size, text), starts


def own_group(source: Source) -> OwnGroup:
    """The group on a physical volume. Raises UnsupportedError, in words for people, when it is of another kind; FormatError."""
    read = read_physical_volume(source)
    groups = [(parse_group(text), text) for text in read.texts]
    if not groups:
        raise UnsupportedError("It is in no volume group.")
    group, text = max(groups, key=lambda found: found[0].seqno)
    if len(group.members) != 1:
        raise UnsupportedError(f"Its volume group is spread over {len(group.members)} places.")
    member = next(iter(group.members.values()))
    if member.uuid != read.uuid:
        raise UnsupportedError("Its volume group does not know it.")
    if member.start > _MAX_HEAD or member.start + member.count * group.extent_size > source.size:
        raise UnsupportedError("Its volume group is larger than it.")
    for volume in group.volumes.values():
        if not _is_linear(volume):
            raise UnsupportedError(f"Its volume {volume.name} is not a plain linear one.")
    order = sorted(group.volumes.values(), key=lambda volume: volume.segments[0].stripes[0].first)
    own = OwnGroup(group, parse(text), member.start, tuple(volume.name for volume in order))
    # Whether it can be written is found out before anything is.
    own.head(source, source.size, {volume.name: volume.extents for volume in order})
    return own


def _is_linear(volume: LogicalVolume) -> bool:
    plain = "VISIBLE" in volume.status and volume.status <= _PLAIN and bool(volume.segments)
    return plain and all(segment.type == "striped" and len(segment.stripes) == 1 for segment in volume.segments)
