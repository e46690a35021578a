"""The GUID partition table (UEFI 2.10 §5.3): both copies read and checked, and moved to the end of another disk."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Final
from uuid import UUID

import msgspec

from rescue.devices.mbr import with_protective_size
from rescue.errors import FormatError, RefusedError
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout, Partition
from rescue.model.source import BytesSource, Source
from rescue.units import align_up, human_size

SIGNATURE: Final = b"EFI PART"
_HEADER: Final = struct.Struct("<8s4sIIIQQQQ16sQIII")
_ENTRY: Final = struct.Struct("<16s16sQQQ72s")
_MAX_ENTRIES: Final = 1024
_MAX_ENTRY_SIZE: Final = 4096
_UNUSED: Final = bytes(16)


class Header(msgspec.Struct, frozen=True):
    """One GPT header (UEFI 2.10 table 5-5). Positions are LBAs. ``sector`` is the whole sector that it was read from."""

    sector: bytes
    header_size: int
    my_lba: int
    alternate_lba: int
    first_usable: int
    last_usable: int
    disk_guid: str
    entries_lba: int
    entry_count: int
    entry_size: int
    entries_crc: int

    @property
    def entries_length(self) -> int:
        """Bytes of the entry array, without the padding to a whole sector."""
        return self.entry_count * self.entry_size

    def entry_sectors(self, sector_size: int) -> int:
        """Sectors that the entry array takes."""
        return align_up(self.entries_length, sector_size) // sector_size

    def moved(self, *, my_lba: int, alternate_lba: int, last_usable: int, entries_lba: int) -> bytes:
        """The header's sector with these positions and a right CRC; everything else, padding too, is kept."""
        sector = bytearray(self.sector)
        struct.pack_into("<QQ", sector, 24, my_lba, alternate_lba)
        struct.pack_into("<Q", sector, 48, last_usable)
        struct.pack_into("<Q", sector, 72, entries_lba)
        struct.pack_into("<I", sector, 16, 0)
        struct.pack_into("<I", sector, 16, zlib.crc32(sector[: self.header_size]))
        return bytes(sector)


class Copy(msgspec.Struct, frozen=True):
    """One good copy of a GPT. ``array`` is the entry array, padded to whole sectors as on the disk."""

    header: Header
    array: bytes
    partitions: tuple[Partition, ...]


def _guid(raw: bytes) -> str:
    return str(UUID(bytes_le=raw)).upper()


def _read_header(sector: bytes, lba: int, sector_size: int) -> Header:
    if sector[:8] != SIGNATURE:
        raise FormatError("There is no GPT header.")
    (_, revision, size, crc, _, my_lba, alternate, first, last, guid, entries_lba, count, entry_size, entries_crc) = (
        _HEADER.unpack_from(sector)
    )
    if revision[2:] != b"\x01\x00":
        raise FormatError("The GPT header has an unknown revision.")
    if not _HEADER.size <= size <= sector_size:
        raise FormatError(f"The GPT header says that it is {size} bytes long.")
    blanked = sector[:16] + bytes(4) + sector[20:size]
    if zlib.crc32(blanked) != crc:
        raise FormatError("The checksum of the GPT header is wrong.")
    if my_lba != lba:
        raise FormatError("The GPT header is not where it says that it is.")
    if not 1 <= count <= _MAX_ENTRIES:
        raise FormatError(f"The GPT says that it has {count} entries.")
    if not 128 <= entry_size <= _MAX_ENTRY_SIZE or entry_size & (entry_size - 1):
        raise FormatError(f"The GPT says that its entries are {entry_size} bytes long.")
    return Header(sector, size, my_lba, alternate, first, last, _guid(guid), entries_lba, count, entry_size, entries_crc)


def _read_partitions(header: Header, array: bytes, sector_size: int) -> tuple[Partition, ...]:
    found = []
    for index in range(header.entry_count):
        kind, unique, first, last, attributes, name = _ENTRY.unpack_from(array, index * header.entry_size)
        if kind == _UNUSED:
            continue
        if first > last:
            raise FormatError(f"GPT partition {index + 1} ends before it starts.")
        found.append(
            Partition(
                number=index + 1,
                start=first * sector_size,
                end=(last + 1) * sector_size,
                type=_guid(kind),
                uuid=_guid(unique),
                name=name.decode("utf-16-le", "replace").split("\0", 1)[0],
                attributes=attributes,
            )
        )
    return tuple(sorted(found, key=lambda p: p.start))


