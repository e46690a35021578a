"""The MBR partition table with extended and logical partitions (the kernel's block/partitions/msdos.c; UEFI 2.10 §5.2)."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout, Partition
from rescue.model.source import Source

_ENTRY: Final = struct.Struct("<B3sB3sII")
_TABLE: Final = 446
_MAX_LBA: Final = 0xFFFFFFFF
_MAX_LOGICAL: Final = 128
EXTENDED: Final = frozenset({0x05, 0x0F, 0x85})
PROTECTIVE: Final = 0xEE
_VOLUME_NAMES: Final = (b"NTFS    ", b"EXFAT   ", b"ReFS\0\0\0\0", b"-FVE-FS-")


class Entry(msgspec.Struct, frozen=True):
    """One of the four entries of an MBR or EBR sector; ``start`` and ``length`` in sectors."""

    flag: int
    type: int
    start: int
    length: int

    @property
    def used(self) -> bool:
        """Whether the entry describes anything."""
        return self.type != 0 and self.length != 0


def has_signature(sector: bytes) -> bool:
    """Whether the sector ends in 55 AA where a boot sector does."""
    return sector[510:512] == b"\x55\xaa"


def entries(sector: bytes) -> tuple[Entry, ...]:
    """The four entries of an MBR or EBR sector, used or not."""
    found = []
    for index in range(4):
        flag, _, kind, _, start, length = _ENTRY.unpack_from(sector, _TABLE + index * _ENTRY.size)
        found.append(Entry(flag, kind, start, length))
    return tuple(found)


def _is_fat(sector: bytes) -> bool:
    """Whether the sector is the boot sector of a FAT volume (Microsoft FAT specification 1.03, "BPB structure")."""
    sector_size, cluster, reserved, fats = struct.unpack_from("<HBHB", sector, 11)
    total16, media = struct.unpack_from("<HB", sector, 19)
    (total32,) = struct.unpack_from("<I", sector, 32)
    return (
        (sector[0] == 0xE9 or (sector[0] == 0xEB and sector[2] == 0x90))
        and sector_size in (512, 1024, 2048, 4096)
        and cluster != 0
        and cluster & (cluster - 1) == 0
        and reserved != 0
        and fats in (1, 2)
        and (media == 0xF0 or media >= 0xF8)
        and (total16 != 0 or total32 != 0)
    )


def is_volume_boot_record(sector: bytes) -> bool:
    """Whether the sector begins a file system on a disk without a table: FAT, NTFS, exFAT, ReFS, BitLocker."""
    return sector[3:11] in _VOLUME_NAMES or _is_fat(sector)


def is_table(sector: bytes) -> bool:
    """Whether the first sector of a disk is an MBR with a partition table, and not a boot sector that only looks like one."""
    return has_signature(sector) and not is_volume_boot_record(sector) and all(e.flag in (0, 0x80) for e in entries(sector))


def is_protective(sector: bytes) -> bool:
    """Whether the MBR says that the disk has a GPT (an entry of type EE)."""
    return has_signature(sector) and any(e.type == PROTECTIVE for e in entries(sector))


def is_hybrid(sector: bytes) -> bool:
    """Whether a protective MBR describes partitions too."""
    return is_protective(sector) and any(e.used and e.type != PROTECTIVE for e in entries(sector))


def with_protective_size(sector: bytes, old_lbas: int, new_lbas: int) -> bytes:
    """The protective MBR for a disk of ``new_lbas`` sectors; boot code, signature and other entries are kept.

    A size of FFFFFFFF (written by Windows whatever the disk's size) stays, and so does the EE entry of a hybrid MBR that
    does not reach to the old end.
    """
    result = bytearray(sector)
    hybrid = is_hybrid(sector)
    for index, entry in enumerate(entries(sector)):
        if entry.type != PROTECTIVE or entry.length == _MAX_LBA or old_lbas == new_lbas:
            continue
        if hybrid and entry.start + entry.length != old_lbas:
            continue
        place = _TABLE + index * _ENTRY.size
        struct.pack_into("<I", result, place + 12, min(new_lbas - entry.start, _MAX_LBA))
        result[place + 5 : place + 8] = b"\xff\xff\xff"  # end CHS: "not representable", UEFI 2.10 §5.2.3
    return bytes(result)


class _Reader(msgspec.Struct, frozen=True):
    """Reads the chain of EBRs of one disk, gathering what it meets."""

    source: Source
    sector_size: int
    id: str
    partitions: list[Partition]
    ebrs: list[tuple[int, int]]
    problems: list[str]

    def add(self, number: int, entry: Entry, base: int, kind: str) -> None:
        """Append the partition of an entry whose start counts from ``base`` (LBA), clipped to the disk."""
        start = (base + entry.start) * self.sector_size
        end = start + entry.length * self.sector_size
        if start == 0:
            raise FormatError(f"Partition {number} starts at the table itself.")
        if start >= self.source.size:
            raise FormatError(f"Partition {number} starts behind the end of the disk.")
        if end > self.source.size:
            self.problems.append(f"Partition {number} ends behind the end of the disk.")
            end = self.source.size
        self.partitions.append(
            Partition(
                number=number,
                start=start,
                end=end,
                type=f"0x{entry.type:02x}",
                uuid=f"{self.id}-{number:02x}",
                attributes=1 if entry.flag & 0x80 else 0,
                kind="extended" if kind == "extended" else "logical" if kind == "logical" else "primary",
            )
        )

    def follow(self, extended: Entry, number: int) -> int:
        """Read the logical partitions of an extended one, the first as ``number``; the next free number."""
        last_lba = min(extended.start + extended.length, self.source.size // self.sector_size)
        lba = extended.start
        seen: set[int] = set()
        while True:
            broken = ""
            if lba in seen or len(seen) >= _MAX_LOGICAL:
                broken = "runs in a circle" if lba in seen else f"has more than {_MAX_LOGICAL} links"
            elif not extended.start <= lba < last_lba:
                broken = "leaves the extended partition"
            else:
                sector = self.source.pread(self.sector_size, lba * self.sector_size)
                if not has_signature(sector):
                    broken = "is broken"
            if broken:
                self.problems.append(
                    f"The chain of logical partitions {broken} after partition {number - 1 if number > 5 else 4}."
                )
                return number
            seen.add(lba)
            self.ebrs.append((lba * self.sector_size, (lba + 1) * self.sector_size))
            pair = entries(sector)[:2]
            for entry in pair:
                if entry.used and entry.type not in EXTENDED:
                    self.add(number, entry, lba, "logical")
                    number += 1
            link = next((e for e in pair if e.used and e.type in EXTENDED), None)
            if link is None:
                return number
            lba = extended.start + link.start


def _check_overlaps(partitions: list[Partition], ebrs: list[tuple[int, int]]) -> None:
    """Raise FormatError when primaries (the extended one too) or logicals overlap each other, or a logical one an EBR."""
    outer = sorted((p for p in partitions if p.kind != "logical"), key=lambda p: p.start)
    inner = sorted((p for p in partitions if p.kind != "extended"), key=lambda p: p.start)
    for group in (outer, inner):
        for left, right in pairwise(group):
            if right.start < left.end:
                raise FormatError(f"Partitions {left.number} and {right.number} overlap.")
    links = ExtentMap(ebrs)
    for partition in inner:
        if any(links.overlapping(partition.start, partition.end)):
            raise FormatError(f"Partition {partition.number} covers the description of a logical partition.")


def parse_mbr(source: Source, sector_size: int) -> Layout | None:
    """Parse an MBR and its chain of EBRs; None when the first sector is no partition table.

    Raises FormatError when the partitions overlap (as on a bootable ISO image) or lie outside of the disk; SourceReadError.
    """
    if source.size < sector_size:
        return None
    sector = source.pread(sector_size, 0)
    if not is_table(sector):
        return None
    signature = f"{int.from_bytes(sector[440:444], 'little'):08x}"
    reader = _Reader(source, sector_size, signature, [], [], [])
    first_logical = 5
    for number, entry in enumerate(entries(sector), start=1):
        if entry.used:
            extended = entry.type in EXTENDED
            reader.add(number, entry, 0, "extended" if extended else "primary")
            if extended:
                first_logical = reader.follow(entry, first_logical)
    _check_overlaps(reader.partitions, reader.ebrs)
    return Layout(
        size=source.size,
        sector_size=sector_size,
        label="dos",
        id=signature,
        usable_start=sector_size,
        usable_end=min(source.size // sector_size, _MAX_LBA + 1) * sector_size,
        partitions=tuple(sorted(reader.partitions, key=lambda p: (p.start, p.kind != "extended"))),
        table=tuple(ExtentMap([(0, sector_size), *reader.ebrs])),
        problems=tuple(reader.problems),
    )
