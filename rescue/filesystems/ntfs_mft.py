"""NTFS on disk: boot sector, MFT records, attributes and their run lists.

Written from the published descriptions (NTFS Documentation, R. Russon and Y. Fledel, 2004; Microsoft's "NTFS on-disk
structures"). Everything is read through a Source; every field is bounded before it is used.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import KIB, MIB

ATTRIBUTE_LIST: Final = 0x20
VOLUME_INFORMATION: Final = 0x70
DATA: Final = 0x80
INDEX_ROOT: Final = 0x90
INDEX_ALLOCATION: Final = 0xA0

_END: Final = 0xFFFFFFFF
_STRIDE: Final = 512  # update sequences protect units of 512 bytes whatever the sector size
_LIST_LIMIT: Final = 256 * KIB  # Windows allows no larger attribute list
_RUN_LIMIT: Final = 1_000_000
_HOLE: Final = -1


class Geometry(msgspec.Struct, frozen=True):
    """What the boot sector says. Sizes in bytes; ``sectors`` does not count the backup boot sector behind the file system."""

    sector_size: int
    cluster_size: int
    record_size: int
    sectors: int
    mft_cluster: int

    @property
    def clusters(self) -> int:
        """Whole clusters of the file system; a remainder of sectors is never allocated."""
        return self.sectors * self.sector_size // self.cluster_size


def read_geometry(volume: Source) -> Geometry:
    """Parse the boot sector (BPB at 0x0B). Raises FormatError."""
    boot = Fields(volume.pread(512, 0), "NTFS boot sector")
    boot.require(boot.bytes(3, 8) == b"NTFS    ", "it has no NTFS signature")
    boot.require(boot.u16(510) == 0xAA55, "it does not end in 55 AA")
    sector_size = boot.u16(0x0B)
    boot.require(sector_size in (512, 1024, 2048, 4096), f"a sector size of {sector_size}")
    # Above 128 the byte is a negative power of two: 0xF4 is 4096 sectors, a cluster of 2 MiB.
    code = boot.u8(0x0D)
    factor = code if code <= 0x80 else 1 << min(256 - code, 16)
    boot.require(factor > 0 and not factor & (factor - 1), f"{factor} sectors in a cluster")
    cluster_size = factor * sector_size
    boot.require(cluster_size <= 2 * MIB, f"a cluster size of {cluster_size}")
    sectors = boot.u64(0x28)
    boot.require(0 < sectors * sector_size <= volume.size, f"{sectors} sectors do not fit into the volume of {volume.size} bytes")
    code = boot.s8(0x40)
    record_size = code * cluster_size if code > 0 else 1 << min(-code, 32)
    boot.require(512 <= record_size <= 64 * KIB and not record_size & (record_size - 1), f"MFT records of {record_size} bytes")
    geometry = Geometry(sector_size, cluster_size, record_size, sectors, boot.u64(0x30))
    boot.require(0 < geometry.mft_cluster < geometry.clusters, "the MFT is outside of the file system")
    return geometry


def apply_fixups(block: bytes, what: str) -> Fields:
    """Undo the update sequence of a multi-sector structure. Raises FormatError when a sector of it was torn."""
    raw = Fields(bytearray(block), what)
    offset, count = raw.u16(4), raw.u16(6)
    raw.require(count == len(block) // _STRIDE + 1, f"an update sequence of {count} entries")
    raw.require(offset % 2 == 0 and offset + 2 * count <= len(block), "its update sequence is outside")
    number = block[offset : offset + 2]
    fixed = bytearray(block)
    for index in range(1, count):
        end = index * _STRIDE
        raw.require(block[end - 2 : end] == number, f"the sector at {end - _STRIDE} was not completely written")
        fixed[end - 2 : end] = block[offset + 2 * index : offset + 2 * index + 2]
    return Fields(fixed, what)


class Run(msgspec.Struct, frozen=True):
    """``length`` clusters of a stream from cluster ``vcn`` of it on, at cluster ``lcn`` of the volume; -1 is a hole."""

    vcn: int
    lcn: int
    length: int


class Attribute(msgspec.Struct, frozen=True):
    """One attribute record, whole or one extent of it. ``value`` holds a resident value, ``runs`` the rest."""

    type: int
    name: str
    instance: int
    resident: bool
    value: bytes = b""
    lowest_vcn: int = 0
    size: int = 0
    initialized: int = 0
    plain: bool = True  # neither compressed nor encrypted
    runs: tuple[Run, ...] = ()
    flags: int = 0
    compression_unit: int = 0  # log2 of its clusters; 0 when the stream is not compressed


def decode_runs(pairs: bytes, lowest_vcn: int, clusters: int, what: str) -> tuple[Run, ...]:
    """Decode mapping pairs. Each costs at least two bytes, so their count is bounded by the record's size."""
    runs: list[Run] = []
    position, vcn, lcn = 0, lowest_vcn, 0
    while position < len(pairs) and pairs[position]:
        length_size, offset_size = pairs[position] & 15, pairs[position] >> 4
        end = position + 1 + length_size + offset_size
        if not 0 < length_size <= 8 or offset_size > 8 or end > len(pairs):
            raise FormatError(f"{what}: a run list is damaged.")
        middle = position + 1 + length_size
        length = int.from_bytes(pairs[position + 1 : middle], "little", signed=True)
        lcn += int.from_bytes(pairs[middle:end], "little", signed=True)
        if length <= 0 or vcn + length > 1 << 62 or (offset_size and not 0 <= lcn <= clusters - length):
            raise FormatError(f"{what}: a run of {length} clusters at {lcn} is outside of the file system.")
        runs.append(Run(vcn, lcn if offset_size else _HOLE, length))
        vcn += length
        position = end
    return tuple(runs)


