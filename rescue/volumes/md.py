"""The superblocks of Linux software RAID (md), versions 0.90 and 1.x.

Source: the Linux kernel, include/uapi/linux/raid/md_p.h and drivers/md/md.c.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import KIB

LINEAR: Final = -1
_MAGIC: Final = 0xA92B4EFC
_SECTOR: Final = 512
_OLD_SIZE: Final = 4 * KIB
_OLD_RESERVED: Final = 64 * KIB
_HEAD: Final = 256
_MAX_MEMBERS: Final = 1920
# The features that do not change where the data are: a bitmap, its version, and which layout a RAID 0 has.
_HARMLESS: Final = 1 << 0 | 1 << 8 | 1 << 12
_FAULTY: Final = 0xFFFD  # the least role that is none
_SYNCED: Final = (1 << 64) - 1
_LEVELS: Final = {LINEAR: "linear array", 0: "RAID 0", 1: "RAID 1", 4: "RAID 4", 5: "RAID 5", 6: "RAID 6", 10: "RAID 10"}
_PARITY: Final = frozenset({4, 5, 6})
_CHUNKED: Final = frozenset({0, 10}) | _PARITY
_MAX_CHUNK: Final = 1 << 31


class RaidMember(msgspec.Struct, frozen=True):
    """A member of an array, whose share of the content is ``[start, end)`` of it; ``role`` is its place in the array.

    ``events``: members of one array that agree have the same. ``chunk`` in bytes, a power of two but for a linear array;
    ``layout`` as the kernel counts them.
    """

    uuid: str
    name: str
    start: int
    end: int
    events: int
    level: int = 1
    disks: int = 0
    role: int = 0
    chunk: int = 0
    layout: int = 0

    @property
    def kind(self) -> str:
        """For people: "RAID 5"."""
        return level_words(self.level)

    @property
    def shape(self) -> tuple[int, ...]:
        """What all members of an array have in common; those of RAID 0 and linear ones may have any size."""
        length = self.end - self.start if self.level > 0 else 0
        return (self.level, self.disks if self.level != 1 else 0, self.chunk, self.layout, length)


def level_words(level: int) -> str:
    """A level for people."""
    return _LEVELS.get(level, f"RAID of level {level}")


def read_raid_member(source: Source) -> RaidMember:
    """Read the superblock of a member of an array.

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


def _signed(value: int) -> int:
    return value - ((value & 0x8000_0000) << 1)


def _level(value: int) -> int:
    level = _signed(value)
    if level not in _LEVELS:
        raise UnsupportedError(f"It is a part of a set of disks ({level_words(level)}), which this program does not know.")
    return level


def _disorder(level: int) -> UnsupportedError:
    return UnsupportedError(f"It is a part of a {level_words(level)} that is being rebuilt, changed or was not stopped cleanly.")


def _share(head: Fields, level: int, chunk: int, component: int, room: int) -> int:
    """The bytes of a member that the content takes: of RAID 0 and linear arrays all, of others the least member's."""
    if level in _CHUNKED:
        head.require(4 * KIB <= chunk <= _MAX_CHUNK and not chunk & (chunk - 1), f"chunks of {chunk} bytes")
    length = room if level < 1 else component
    if chunk and level != 1:
        length -= length % chunk
    head.require(0 < length <= room, "its data leave the volume")
    return length


def _version_1(head: Fields, size: int) -> RaidMember:
    members = head.u32(220)
    head.require(0 < members <= _MAX_MEMBERS, f"{members} members make no sense")
    covered = _HEAD + 2 * members
    head.require(covered <= len(head), f"{members} members do not fit into it")
    data = bytearray(head.bytes(0, covered))
    data[216:220] = bytes(4)
    head.require(head.u32(216) == _folded(bytes(data)), "its checksum is wrong")
    level = _level(head.u32(72))
    number = head.u32(160)
    head.require(number < members, "it has no place in its own list")
    role = head.u16(_HEAD + 2 * number)
    synced = level < 1 or head.u64(208) == _SYNCED
    if head.u32(8) & ~_HARMLESS or role >= _FAULTY or not synced:
        raise _disorder(level)
    disks, chunk = head.u32(92), head.u32(88) * _SECTOR
    head.require(level == 1 or role < disks <= _MAX_MEMBERS, f"it is number {role} of {disks}")
    start, room = head.u64(128) * _SECTOR, head.u64(136) * _SECTOR
    head.require(start + room <= size, "its data leave the volume")
    component = head.u64(80) * _SECTOR
    length = _share(head, level, chunk, min(component, room) if level == 1 else component, room)
    name = head.bytes(32, 32).split(b"\0")[0].decode("utf-8", "replace")
    uuid = head.bytes(16, 16).hex()
    return RaidMember(uuid, name, start, start + length, head.u64(200), level, disks, role, chunk, head.u32(76))


def _version_0(block: Fields, end: int) -> RaidMember:
    data = bytearray(block.data)
    data[152:156] = bytes(4)
    block.require(block.u32(152) == _folded(bytes(data)), "its checksum is wrong")
    if block.u32(8) != 90:
        raise UnsupportedError("It is a member of a RAID that is being changed.")
    level = _level(block.u32(28))
    # MD_SB_CLEAN and not MD_SB_ERRORS; this disk MD_DISK_ACTIVE, MD_DISK_SYNC and not MD_DISK_FAULTY
    if block.u32(132) & 0b11 != 0b01 or block.u32(3968 + 16) & 0b1111 != 0b0110:
        raise _disorder(level)
    disks, role, chunk = block.u32(40), block.u32(3968 + 12), block.u32(260)
    block.require(level == 1 or role < disks <= _MAX_MEMBERS, f"it is number {role} of {disks}")
    length = _share(block, level, chunk, block.u32(32) * KIB, end)
    uuid = (block.bytes(20, 4) + block.bytes(52, 12)).hex()
    return RaidMember(uuid, "", 0, length, block.u64(156), level, disks, role, chunk, block.u32(256))


def _folded(data: bytes) -> int:
    """The sum of little-endian words of 32 bits (the last may have 16), its carries added."""
    total = sum(int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4))
    return ((total & 0xFFFF_FFFF) + (total >> 32)) & 0xFFFF_FFFF
