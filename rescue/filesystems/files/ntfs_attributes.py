"""All attributes of one NTFS file, joined from its MFT records.

NTFS Documentation, R. Russon and Y. Fledel, 2004: "$ATTRIBUTE_LIST", "Attribute header".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.filesystems.ntfs_mft import ATTRIBUTE_LIST, Attribute, Mft, Run, Stream, parse_attributes

_COMPRESSED: Final = 0x00FF
_ENCRYPTED: Final = 0x4000
_LIST_LIMIT: Final = 256 * 1024
_RECORDS_LIMIT: Final = 8192  # entries of the shortest kind in the longest attribute list
_RUN_LIMIT: Final = 4_000_000
_UNITS: Final = range(1, 9)


class Joined(msgspec.Struct, frozen=True):
    """One attribute of a file, all of it. ``unit`` is the length of a compression unit in clusters, 0 when there is none."""

    type: int
    name: str
    size: int
    initialized: int
    value: bytes | None  # None when it is in runs
    runs: tuple[Run, ...]
    unit: int
    encrypted: bool

    @property
    def clusters(self) -> int:
        """Clusters that it occupies."""
        return sum(run.length for run in self.runs if run.lcn >= 0)

    def stream(self, mft: Mft) -> Stream:
        """The value as bytes. Raises FormatError when it is compressed or encrypted."""
        if self.unit or self.encrypted:
            raise FormatError("NTFS: a structure is compressed or encrypted.")
        return Stream(mft.volume, mft.geometry.cluster_size, self.size, self.initialized, self.value, list(self.runs))


def attributes_of(mft: Mft, number: int, record: Fields) -> list[Joined]:
    """The attributes of the file whose base record this is. Raises FormatError."""
    clusters = mft.geometry.clusters
    own = list(parse_attributes(record, clusters))
    parts = [attribute for attribute in own if attribute.type != ATTRIBUTE_LIST]
    lists = [attribute for attribute in own if attribute.type == ATTRIBUTE_LIST]
    if lists:
        stream = _join(lists).stream(mft)
        if stream.size > _LIST_LIMIT:
            raise FormatError(f"NTFS: an attribute list of {stream.size} bytes.")
        for reference in _other_records(Fields(stream.read(stream.size, 0), "NTFS attribute list"), number):
            extension = mft.record(reference)
            extension.require(extension.u64(32) & 0xFFFFFFFFFFFF == number, f"it does not belong to record {number}")
            parts += parse_attributes(extension, clusters)
    grouped: dict[tuple[int, str, int], list[Attribute]] = {}
    for part in parts:
        # Several resident attributes of one type and name (names of the file) stand each for itself.
        key = (part.type, part.name, part.instance if part.resident else -1)
        grouped.setdefault(key, []).append(part)
    joined: list[Joined] = []
    for group in grouped.values():
        if group[0].resident:
            joined += [_join([part]) for part in group]
        else:
            joined.append(_join(sorted(group, key=lambda part: part.lowest_vcn)))
    return joined


def _other_records(entries: Fields, number: int) -> Iterator[int]:
    position = 0
    seen = {number}
    while position + 26 <= len(entries):
        length = entries.u16(position + 4)
        entries.require(length >= 26 and length % 8 == 0, f"an entry of {length} bytes")
        reference = entries.u64(position + 16) & 0xFFFFFFFFFFFF
        if reference not in seen:
            entries.require(len(seen) < _RECORDS_LIMIT, "it names too many records")
            seen.add(reference)
            yield reference
        position += length


def _join(parts: list[Attribute]) -> Joined:
    head = parts[0]
    if head.resident:
        return Joined(head.type, head.name, head.size, head.size, head.value, (), 0, False)
    runs: list[Run] = []
    vcn = 0
    for part in parts:
        if part.lowest_vcn != vcn:
            raise FormatError("NTFS: the extents of a stream do not follow each other.")
        runs += part.runs
        if len(runs) > _RUN_LIMIT:
            raise FormatError(f"NTFS: a stream in more than {_RUN_LIMIT} pieces.")
        vcn = runs[-1].vcn + runs[-1].length if runs else 0
    unit = 0
    if head.flags & _COMPRESSED:
        if head.compression_unit not in _UNITS:
            raise FormatError(f"NTFS: compression units of 2^{head.compression_unit} clusters.")
        unit = 1 << head.compression_unit
    if head.size >> 62 or head.initialized > head.size:
        raise FormatError(f"NTFS: a stream of {head.size} bytes.")
    return Joined(head.type, head.name, head.size, head.initialized, None, tuple(runs), unit, bool(head.flags & _ENCRYPTED))