def parse_attributes(record: Fields, clusters: int) -> Iterator[Attribute]:
    """The attributes of one MFT record after fixups. Raises FormatError."""
    position = record.u16(20)
    used = min(record.u32(24), len(record))
    while position + 4 <= used and record.u32(position) != _END:
        length = record.u32(position + 4)
        record.require(length >= 24 and length % 8 == 0 and position + length <= used, f"an attribute of {length} bytes")
        yield _parse_attribute(record.part(position, length, record.what), clusters)
        position += length


def _parse_attribute(raw: Fields, clusters: int) -> Attribute:
    kind = raw.u32(0)
    name = raw.bytes(raw.u16(10), 2 * raw.u8(9)).decode("utf-16-le", "replace")
    instance = raw.u16(14)
    if not raw.u8(8):
        value = raw.bytes(raw.u16(20), raw.u32(16))
        return Attribute(kind, name, instance, True, value, size=len(value), initialized=len(value))
    lowest = raw.u64(16)
    pairs = raw.u16(32)
    raw.require(lowest < 1 << 62 and 64 <= pairs <= len(raw), "a non-resident attribute is damaged")
    runs = decode_runs(raw.bytes(pairs, len(raw) - pairs), lowest, clusters, raw.what)
    flags = raw.u16(12)
    plain = not flags & 0x40FF
    return Attribute(kind, name, instance, False, b"", lowest, raw.u64(48), raw.u64(56), plain, runs, flags, raw.u8(34))


