"""The superblock of xfs, versions 4 and 5: geometry and features.

Specification: "XFS Algorithms & Data Structures", 3rd edition, "Superblocks"; fs/xfs/libxfs/xfs_format.h.
"""

from __future__ import annotations

import struct

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.crc32c import crc32c
from rescue.model.source import Source
from rescue.units import MIB

_MAGIC = b"XFSB"
_CHECKSUM_PLACE = 224
_VERSION_KNOWN = 0xBDF0  # all but "shared", which Linux never had, and borgbit
_VERSION_MOREBITS = 0x8000
_FEATURES2_KNOWN = 0x0001 | 0x0002 | 0x0008 | 0x0080 | 0x0100 | 0x0200  # lazy counts, attr2, 32-bit projects, crc, ftype
_RO_COMPAT_KNOWN = 0xF  # finobt, rmapbt, reflink, inobtcount
# ftype, sparse inodes, meta_uuid, bigtime, needs repair, nrext64, exchange range, parent pointers. Not yet: metadir and
# zoned, which bring realtime groups onto the same device.
_INCOMPAT_KNOWN = 0xFF
_INCOMPAT_NEEDS_REPAIR = 0x10
_LOG_INCOMPAT_KNOWN = 0x1  # logged extended attributes


class Superblock(msgspec.Struct, frozen=True):
    """Sizes in bytes, ``log_start`` too; counts are of file-system blocks."""

    version: int
    block_size: int
    sector_size: int
    blocks: int
    group_blocks: int
    groups: int
    log_start: int  # 0 when the log is on another device
    log_size: int
    untrusted: str  # why the free-space trees cannot be used, as a sentence; "" when they can

    @property
    def size(self) -> int:
        """Bytes of the file system."""
        return self.blocks * self.block_size

    @property
    def checksums(self) -> bool:
        """Whether metadata blocks carry a CRC-32C."""
        return self.version == 5

    def blocks_of_group(self, group: int) -> int:
        """Blocks of an allocation group; the last one may be shorter."""
        return min(self.group_blocks, self.blocks - group * self.group_blocks)


def _require(condition: bool, said: str) -> None:
    if not condition:
        raise FormatError(f"xfs superblock: {said}.")


def _power_of_two(value: int, low: int, high: int) -> bool:
    return low <= value <= high and not value & (value - 1)


def has_valid_checksum(data: bytes, place: int) -> bool:
    """Whether the little-endian CRC-32C at ``place`` in a metadata block is that of the block with zeros there."""
    return crc32c(data[:place] + bytes(4) + data[place + 4 :]) == int.from_bytes(data[place : place + 4], "little")


def read_superblock(volume: Source) -> Superblock:
    """Read and check the primary superblock. Raises FormatError when its numbers make no sense."""
    _require(volume.size >= 512, "the volume is too small for one")
    data = volume.pread(512, 0)
    _require(data[:4] == _MAGIC, "it has no magic number")
    block_size, blocks, realtime_blocks = struct.unpack_from(">IQQ", data, 4)
    (log_block,) = struct.unpack_from(">Q", data, 48)
    group_blocks, groups, _, log_blocks, bits, sector_size = struct.unpack_from(">IIIIHH", data, 84)
    group_shift, in_progress = data[124], data[126]
    version = bits & 0xF
    _require(version in (4, 5), f"version {version} is unknown")
    _require(_power_of_two(sector_size, 512, 32768), "its sector size makes no sense")
    _require(_power_of_two(block_size, max(sector_size, 512), 65536), "its block size makes no sense")
    if version == 5:
        _require(volume.size >= sector_size, "the volume is too small for one")
        _require(has_valid_checksum(volume.pread(sector_size, 0), _CHECKSUM_PLACE), "its checksum is wrong")
    _require(groups > 0 and group_blocks >= 64, "its allocation groups make no sense")
    _require(groups == -(-blocks // group_blocks), "its allocation groups do not add up")
    _require(groups == 1 or group_blocks * block_size >= 16 * MIB, "its allocation groups are too small")
    _require(group_shift == (group_blocks - 1).bit_length(), "the size of its allocation groups makes no sense")
    log_start = 0
    if log_block:
        group, inside = log_block >> group_shift, log_block & (1 << group_shift) - 1
        _require(group < groups, "its log is outside of the file system")
        _require(inside + log_blocks <= min(group_blocks, blocks - group * group_blocks), "its log leaves its allocation group")
        log_start = (group * group_blocks + inside) * block_size
    return Superblock(
        version=version,
        block_size=block_size,
        sector_size=sector_size,
        blocks=blocks,
        group_blocks=group_blocks,
        groups=groups,
        log_start=log_start,
        log_size=log_blocks * block_size,
        untrusted=_why_untrusted(data, bits, bool(in_progress), bool(realtime_blocks), bool(log_block)),
    )


def _why_untrusted(data: bytes, bits: int, in_progress: bool, realtime: bool, log: bool) -> str:
    features2, _, _, ro_compat, incompat, log_incompat = struct.unpack_from(">IIIIII", data, 200)
    unknown = bits & ~_VERSION_KNOWN & ~0xF
    if bits & _VERSION_MOREBITS:
        unknown |= features2 & ~_FEATURES2_KNOWN
    if bits & 0xF == 5:
        unknown |= ro_compat & ~_RO_COMPAT_KNOWN | incompat & ~_INCOMPAT_KNOWN | log_incompat & ~_LOG_INCOMPAT_KNOWN
        if incompat & _INCOMPAT_NEEDS_REPAIR:
            return "It is marked as needing repair. Check it with xfs_repair."
    if unknown:
        return f"It uses features that this program does not know ({unknown:#x})."
    if in_progress:
        return "Its making was not finished."
    if realtime:
        return "It has a realtime part on another device."
    if not log:
        return "Its log is on another device."
    return ""
