"""Layout: a partition table as a value."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from rescue.model.extents import Extent, ExtentMap

LabelKind = Literal["gpt", "dos", "none"]
PartitionKind = Literal["primary", "logical", "extended"]
HYBRID_MBR: Final = "The disk has a hybrid MBR: some of its partitions are described twice."  # one of Layout.problems
IMAGED_WHOLE: Final = "The disk is imaged whole."  # the end of some


class Partition(msgspec.Struct, frozen=True):
    """The bytes ``[start, end)`` of a disk, numbered as Linux numbers it.

    ``type`` is the GUID of a GPT entry (upper case, with dashes) or ``0x83`` for an MBR entry.
    """

    number: int
    start: int
    end: int
    type: str
    uuid: str = ""
    name: str = ""
    attributes: int = 0  # GPT attribute bits; for an MBR entry bit 0 is "active"
    kind: PartitionKind = "primary"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Layout(msgspec.Struct, frozen=True):
    """What is where on a disk of ``size`` bytes. ``label`` "none": no table was found.

    ``partitions`` are sorted by start. An extended MBR partition is listed (kind "extended") and contains its logical ones.
    ``table`` are the bytes that hold tables: MBR sector, both GPT copies, every EBR sector.
    ``problems`` are sentences for people: "The backup GPT is damaged."
    """

    size: int
    sector_size: int
    label: LabelKind
    id: str = ""  # GPT disk GUID, or the MBR's 32-bit signature as eight hex digits
    usable_start: int = 0
    usable_end: int = 0
    partitions: tuple[Partition, ...] = ()
    table: tuple[Extent, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def data_partitions(self) -> tuple[Partition, ...]:
        """The partitions that hold something themselves: all but an extended one."""
        return tuple(p for p in self.partitions if p.kind != "extended")

    @property
    def gaps(self) -> ExtentMap:
        """Bytes of the disk that are in no partition: tables, boot gap, EBRs, unpartitioned space."""
        return ExtentMap((p.start, p.end) for p in self.data_partitions).complement(self.size)
