"""An MBR partition table written from a Layout: the first sector and the chain of EBRs."""

from __future__ import annotations

import struct
from typing import Final

from rescue.devices import mbr
from rescue.errors import RefusedError
from rescue.model.layout import Layout, Partition
from rescue.model.tables import MBR_SECTORS, link_offsets, logical_partitions
from rescue.units import human_size

BOOT_CODE: Final = 440  # bytes of boot code before the disk's signature
_ENTRY: Final = struct.Struct("<B3sB3sII")
_TABLE: Final = 446
_LINK: Final = 0x05
_MOST_LOGICAL: Final = 128  # links of a chain that are read
_HEADS: Final = 255
_SECTORS: Final = 63
_NOT_REPRESENTABLE: Final = (1023, 254, 63)


def _chs(lba: int) -> bytes:
    """A cylinder, head and sector as BIOSes and all partition tools of today count them: 255 heads, 63 sectors."""
    cylinder, rest = divmod(lba, _HEADS * _SECTORS)
    head, sector = divmod(rest, _SECTORS)
    sector += 1
    if cylinder > 1023:
        cylinder, head, sector = _NOT_REPRESENTABLE
    return bytes((head, sector | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def pack_entry(flag: int, kind: int, start: int, length: int, *, base: int = 0, is_protective: bool = False) -> bytes:
    """The 16 bytes of an entry, in sectors; ``start`` counts from ``base`` (that of an EBR), cylinders from the disk's start."""
    if is_protective:  # UEFI 2.10 table 5-4
        return _ENTRY.pack(flag, b"\x00\x02\x00", kind, b"\xff\xff\xff", start, length)
    return _ENTRY.pack(flag, _chs(base + start), kind, _chs(base + start + length - 1), start, length)


def _code(partition: Partition) -> int:
    try:
        code = int(partition.type, 16)
    except ValueError as error:
        raise RefusedError(f"Partition {partition.number} has no type that an MBR knows: “{partition.type}”.") from error
    if not 0 < code <= 0xFF or (code in mbr.EXTENDED) != (partition.kind == "extended") or code == mbr.PROTECTIVE:
        raise RefusedError(f"Partition {partition.number} cannot have the type {partition.type}.", "Give it another type.")
    return code


def _packed(partition: Partition, sector_size: int, base: int) -> bytes:
    """The entry of a partition, its start counted from ``base`` (LBA)."""
    flag = 0x80 if partition.attributes & 1 else 0
    start, length = partition.start // sector_size - base, partition.size // sector_size
    return pack_entry(flag, _code(partition), start, length, base=base)


def _check(layout: Layout) -> None:
    limit = MBR_SECTORS * layout.sector_size
    for partition in layout.partitions:
        if partition.end > limit:
            raise RefusedError(
                f"Partition {partition.number} ends behind {human_size(limit)}, more than an MBR can describe on a disk with"
                f" sectors of {layout.sector_size} bytes.",
                "Make it a GPT.",
            )
        logical = partition.kind == "logical"
        if (not logical and partition.number > 4) or (logical and partition.number < 5):
            raise RefusedError(f"Partition {partition.number} cannot have that number in an MBR.", "Give it another number.")
    if sum(p.kind == "extended" for p in layout.partitions) > 1:
        raise RefusedError("A disk cannot have two extended partitions.")
    numbers = [p.number for p in logical_partitions(layout.partitions)]
    if numbers != list(range(5, 5 + len(numbers))):
        raise RefusedError("Logical partitions are numbered from 5 on without a gap.")
    if len(numbers) > _MOST_LOGICAL:
        raise RefusedError(f"An MBR with more than {_MOST_LOGICAL} logical partitions would not be read.", "Make it a GPT.")


def _ebrs(layout: Layout) -> list[tuple[int, bytes]]:
    """The chain of EBRs: each describes its partition, counted from itself, and the next link, counted from the first."""
    sector_size = layout.sector_size
    extended = next((p for p in layout.partitions if p.kind == "extended"), None)
    if extended is None:
        if logical_partitions(layout.partitions):
            raise RefusedError("There are logical partitions, but no extended one that could hold them.")
        return []
    base = extended.start // sector_size
    links = link_offsets(layout)
    chain = logical_partitions(layout.partitions)
    writes = []
    for index, partition in enumerate(chain):
        here = links[partition.number]
        if not extended.start < partition.start < partition.end <= extended.end:
            raise RefusedError(f"Logical partition {partition.number} is not inside of the extended one.")
        sector = bytearray(sector_size)
        sector[_TABLE : _TABLE + 16] = _packed(partition, sector_size, here // sector_size)
        if index + 1 < len(chain):
            following = chain[index + 1]
            lba = links[following.number] // sector_size
            link = pack_entry(0, _LINK, lba - base, following.end // sector_size - lba, base=base)
            sector[_TABLE + 16 : _TABLE + 32] = link
        sector[510:512] = b"\x55\xaa"
        writes.append((here, bytes(sector)))
    return writes or [(extended.start, bytes(510) + b"\x55\xaa" + bytes(sector_size - 512))]


def mbr_writes(layout: Layout, head: bytes) -> list[tuple[int, bytes]]:
    """The EBRs of ``layout`` from the last link to the first, then its first sector, as ``(offset, bytes)``.

    See :func:`rescue.devices.write_table.table_writes`.
    """
    _check(layout)
    try:
        signature = int(layout.id or "0", 16).to_bytes(4, "little")
    except (ValueError, OverflowError) as error:
        raise RefusedError(f"The disk's signature is not one for an MBR: “{layout.id}”.") from error
    first = bytearray(layout.sector_size)
    code = head[:BOOT_CODE]
    first[: len(code)] = code
    first[440:444] = signature
    for partition in layout.partitions:
        if partition.kind != "logical":
            at = _TABLE + (partition.number - 1) * 16
            first[at : at + 16] = _packed(partition, layout.sector_size, 0)
    first[510:512] = b"\x55\xaa"
    if not mbr.is_table(bytes(first)):
        # A boot sector of a file system in the place of boot code would make the table look like none.
        first[:BOOT_CODE] = bytes(BOOT_CODE)
    return [*reversed(_ebrs(layout)), (0, bytes(first))]
