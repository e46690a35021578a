"""A volume group as its description tells it (LVM2, lib/format_text/import_vsn1.c). Sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.volumes.lvm_text import Section, Value, parse

_SECTOR: Final = 512
_MAX_EXTENTS: Final = 1 << 32
_MAX_VOLUMES: Final = 4096
_MAX_SEGMENTS: Final = 65536


class Place(msgspec.Struct, frozen=True):
    """Extents from ``first`` on of a physical volume (by its key in the group) or of another logical volume (by its name)."""

    on: str
    first: int


class Segment(msgspec.Struct, frozen=True):
    """``extents`` extents from ``start`` of a logical volume. ``names`` are all strings in its description.

    ``stripes`` of another type than "striped" are all places that it names; it may take ``extents`` at each of them.
    """

    start: int
    extents: int
    type: str
    stripes: tuple[Place, ...] = ()
    stripe_size: int = 0
    names: frozenset[str] = frozenset()
    members: tuple[str, ...] = ()  # of raid: metadata and data volumes in turn
    said: Section = msgspec.field(default_factory=dict)  # all of its description


class LogicalVolume(msgspec.Struct, frozen=True):
    """Segments follow each other from extent 0. ``status`` are LVM's words."""

    name: str
    status: frozenset[str]
    segments: tuple[Segment, ...]

    @property
    def extents(self) -> int:
        """How many it has."""
        return sum(segment.extents for segment in self.segments)


class GroupMember(msgspec.Struct, frozen=True):
    """A physical volume of the group: ``count`` extents from byte ``start`` of it."""

    uuid: str
    start: int
    count: int


class Group(msgspec.Struct, frozen=True):
    """A volume group. ``members`` by LVM's key ("pv0"), ``volumes`` by name."""

    name: str
    uuid: str
    seqno: int
    extent_size: int
    members: dict[str, GroupMember] = msgspec.field(default_factory=dict)
    volumes: dict[str, LogicalVolume] = msgspec.field(default_factory=dict)


def parse_group(text: bytes) -> Group:
    """Read the description of a group. Raises FormatError when it is not complete or contradicts itself."""
    top = parse(text)
    sections = [(name, value) for name, value in top.items() if isinstance(value, dict)]
    if len(sections) != 1 or top.get("contents") != "Text Format Volume Group":
        raise FormatError("LVM metadata: it describes no volume group.")
    name, group = sections[0]
    extent_size = _integer(group, "extent_size") * _SECTOR
    if not 0 < extent_size <= 1 << 50:
        raise FormatError(f"LVM metadata: extents of {extent_size} bytes make no sense.")
    members = {key: _member(value) for key, value in _sections(group, "physical_volumes").items()}
    volumes = {key: _volume(key, value) for key, value in _sections(group, "logical_volumes", missing={}).items()}
    return Group(name, _plain_uuid(group), _integer(group, "seqno"), extent_size, members, volumes)


def _member(section: Section) -> GroupMember:
    count = _integer(section, "pe_count")
    return GroupMember(_plain_uuid(section), _integer(section, "pe_start") * _SECTOR, count)


def _volume(name: str, section: Section) -> LogicalVolume:
    count = _integer(section, "segment_count")
    if count > _MAX_SEGMENTS:
        raise FormatError(f"LVM metadata: {name} has {count} segments.")
    segments = []
    position = 0
    for number in range(1, count + 1):
        segment = _segment(_section(section, f"segment{number}"))
        if segment.start != position:
            raise FormatError(f"LVM metadata: the segments of {name} do not follow each other.")
        position += segment.extents
        segments.append(segment)
    if position > _MAX_EXTENTS:
        raise FormatError(f"LVM metadata: {name} has {position} extents.")
    flags = _words(section, "status") | _words(section, "flags")
    return LogicalVolume(name, flags, tuple(segments))


def _segment(section: Section) -> Segment:
    start, extents, type_ = _integer(section, "start_extent"), _integer(section, "extent_count"), _text(section, "type")
    if not 0 < extents <= _MAX_EXTENTS:
        raise FormatError(f"LVM metadata: a segment of {extents} extents.")
    names = frozenset(_strings(section))
    if type_ == "striped":
        stripes = _places(section.get("stripes"))
        if len(stripes) != _integer(section, "stripe_count") or not stripes:
            raise FormatError("LVM metadata: a segment has another number of stripes than it says.")
        size = _integer(section, "stripe_size") * _SECTOR if len(stripes) > 1 else 0
        return Segment(start, extents, type_, stripes, size, names, said=section)
    raids = section.get("raids")
    members = tuple(value for value in raids if isinstance(value, str)) if isinstance(raids, list) else ()
    return Segment(start, extents, type_, tuple(_any_places(section)), names=names, members=members, said=section)


def _any_places(section: Section) -> Iterator[Place]:
    """Whatever in a segment looks like a place: a name and a number behind it (mirrors that are being moved have those)."""
    for value in section.values():
        if isinstance(value, list):
            for on, first in pairwise(value):
                if isinstance(on, str) and isinstance(first, int):
                    yield Place(on, first)


def _places(value: Value | Section | None) -> tuple[Place, ...]:
    if not isinstance(value, list) or len(value) % 2:
        raise FormatError("LVM metadata: a list of stripes makes no sense.")
    places = []
    for on, first in zip(value[::2], value[1::2], strict=True):
        if not isinstance(on, str) or not isinstance(first, int) or not 0 <= first < _MAX_EXTENTS:
            raise FormatError("LVM metadata: a list of stripes makes no sense.")
        places.append(Place(on, first))
    return tuple(places)


def _strings(section: Section) -> list[str]:
    found: list[str] = []
    for key, value in section.items():
        if key == "type":
            continue
        match value:
            case str():
                found.append(value)
            case list():
                found += [item for item in value if isinstance(item, str)]
            case dict():
                found += _strings(value)
            case _:
                pass
    return found


def _sections(section: Section, name: str, missing: Section | None = None) -> dict[str, Section]:
    inner = section.get(name, missing)
    if not isinstance(inner, dict) or len(inner) > _MAX_VOLUMES:
        raise FormatError(f"LVM metadata: its {name} make no sense.")
    return {key: _section(inner, key) for key in inner}


def _section(section: Section, name: str) -> Section:
    inner = section.get(name)
    if not isinstance(inner, dict):
        raise FormatError(f"LVM metadata: it has no {name}.")
    return inner


def _integer(section: Section, name: str) -> int:
    value = section.get(name)
    if not isinstance(value, int) or value >= 1 << 63:
        raise FormatError(f"LVM metadata: it has no {name}.")
    return value


def _text(section: Section, name: str) -> str:
    value = section.get(name)
    if not isinstance(value, str):
        raise FormatError(f"LVM metadata: it has no {name}.")
    return value


def _words(section: Section, name: str) -> frozenset[str]:
    value = section.get(name, [])
    if isinstance(value, str):
        return frozenset([value])
    return frozenset(str(item) for item in value) if isinstance(value, list) else frozenset(["?"])


def _plain_uuid(section: Section) -> str:
    return _text(section, "id").replace("-", "")