class Stream(msgspec.Struct):
    """The value of an attribute as bytes ``[0, size)``; holes and what was never initialised read as zeros."""

    volume: Source
    cluster_size: int
    size: int
    initialized: int
    value: bytes | None
    runs: list[Run] = msgspec.field(default_factory=list)

    def extents(self) -> Iterator[tuple[int, int]]:
        """Byte ranges of the volume that hold the stream."""
        for run in self.runs:
            if run.lcn >= 0:
                yield run.lcn * self.cluster_size, (run.lcn + run.length) * self.cluster_size

    def read(self, length: int, offset: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``. Raises FormatError when the stream is shorter or its runs have a gap."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise FormatError(f"NTFS: {length} bytes at {offset} are outside of a stream of {self.size} bytes.")
        if self.value is not None:
            return self.value[offset : offset + length]
        parts: list[bytes] = []
        end = offset + length
        index = max(bisect_right(self.runs, offset // self.cluster_size, key=attrgetter("vcn")) - 1, 0)
        while offset < end and index < len(self.runs):
            run = self.runs[index]
            inside = offset - run.vcn * self.cluster_size
            take = min(end - offset, run.length * self.cluster_size - inside)
            parts.append(bytes(take) if run.lcn < 0 else self.volume.pread(take, run.lcn * self.cluster_size + inside))
            offset += take
            index += 1
        if offset < end:
            raise FormatError("NTFS: the run list of a stream is shorter than the stream.")
        answer = b"".join(parts)
        valid = max(0, self.initialized - (end - length))
        return answer if valid >= length else answer[:valid] + bytes(length - valid)


class Mft:
    """The master file table: records by number and the streams of their attributes."""

    def __init__(self, volume: Source) -> None:
        self.volume = volume
        self.geometry = read_geometry(volume)
        base = self._parse(volume.pread(self.geometry.record_size, self.geometry.mft_cluster * self.geometry.cluster_size), 0)
        first = [a for a in parse_attributes(base, self.geometry.clusters) if a.type == DATA and not a.name and not a.resident]
        if len(first) != 1 or not first[0].runs or first[0].lowest_vcn:
            raise FormatError("NTFS: the first MFT record does not describe the MFT.")
        # The MFT's further extents are found through the part of it that is known, so it grows while it is read.
        self.stream = self._join(first)
        for attribute in self._attributes(0, DATA, "", after=self.stream):
            self._append(self.stream, attribute)

    def _parse(self, block: bytes, number: int) -> Fields:
        if block[:4] != b"FILE":
            raise FormatError(f"NTFS: MFT record {number} has no FILE signature.")
        return apply_fixups(block, f"NTFS MFT record {number}")

    def record(self, number: int) -> Fields:
        """Record ``number`` with fixups undone. Raises FormatError when it is not there or not in use."""
        size = self.geometry.record_size
        record = self._parse(self.stream.read(size, number * size), number)
        record.require(bool(record.u16(22) & 1), "it is not in use")
        return record

    def stream_of(self, number: int, kind: int, name: str = "") -> Stream | None:
        """The attribute of a file as a Stream, wherever its extents are; None when the file has none."""
        found = list(self._attributes(number, kind, name))
        return self._join(found) if found else None

    def _join(self, attributes: list[Attribute]) -> Stream:
        head = attributes[0]
        if head.resident:
            return Stream(self.volume, self.geometry.cluster_size, head.size, head.size, head.value)
        if head.lowest_vcn:
            raise FormatError("NTFS: the first extent of a stream is missing.")
        # On a directory the compression flag only says what new files in it get.
        if head.type == DATA and not head.plain:
            raise FormatError("NTFS: a system stream is compressed or encrypted.")
        stream = Stream(self.volume, self.geometry.cluster_size, head.size, head.initialized, None)
        for attribute in attributes:
            self._append(stream, attribute)
        return stream

    @staticmethod
    def _append(stream: Stream, attribute: Attribute) -> None:
        end = stream.runs[-1].vcn + stream.runs[-1].length if stream.runs else 0
        if attribute.resident or attribute.lowest_vcn != end:
            raise FormatError("NTFS: the extents of a stream do not follow each other.")
        stream.runs.extend(attribute.runs)
        if len(stream.runs) > _RUN_LIMIT:
            raise FormatError("NTFS: a system stream is in more pieces than an attribute list can describe.")

    def _attributes(self, number: int, kind: int, name: str, after: Stream | None = None) -> Iterator[Attribute]:
        """The extents of an attribute in order. With ``after``: only those that continue this stream (the MFT's own)."""
        clusters = self.geometry.clusters
        own = list(parse_attributes(self.record(number), clusters))
        lists = [a for a in own if a.type == ATTRIBUTE_LIST]
        if not lists:
            if after is None:
                yield from (a for a in own if a.type == kind and a.name == name)
            return
        for entry in self._list_entries(self._join(lists)):
            reference = entry.u64(16) & 0xFFFFFFFFFFFF
            vcn, instance = entry.u64(8), entry.u16(24)
            if entry.u32(0) != kind or _entry_name(entry) != name or (after is not None and vcn == 0):
                continue
            holder = own if reference == number else self._extension(reference, number)
            match = [a for a in holder if (a.type, a.name, a.lowest_vcn, a.instance) == (kind, name, vcn, instance)]
            if len(match) != 1:
                raise FormatError(f"NTFS: the attribute list of MFT record {number} names what is not there.")
            yield match[0]

    def _extension(self, reference: int, base: int) -> list[Attribute]:
        record = self.record(reference)
        record.require(record.u64(32) & 0xFFFFFFFFFFFF == base, f"it does not belong to record {base}")
        return list(parse_attributes(record, self.geometry.clusters))

    @staticmethod
    def _list_entries(stream: Stream) -> Iterator[Fields]:
        """Entries of an attribute list, which is sorted by type, name and first cluster."""
        if stream.size > _LIST_LIMIT:
            raise FormatError(f"NTFS: an attribute list of {stream.size} bytes.")
        raw = Fields(stream.read(stream.size, 0), "NTFS attribute list")
        position = 0
        while position + 26 <= len(raw):
            length = raw.u16(position + 4)
            raw.require(length >= 26 and length % 8 == 0, f"an entry of {length} bytes")
            yield raw.part(position, length, raw.what)
            position += length


def _entry_name(entry: Fields) -> str:
    return entry.bytes(entry.u8(7), 2 * entry.u8(6)).decode("utf-16-le", "replace")