def _check_places(header: Header, partitions: tuple[Partition, ...], sector_size: int, lbas: int) -> None:
    needed = max(header.last_usable, header.alternate_lba) + 1
    if needed > lbas:
        raise FormatError(f"The GPT was made for a disk of at least {needed} sectors, this one has {lbas}.")
    if not 2 <= header.first_usable <= header.last_usable + 1:
        raise FormatError("The usable range of the GPT is empty or covers the GPT itself.")
    for partition in partitions:
        if partition.end > lbas * sector_size:
            raise FormatError(f"GPT partition {partition.number} ends behind the end of the disk.")
    for left, right in pairwise(partitions):
        if right.start < left.end:
            raise FormatError(f"GPT partitions {left.number} and {right.number} overlap.")
    sectors = header.entry_sectors(sector_size)
    # The main entries follow the main header unless the main header itself says otherwise.
    main_entries = header.entries_lba if header.my_lba == 1 else 2
    places = ((0, 2), (main_entries, sectors), (header.my_lba, 1), (header.entries_lba, sectors))
    tables = ExtentMap((lba * sector_size, (lba + length) * sector_size) for lba, length in places)
    for partition in partitions:
        if any(tables.overlapping(partition.start, partition.end)):
            raise FormatError(f"GPT partition {partition.number} covers the GPT itself.")


def read_copy(source: Source, lba: int, sector_size: int, lbas: int) -> Copy:
    """Read the copy whose header is at ``lba`` of a disk of ``lbas`` sectors; check its CRCs and every bound.

    ``source`` may be only the head of that disk. Raises FormatError when the copy is missing or not good.
    """
    header = _read_header(source.pread(sector_size, lba * sector_size), lba, sector_size)
    start = header.entries_lba * sector_size
    length = header.entry_sectors(sector_size) * sector_size
    if header.entries_lba < 2 or start + length > source.size:
        raise FormatError("The GPT entries are outside of the disk.")
    array = source.pread(length, start)
    if zlib.crc32(array[: header.entries_length]) != header.entries_crc:
        raise FormatError("The checksum of the GPT entries is wrong.")
    partitions = _read_partitions(header, array, sector_size)
    _check_places(header, partitions, sector_size, lbas)
    return Copy(header, array, partitions)


def _try_copy(source: Source, lba: int, sector_size: int, lbas: int) -> Copy | FormatError:
    try:
        return read_copy(source, lba, sector_size, lbas)
    except FormatError as error:
        return error


def _alternate_of_damaged(source: Source, sector_size: int, lbas: int) -> int:
    """Where a primary header whose entries are damaged says that the backup is; else the last sector."""
    try:
        alternate = _read_header(source.pread(sector_size, sector_size), 1, sector_size).alternate_lba
    except FormatError:
        return lbas - 1
    return alternate if 1 < alternate < lbas else lbas - 1


def _find(source: Source, sector_size: int) -> tuple[Copy | FormatError, Copy | FormatError, int]:
    """The primary copy, the backup copy, and where the backup is or ought to be (LBA)."""
    lbas = source.size // sector_size
    primary = _try_copy(source, 1, sector_size, lbas)
    lba = primary.header.alternate_lba if isinstance(primary, Copy) else _alternate_of_damaged(source, sector_size, lbas)
    backup: Copy | FormatError = FormatError("There is no room for a backup GPT.")
    if lba > 1:
        backup = _try_copy(source, lba, sector_size, lbas)
        if isinstance(backup, FormatError) and not isinstance(primary, Copy) and lba != lbas - 1:
            lba = lbas - 1
            backup = _try_copy(source, lba, sector_size, lbas)
    return primary, backup, lba


def has_backup_only(source: Source, sector_size: int) -> bool:
    """Whether the backup GPT is good and there is no good primary one."""
    if source.size < 3 * sector_size:
        return False
    primary, backup, _ = _find(source, sector_size)
    return not isinstance(primary, Copy) and isinstance(backup, Copy)


def _good(primary: Copy | FormatError, backup: Copy | FormatError) -> Copy:
    if isinstance(primary, Copy):
        return primary
    if isinstance(backup, Copy):
        return backup
    raise primary


def _problems(primary: Copy | FormatError, backup: Copy | FormatError, backup_lba: int, sector_size: int, lbas: int) -> list[str]:
    problems = []
    if not isinstance(primary, Copy):
        problems.append(f"The main GPT at the start of the disk is damaged; its backup was used. {primary.message}")
    if not isinstance(backup, Copy):
        problems.append(f"The backup GPT is damaged. {backup.message}")
    elif isinstance(primary, Copy):
        same = (primary.header.disk_guid, primary.partitions) == (backup.header.disk_guid, backup.partitions)
        if not same:
            problems.append("The two copies of the GPT differ; the main one was used.")
        if backup_lba != lbas - 1:
            problems.append("The backup GPT is not at the end of the disk: the disk is bigger than its table says.")
    good = _good(primary, backup)
    first, end = good.header.first_usable * sector_size, (good.header.last_usable + 1) * sector_size
    problems.extend(
        f"Partition {p.number} is outside of the range that the GPT says is usable."
        for p in good.partitions
        if p.start < first or p.end > end
    )
    return problems


