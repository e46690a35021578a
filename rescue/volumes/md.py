"""The superblocks of Linux software RAID (md), versions 0.90 and 1.x.

Source: the Linux kernel, include/uapi/linux/raid/md_p.h and drivers/md/md.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import KIB

_MAGIC: Final = 0xA92B4EFC
_SECTOR: Final = 512
_OLD_SIZE: Final = 4 * KIB
_OLD_RESERVED: Final = 64 * KIB
_HEAD: Final = 256
_MAX_MEMBERS: Final = 1920
_BITMAP: Final = 1  # the only feature that does not change where the data are
_FAULTY: Final = 0xFFFD  # the least role that is none
_SYNCED: Final = (1 << 64) - 1
_LEVELS: Final = {-4: "multipath", -1: "linear", 0: "RAID 0", 4: "RAID 4", 5: "RAID 5", 6: "RAID 6", 10: "RAID 10"}


@dataclass(frozen=True, slots=True)
class RaidMember:
    """One copy of a RAID 1 whose content is ``[start, end)`` of it. ``events``: members of one array that agree have the same."""

    uuid: str
    name: str
    start: int
    end: int
    events: int


def read_raid_member(source: Source) -> RaidMember:
    """Read the superblock of a member of a RAID 1.

    Raises FormatError (there is none, or damaged), UnsupportedError (another kind of array, or not in order), SourceReadError.
    """
    size = source.size
    end = (size - 8 * KIB) // (4 * KIB) * (4 * KIB)  # version 1.0
    for offset in (4 * KIB, 0, end):
        if offset >= 0 and offset + 4 * KIB <= size:
            head = Fields(source.pread(4 * KIB, offset), "RAID superblock")
            if head.u32(0) == _MAGIC and head.u32(4) == 1 and head.u64(144) * _SECTOR == offset:
                return _version_1(head, size)
    old = size // _OLD_RESERVED * _OLD_RESERVED - _OLD_RESERVED
    if old >= 0:
        block = Fields(source.pread(_OLD_SIZE, old), "RAID superblock")
        if block.u32(0) == _MAGIC and block.u32(4) == 0:
            return _version_0(block, old)
    raise FormatError("RAID superblock: there is none of a kind that is known.")


def _require_level(level: int) -> None:
    if level != 1:
        kind = _LEVELS.get(level, f"RAID of level {level}")
        raise UnsupportedError(f"It is a part of a set of disks ({kind}), which makes sense only with the others.")


def _version_1(head: Fields, size: int) -> RaidMember:
    members = head.u32(220)
    head.require(0 < members <= _MAX_MEMBERS, f"{members} members make no sense")
    covered = _HEAD + 2 * members
    head.require(covered <= len(head), f"{members} members do not fit into it")
    data = bytearray(head.bytes(0, covered))
    data[216:220] = bytes(4)
    head.require(head.u32(216) == _folded(bytes(data)), "its checksum is wrong")
    level = head.u32(72) - ((head.u32(72) & 0x8000_0000) << 1)
    _require_level(level)
    number = head.u32(160)
    head.require(number < members, "it has no place in its own list")
    if head.u32(8) & ~_BITMAP or head.u16(_HEAD + 2 * number) >= _FAULTY or head.u64(208) != _SYNCED:
        raise UnsupportedError("It is a copy in a RAID 1 that is being rebuilt, changed or was not stopped cleanly.")
    start, length = head.u64(128) * _SECTOR, min(head.u64(80), head.u64(136)) * _SECTOR
    head.require(length > 0 and start + length <= size, "its data leave the volume")
    name = head.bytes(32, 32).split(b"\0")[0].decode("utf-8", "replace")
    return RaidMember(head.bytes(16, 16).hex(), name, start, start + length, head.u64(200))


def _version_0(block: Fields, end: int) -> RaidMember:
    data = bytearray(block.data)
    data[152:156] = bytes(4)
    block.require(block.u32(152) == _folded(bytes(data)), "its checksum is wrong")
    if block.u32(8) != 90:
        raise UnsupportedError("It is a member of a RAID that is being changed.")
    level = block.u32(28) - ((block.u32(28) & 0x8000_0000) << 1)
    _require_level(level)
    # MD_SB_CLEAN and not MD_SB_ERRORS; this disk MD_DISK_ACTIVE, MD_DISK_SYNC and not MD_DISK_FAULTY
    if block.u32(132) & 0b11 != 0b01 or block.u32(3968 + 16) & 0b1111 != 0b0110:
        raise UnsupportedError("It is a copy in a RAID 1 that is being rebuilt, changed or was not stopped cleanly.")
    length = block.u32(32) * KIB
    block.require(0 < length <= end, "its data leave the volume")
    uuid = (block.bytes(20, 4) + block.bytes(52, 12)).hex()
    return RaidMember(uuid, "", 0, length, block.u64(156))


def _folded(data: bytes) -> int:
    """The sum of little-endian words of 32 bits (the last may have 16), its carries added."""
    total = sum(int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4))
    return ((total & 0xFFFF_FFFF) + (total >> 32)) & 0xFFFF_FFFF
