"""What LVM keeps in front of the extents of a physical volume, made anew for another size (LVM2, lib/format_text/layout.h).

UUIDs, names, tags and whatever else the description holds stay; sizes, segments and its number change. Nothing is written here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.volumes.lvm_group import Place
from rescue.volumes.lvm_label import checksum
from rescue.volumes.lvm_text import Section, Value

_SECTOR: Final = 512
_LABEL_SECTORS: Final = 4
_MAX_AREAS: Final = 8
_TEXT_START: Final = 512  # in a metadata area, behind its header
_IGNORED: Final = 1


class Extents(msgspec.Struct, frozen=True):
    """The extents of a logical volume on the one physical volume: ``count`` from ``first`` on."""

    first: int
    count: int


def described(description: Section, size: int, extents: int, volumes: Mapping[str, Extents]) -> bytes:
    """The description of a group of one physical volume that gets ``size`` bytes with so many extents, as LVM's text.

    ``volumes`` are all of its logical volumes by name; each is linear, in one piece. Raises FormatError.
    """
    top = copy.deepcopy(description)
    group = next((value for value in top.values() if isinstance(value, dict)), None)
    if group is None:
        raise FormatError("LVM metadata: it describes no volume group.")
    members, logical = group.get("physical_volumes"), group.get("logical_volumes", {})
    seqno = group.get("seqno")
    if not isinstance(members, dict) or len(members) != 1 or not isinstance(logical, dict) or not isinstance(seqno, int):
        raise FormatError("LVM metadata: it does not describe a group of one physical volume.")
    if set(logical) != set(volumes):
        raise FormatError("LVM metadata: it has other volumes than those that are to be written.")
    group["seqno"] = seqno + 1
    ((key, member),) = members.items()
    if not isinstance(member, dict):
        raise FormatError("LVM metadata: its physical volume makes no sense.")
    member["dev_size"] = size // _SECTOR
    member["pe_count"] = extents
    for name, place in volumes.items():
        volume = logical[name]
        if not isinstance(volume, dict):
            raise FormatError(f"LVM metadata: {name} makes no sense.")
        logical[name] = _one_piece(volume, Place(key, place.first), place.count)
    return text_of(top)


def _one_piece(volume: Section, place: Place, count: int) -> Section:
    kept: Section = {key: value for key, value in volume.items() if not isinstance(value, dict)}
    first = volume.get("segment1")
    segment: Section = dict(first) if isinstance(first, dict) else {}
    segment |= {"start_extent": 0, "extent_count": count, "type": "striped", "stripe_count": 1}
    segment.pop("stripe_size", None)
    segment["stripes"] = [place.on, place.first]
    return kept | {"segment_count": 1, "segment1": segment}


def text_of(section: Section) -> bytes:
    """A whole text, as :func:`~rescue.volumes.lvm_text.parse` reads it; with the zero byte that LVM ends it by."""
    return "".join([*_lines(section), "\n\0"]).encode("utf-8", "surrogateescape")


def _lines(section: Section) -> list[str]:
    lines = []
    for name, value in section.items():
        if isinstance(value, dict):
            lines += [f"{name} {{\n", *_lines(value), "}\n"]
        else:
            lines.append(f"{name} = {_written(value)}\n")
    return lines


def _written(value: Value) -> str:
    match value:
        case int():
            return str(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case _:
            return f"[{', '.join(map(_written, value))}]"


def relaid(head: bytes, size: int, text: bytes) -> bytes:
    """``head``, the bytes of a physical volume in front of its extents, for one of ``size`` bytes whose group ``text`` describes.

    What was written there before stays nowhere. Raises UnsupportedError when a copy of the description lies elsewhere (at the
    volume's end) or the text does not fit, FormatError.
    """
    found = bytearray(head)
    sector = _label(found)
    label = Fields(bytes(found[sector : sector + _SECTOR]), "LVM label")
    position = label.u32(20)
    found[sector + position + 32 : sector + position + 40] = size.to_bytes(8, "little")
    for offset, length in _areas(label, position + 40):
        if offset + length > len(head) or offset < sector + _SECTOR or length < 2 * _SECTOR:
            raise UnsupportedError("A copy of its volume group's description is behind its extents.")
        found[offset : offset + length] = _area(Fields(head[offset : offset + _SECTOR], "LVM metadata header"), length, text)
    covered = bytes(found[sector + 20 : sector + _SECTOR])
    found[sector + 16 : sector + 20] = checksum(covered).to_bytes(4, "little")
    return bytes(found)


def _label(head: bytearray) -> int:
    for sector in range(0, min(_LABEL_SECTORS * _SECTOR, len(head) - _SECTOR), _SECTOR):
        if head[sector : sector + 8] == b"LABELONE":
            return sector
    raise FormatError("LVM label: there is none.")


def _areas(label: Fields, position: int) -> list[tuple[int, int]]:
    """Where copies of the description are: the second of two lists of (offset, size), each up to one of zeros."""
    lists: list[list[tuple[int, int]]] = []
    for _ in range(2):
        areas: list[tuple[int, int]] = []
        while offset := label.u64(position):
            label.require(len(areas) < _MAX_AREAS, "it has too many areas")
            areas.append((offset, label.u64(position + 8)))
            position += 16
        position += 16
        lists.append(areas)
    if not lists[1]:
        raise UnsupportedError("It holds no description of its volume group.")
    return lists[1]


def _area(header: Fields, length: int, text: bytes) -> bytes:
    """A metadata area that holds one text."""
    if len(text) > length - _TEXT_START:
        raise UnsupportedError("The description of its volume group is too long for the room that it has.")
    if header.u32(60) & _IGNORED:
        raise UnsupportedError("A copy of its volume group's description is not kept up to date.")
    # Magic, version and place as they are; then the one place of a text, and an empty one.
    fields = header.bytes(4, 36) + _TEXT_START.to_bytes(8, "little") + len(text).to_bytes(8, "little")
    fields += checksum(text).to_bytes(4, "little") + bytes(4)
    fields = fields.ljust(_SECTOR - 4, b"\0")
    return (checksum(fields).to_bytes(4, "little") + fields + text).ljust(length, b"\0")