def parse_gpt(source: Source, sector_size: int) -> Layout | None:
    """Parse the GPT at either end (UEFI 2.10 §5.3); None when there is no trace of one.

    The primary copy is used, or the backup when the primary is damaged; ``Layout.problems`` says so.
    Raises FormatError when there is one and neither copy is good; SourceReadError.
    """
    lbas = source.size // sector_size
    if lbas < 3:
        return None
    primary, backup, backup_lba = _find(source, sector_size)
    if not isinstance(primary, Copy) and not isinstance(backup, Copy):
        if source.pread(8, sector_size) == SIGNATURE or source.pread(8, (lbas - 1) * sector_size) == SIGNATURE:
            raise FormatError(f"Both copies of the GPT are damaged. {primary.message}")
        return None
    good = _good(primary, backup)
    sectors = good.header.entry_sectors(sector_size)
    entries_lba = primary.header.entries_lba if isinstance(primary, Copy) else 2
    backup_entries_lba = backup.header.entries_lba if isinstance(backup, Copy) else backup_lba - sectors
    occupied = ExtentMap((p.start, p.end) for p in good.partitions)
    table = ExtentMap(
        (max(lba, 0) * sector_size, (lba + length) * sector_size)
        for lba, length in ((0, 2), (entries_lba, sectors), (backup_entries_lba, sectors), (backup_lba, 1))
    )
    return Layout(
        size=source.size,
        sector_size=sector_size,
        label="gpt",
        id=good.header.disk_guid,
        usable_start=good.header.first_usable * sector_size,
        usable_end=(good.header.last_usable + 1) * sector_size,
        partitions=good.partitions,
        table=tuple(table.difference(occupied)),  # where a lost copy would be, data may be by now
        problems=tuple(_problems(primary, backup, backup_lba, sector_size, lbas)),
    )


def _writes(mbr: bytes, copy: Copy, primary_entries_lba: int, sector_size: int, new_size: int) -> list[tuple[int, bytes]]:
    """The sectors of both copies of ``copy`` on a disk of ``new_size`` bytes, in the order of the disk."""
    header = copy.header
    old_last = max(header.my_lba, header.alternate_lba)
    new_last = new_size // sector_size - 1
    sectors = header.entry_sectors(sector_size)
    last_usable = header.last_usable
    if new_last != old_last:
        # Some tools leave more room than needed between the last usable sector and the end: keep that distance.
        last_usable = new_last - max(old_last - header.last_usable, sectors + 1)
    end = max((p.end for p in copy.partitions), default=0)
    if end > (new_last - sectors) * sector_size or last_usable < header.first_usable:
        short = end + (sectors + 1) * sector_size - (new_last + 1) * sector_size
        raise RefusedError(f"The partitions do not fit: the disk is too small by {human_size(max(short, sector_size))}.")
    last_usable = max(last_usable, end // sector_size - 1)
    first = header.moved(my_lba=1, alternate_lba=new_last, last_usable=last_usable, entries_lba=primary_entries_lba)
    second = header.moved(my_lba=new_last, alternate_lba=1, last_usable=last_usable, entries_lba=new_last - sectors)
    return [
        (0, with_protective_size(mbr, old_last + 1, new_last + 1)),
        (sector_size, first),
        (primary_entries_lba * sector_size, copy.array),
        ((new_last - sectors) * sector_size, copy.array),
        (new_last * sector_size, second),
    ]


def relocate_gpt(primary_and_entries: bytes, sector_size: int, new_size: int) -> list[tuple[int, bytes]]:
    """The sectors ``(offset, bytes)`` that make the GPT in the head of a disk right for a disk of ``new_size`` bytes.

    ``primary_and_entries`` are the first bytes of the disk: protective MBR, primary header and entries. Only the sizes,
    positions and CRCs change. Raises FormatError when the head holds no good GPT, RefusedError when it does not fit.
    """
    source = BytesSource(primary_and_entries)
    if source.size < 2 * sector_size:
        raise FormatError("The head of the disk is too short to hold a GPT.")
    # The size of the disk that the head comes from is what its header says; the limit is what the header could address.
    copy = read_copy(source, 1, sector_size, 1 << 63)
    return _writes(source.pread(sector_size, 0), copy, copy.header.entries_lba, sector_size, new_size)


def relocate_from(source: Source, sector_size: int, new_size: int) -> list[tuple[int, bytes]]:
    """As :func:`relocate_gpt`, from a whole disk or its image: when the primary copy is damaged the backup serves.

    Raises FormatError when neither copy is good, RefusedError when the partitions do not fit.
    """
    primary, backup, _ = _find(source, sector_size)
    copy = _good(primary, backup)
    entries_lba = copy.header.entries_lba if isinstance(primary, Copy) else 2
    return _writes(source.pread(sector_size, 0), copy, entries_lba, sector_size, new_size)
