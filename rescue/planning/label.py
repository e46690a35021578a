"""A partition table as one of the other kind: MBR to GPT and back, as values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec

from rescue.errors import RefusedError, UsageError
from rescue.model.extents import Extent
from rescue.model.layout import LabelKind, Layout, Partition
from rescue.model.tables import array_bytes, entry_count, gpt_extents
from rescue.model.volume import Identity
from rescue.records import replace
from rescue.units import align_down

_BASIC_DATA: Final = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
_LINUX: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_HIDDEN: Final = 1 << 62  # Microsoft's attribute of basic data partitions
_BIOS_BOOTABLE: Final = 1 << 2  # UEFI 2.10 table 5-8: "Legacy BIOS Bootable"
_MOST: Final = 59  # libfdisk reads numbers up to 60, of which the extended one has one

# Types of GPT with their MBR counterpart: fdisk's lists, the Discoverable Partitions Specification.
_PAIRS: Final = (
    (0x07, _BASIC_DATA),
    (0x27, "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"),  # Windows recovery
    (0x39, "C91818F9-8025-47AF-89D2-F030D7000C2C"),  # Plan 9
    (0x41, "9E1A2D38-C612-4316-AA26-8B49521E5A8B"),  # PowerPC PReP boot
    (0x82, "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"),  # Linux swap
    (0x83, _LINUX),
    (0x84, "D3BFE2DE-3DAF-11DF-BA40-E3A556D89593"),  # Intel Rapid Start
    (0x8E, "E6D6D379-F507-44C2-A23C-238F2A3DF928"),  # Linux LVM
    (0xA5, "516E7CB4-6ECF-11D6-8FF8-00022D09712B"),  # FreeBSD
    (0xA6, "824CC7A0-36A8-11E3-890A-952519AD3F61"),  # OpenBSD
    (0xA8, "55465300-0000-11AA-AA11-00306543ECAC"),  # Apple UFS
    (0xAB, "426F6F74-0000-11AA-AA11-00306543ECAC"),  # Apple boot
    (0xAF, "48465300-0000-11AA-AA11-00306543ECAC"),  # Apple HFS+
    (0xBF, "6A898CC3-1DD2-11B2-99A6-080020736631"),  # Solaris, ZFS
    (0xE8, "CA7D7CCB-63ED-4C53-861C-1742536059CC"),  # LUKS
    (0xEB, "42465331-3BA3-10F1-802A-4861696B7521"),  # Haiku
    (0xEF, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),  # EFI system
    (0xFB, "AA31E02A-400F-11DB-9590-000C2911D1B8"),  # VMware VMFS
    (0xFC, "9D275380-40AD-11DB-BF97-000C2911D1B8"),  # VMware core dump
    (0xFD, "A19D880F-05FC-4D3B-A006-743F0F84911E"),  # Linux RAID
)
_GUID_OF: Final = dict(_PAIRS) | dict.fromkeys((0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E), _BASIC_DATA)
_CODE_OF: Final = {guid: code for code, guid in _PAIRS} | {
    # The Discoverable Partitions of Linux: what tells them apart is lost in an MBR, not what they hold.
    "BC13C2FF-59E6-4262-A352-B275FD6F7172": 0xEA,  # extended boot loader
    "44479540-F297-41B2-9AF7-D131D5F0458A": 0x83,  # root, x86
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": 0x83,  # root, x86-64
    "69DAD710-2CE4-4E3C-B16C-21A1D49ABED3": 0x83,  # root, ARM
    "B921B045-1DF0-41C3-AF44-4C6F280D3FAE": 0x83,  # root, ARM64
    "933AC7E1-2EB4-4F13-B844-0E14E2AEF915": 0x83,  # home
    "3B8F8425-20E0-4F3B-907F-1A25A76F98E8": 0x83,  # srv
    "4D21B016-B534-45C2-A9FB-5C16E091FD2D": 0x83,  # var
    "7EC6F557-3BC5-4ACA-B293-16EF5DF639D1": 0x83,  # temporary
    "8484680C-9521-48C6-9C11-B0720656F69E": 0x83,  # usr, x86-64
    "773F91EF-66D4-49B5-BD83-D683BF40AD16": 0x83,  # a person's home
    "37AFFC90-EF7D-4E96-91C3-2D7AE055B174": 0x83,  # IBM GPFS
}
_FAT_CODES: Final = {"FAT12": 0x01, "FAT16": 0x0E, "FAT32": 0x0C}
_GUID_OF_BOTH: Final = _GUID_OF | {0xEA: "BC13C2FF-59E6-4262-A352-B275FD6F7172"}
# Hidden FAT and NTFS, and makers' own FAT partitions (Compaq and Lenovo, Dell), which systems do not show either.
_HIDDEN_CODES: Final = frozenset({0x11, 0x14, 0x16, 0x17, 0x1B, 0x1C, 0x1E, 0x12, 0xDE})
# They mean something only in a GPT, and hold nothing that another table needs.
_ONLY_GPT: Final = frozenset({"E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "21686148-6449-6E6F-744E-656564454649"})
_WHY_NOT: Final = {
    0x42: "is part of a Windows dynamic disk, whose volumes are described elsewhere",
    0xEE: "only protects a GPT",
}


class Converted(msgspec.Struct, frozen=True):
    """A layout of the other kind. ``numbers``: old and new number of each partition that is in both.

    ``left_out``: the old numbers of those that have no meaning in the other kind (Microsoft reserved, BIOS boot). Partitions
    stay where they are, so the layout may need to be fitted before it can be written: a GPT takes room at both ends, a
    logical partition a sector before it.
    """

    layout: Layout
    numbers: tuple[tuple[int, int], ...]
    left_out: tuple[int, ...] = ()


def converted(
    layout: Layout,
    label: LabelKind,
    new_id: Callable[[], UUID],
    leave_out: Collection[int] = (),
    contents: Mapping[int, Identity] = MappingProxyType({}),
) -> Converted:
    """``layout`` as a table of the kind ``label``, with types and flags mapped; ids that the new kind needs from ``new_id``.

    ``leave_out``: numbers of partitions that are not to be in it. ``contents``, by number, tells FAT from NTFS, which have one
    type in a GPT. Raises RefusedError for a partition that the other kind
    has no type for, or for too many; UsageError for label "none".
    """
    if label == layout.label:
        return Converted(layout, tuple((p.number, p.number) for p in layout.data_partitions))
    if "none" in (label, layout.label):
        raise UsageError("A disk without a partition table cannot be converted.", "Make a new table instead.")
    kept = [p for p in layout.data_partitions if p.number not in leave_out]
    return _to_gpt(layout, kept, new_id) if label == "gpt" else _to_mbr(layout, kept, new_id, contents)


def _to_gpt(layout: Layout, chosen: Sequence[Partition], new_id: Callable[[], UUID]) -> Converted:
    partitions = []
    for old in chosen:
        code = int(old.type, 16)
        hidden = code in _HIDDEN_CODES
        guid = _BASIC_DATA if hidden else _GUID_OF_BOTH.get(code, "")
        if not guid:
            why = _WHY_NOT.get(code, f"has the type {old.type}, for which a GPT has none")
            raise RefusedError(f"The MBR cannot become a GPT: partition {old.number} {why}.", "Leave the partition out.")
        attributes = (_BIOS_BOOTABLE if old.attributes & 1 else 0) | (_HIDDEN if hidden else 0)
        uuid = str(new_id()).upper()
        partitions.append(replace(old, type=guid, uuid=uuid, attributes=attributes, kind="primary"))
    sector = layout.sector_size
    highest = max((p.number for p in partitions), default=0)
    room = 2 * sector + array_bytes(max(128, highest), sector)
    count = entry_count(highest, room, sector)
    front, back = gpt_extents(layout.size, sector, count)
    new = Layout(
        size=layout.size,
        sector_size=sector,
        label="gpt",
        id=str(new_id()).upper(),
        usable_start=front.end,
        usable_end=max(back.start, front.end),
        partitions=tuple(partitions),
        table=(front, back),
    )
    return Converted(new, tuple((p.number, p.number) for p in partitions))


def _code(partition: Partition, content: Identity | None) -> int:
    guid = partition.type.upper()
    if guid == _BASIC_DATA and content and content.type == "vfat":
        return _FAT_CODES.get(content.version, 0x0C)
    return _CODE_OF[guid]


def _to_mbr(
    layout: Layout, chosen: Sequence[Partition], new_id: Callable[[], UUID], contents: Mapping[int, Identity]
) -> Converted:
    kept = [p for p in chosen if p.type.upper() not in _ONLY_GPT]
    left_out = tuple(p.number for p in chosen if p.type.upper() in _ONLY_GPT)
    if len(kept) > _MOST:
        raise RefusedError(f"The GPT cannot become an MBR: it has {len(kept)} partitions, more than {_MOST}.")
    for partition in kept:
        if partition.type.upper() not in _CODE_OF:
            raise RefusedError(
                f"The GPT cannot become an MBR: partition {partition.number} has the type {partition.type}, for which an MBR has"
                " none.",
                "Leave the partition out.",
            )
    signature = f"{new_id().int & 0xFFFFFFFF or 1:08x}"
    numbers = _mbr_numbers(kept)
    # Only one can be the one that a BIOS starts.
    active = next((p.number for p in kept if p.attributes & _BIOS_BOOTABLE and numbers[p.number] < 5), 0)
    partitions = [
        Partition(
            number=numbers[p.number],
            start=p.start,
            end=p.end,
            type=f"0x{_code(p, contents.get(p.number)):02x}",
            uuid=f"{signature}-{numbers[p.number]:02x}",
            attributes=1 if p.number == active else 0,
            kind="logical" if numbers[p.number] >= 5 else "primary",
        )
        for p in kept
    ]
    logical = [p for p in partitions if p.kind == "logical"]
    sector = layout.sector_size
    table = [Extent(0, sector)]
    if logical:
        before = max((p.end for p in partitions if p.kind == "primary"), default=sector)
        start = max(logical[0].start - sector, before)
        partitions.append(Partition(4, start, logical[-1].end, "0x0f", f"{signature}-04", kind="extended"))
    partitions.sort(key=lambda p: (p.start, p.kind != "extended"))
    new = Layout(
        size=layout.size,
        sector_size=sector,
        label="dos",
        id=signature,
        usable_start=sector,
        usable_end=min(align_down(layout.size, sector), sector << 32),
        partitions=tuple(partitions),
        table=tuple(table),
    )
    return Converted(new, tuple(numbers.items()), left_out)


def _mbr_numbers(kept: list[Partition]) -> dict[int, int]:
    """New numbers: as they are when all are below 5; else in the order of the disk, the first three primary."""
    if all(p.number <= 4 for p in kept):
        return {p.number: p.number for p in kept}
    ordered = sorted(kept, key=lambda p: p.start)
    if len(ordered) <= 4:
        return {p.number: index for index, p in enumerate(ordered, start=1)}
    return {p.number: index + 1 if index < 3 else index + 2 for index, p in enumerate(ordered)}
