"""A GUID partition table written from a Layout: protective MBR and both copies (UEFI 2.10 §5.2.3 and §5.3)."""

from __future__ import annotations

import struct
import zlib
from typing import Final
from uuid import UUID

from rescue.devices import mbr
from rescue.devices.mbr_write import BOOT_CODE, pack_entry
from rescue.errors import RefusedError
from rescue.model.layout import Layout, Partition
from rescue.model.tables import array_bytes, entry_count, entry_room, gpt_extents
from rescue.units import human_size

_HEADER: Final = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY: Final = struct.Struct("<16s16sQQQ72s")
_REVISION: Final = 0x00010000
_NAME_BYTES: Final = 72
_UNUSED: Final = UUID(int=0)


def _guid(text: str, what: str) -> bytes:
    try:
        value = UUID(text)
    except ValueError as error:
        raise RefusedError(f"{what} has no valid GUID: “{text}”.", "Give it one, or let a new one be made.") from error
    if value == _UNUSED:
        raise RefusedError(f"{what} has the GUID that means “unused”.", "Give it another one.")
    return value.bytes_le


def _entry(partition: Partition, sector_size: int) -> bytes:
    what = f"Partition {partition.number}"
    name = partition.name.encode("utf-16-le", "replace")
    if len(name) > _NAME_BYTES:
        raise RefusedError(f"The name of partition {partition.number} is too long for a GPT.", "Give it at most 36 characters.")
    return _ENTRY.pack(
        _guid(partition.type, f"The type of partition {partition.number}"),
        _guid(partition.uuid, what),
        partition.start // sector_size,
        partition.end // sector_size - 1,
        partition.attributes,
        name,
    )


def _array(layout: Layout, count: int) -> bytes:
    array = bytearray(array_bytes(count, layout.sector_size))
    for partition in layout.partitions:
        at = (partition.number - 1) * _ENTRY.size
        array[at : at + _ENTRY.size] = _entry(partition, layout.sector_size)
    return bytes(array)


def _header(layout: Layout, mine: int, other: int, entries_lba: int, count: int, crc: int) -> bytes:
    sector = layout.sector_size
    fields = (mine, other, layout.usable_start // sector, layout.usable_end // sector - 1)
    disk = _guid(layout.id, "The disk")

    def packed(header_crc: int) -> bytes:
        start = (b"EFI PART", _REVISION, _HEADER.size, header_crc, 0)
        return _HEADER.pack(*start, *fields, disk, entries_lba, count, _ENTRY.size, crc)

    return packed(zlib.crc32(packed(0))).ljust(sector, b"\0")


def _protective(layout: Layout, head: bytes) -> bytes:
    """The first sector: boot code of ``head``, and one entry over the whole disk; of a hybrid MBR no partition stays."""
    first = bytearray(layout.sector_size)
    code = head[:BOOT_CODE]
    first[: len(code)] = code
    flag = 0
    if len(head) >= 512 and mbr.is_protective(head):
        first[BOOT_CODE:446] = head[BOOT_CODE:446]
        # Some BIOSes start only what has an active entry.
        flag = next(e.flag & 0x80 for e in mbr.entries(head) if e.type == mbr.PROTECTIVE)
    lbas = layout.size // layout.sector_size
    first[446:462] = pack_entry(flag, mbr.PROTECTIVE, 1, min(lbas - 1, 0xFFFFFFFF), is_protective=True)
    first[510:512] = b"\x55\xaa"
    return bytes(first)


def _check(layout: Layout, count: int) -> None:
    front, back = gpt_extents(layout.size, layout.sector_size, count)
    if not front.end <= layout.usable_start <= layout.usable_end <= back.start:
        raise RefusedError(
            f"A disk of {human_size(layout.size)} has no room for both copies of this GPT: they need {front.length} bytes at its"
            f" start and {back.length} at its end.",
            "Let the partitions be fitted onto the disk.",
        )
    for partition in layout.partitions:
        if partition.kind != "primary":
            raise RefusedError(f"Partition {partition.number} is {partition.kind}: a GPT has no such partitions.")
        if partition.start < layout.usable_start or partition.end > layout.usable_end:
            raise RefusedError(
                f"Partition {partition.number} is not inside of what the GPT leaves for partitions.",
                "Let the partitions be fitted onto the disk.",
            )


def gpt_writes(layout: Layout, head: bytes) -> list[tuple[int, bytes]]:
    """Both copies of the GPT of ``layout`` as ``(offset, bytes)``: the backup first, the protective MBR last.

    See :func:`rescue.devices.write_table.table_writes`.
    """
    sector = layout.sector_size
    highest = max((p.number for p in layout.partitions), default=0)
    # A table that was made with few entries leaves no room for more at the end of the disk, if it does at its start.
    room = entry_room(layout) or entry_count(highest, layout.usable_start, sector)
    count = entry_count(highest, min(layout.usable_start, 2 * sector + room * _ENTRY.size), sector)
    _check(layout, count)
    array = _array(layout, count)
    crc = zlib.crc32(array[: count * _ENTRY.size])
    last = layout.size // sector - 1
    backup_array = last - len(array) // sector
    return [
        (backup_array * sector, array),
        (last * sector, _header(layout, last, 1, backup_array, count, crc)),
        (2 * sector, array),
        (sector, _header(layout, 1, last, 2, count, crc)),
        (0, _protective(layout, head)),
    ]
