"""The used map of ext2, ext3 and ext4, from the block bitmaps of all groups.

Specification: the Linux kernel's Documentation/filesystems/ext4, "Block Group Descriptors", "Block and Inode Bitmaps",
"Meta Block Groups", "Bigalloc".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.crc32c import crc32c_update
from rescue.filesystems.ext_superblock import (
    COMPAT_SPARSE_SUPER2,
    INCOMPAT_64BIT,
    INCOMPAT_META_BG,
    RO_COMPAT_GDT_CHECKSUM,
    RO_COMPAT_METADATA_CHECKSUM,
    RO_COMPAT_SPARSE_SUPER,
    SUPERBLOCK_OFFSET,
    Superblock,
    read_superblock,
)
from rescue.model.bitmap import set_runs
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.units import MIB

_BLOCK_UNINIT = 0x2
_BATCH = 4 * MIB  # bytes of joined bitmaps that are turned into runs at once


class _DistrustedError(Exception):
    """The structures are well formed but disagree with each other; the text is a sentence for people."""


class _Group(msgspec.Struct, frozen=True):
    bitmap: int  # block number
    inode_bitmap: int  # block number
    inode_table: int  # first block number
    free_clusters: int  # low 16 bits are enough to compare when the field is narrow
    uninitialised: bool
    bitmap_checksum: int
    checksum_mask: int


def used_map(volume: Source) -> UsedMap:
    """The used blocks of an ext2, ext3 or ext4 file system, and all that is behind its end.

    Offsets are relative to the volume. Unclean, unknown or inconsistent ones are whole, with the reason. Raises
    FormatError when the structures make no sense, SourceReadError.
    """
    superblock = read_superblock(volume)
    if superblock.unclean:
        return UsedMap.whole(volume.size, superblock.unclean)
    if superblock.size > volume.size:
        return UsedMap.whole(volume.size, "It says that it is larger than the partition it is on.")
    try:
        groups = _read_groups(volume, superblock)
        extents = [*_bitmap_extents(volume, superblock, groups), *_fixed_extents(superblock, groups)]
    except _DistrustedError as reason:
        return UsedMap.whole(volume.size, str(reason))
    extents.append((superblock.size, volume.size))
    return UsedMap(ExtentMap(extents).clip(0, volume.size))


def _has_superblock(superblock: Superblock, group: int) -> bool:
    if group == 0:
        return True
    if superblock.compat & COMPAT_SPARSE_SUPER2:
        return group in superblock.backup_groups
    if group == 1 or not superblock.ro_compat & RO_COMPAT_SPARSE_SUPER:
        return True
    return any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def _group_start(superblock: Superblock, group: int) -> int:
    return superblock.first_block + group * superblock.group_blocks


def descriptor_block(superblock: Superblock, index: int) -> int:
    """The number of block ``index`` of the group descriptors."""
    if not superblock.incompat & INCOMPAT_META_BG or index < superblock.first_meta_group:
        return superblock.superblock_block + 1 + index
    group = index * (superblock.block_size // superblock.descriptor_size)
    # The superblock of a file system with 1 KiB blocks and bigalloc is in block 1 though its groups start at 0.
    adjust = superblock.superblock_block - superblock.first_block if group == 0 else 0
    return _group_start(superblock, group) + adjust + (1 if _has_superblock(superblock, group) else 0)


def _descriptor_blocks(superblock: Superblock) -> Iterator[int]:
    """The block number of each block of group descriptors, in order."""
    per_block = superblock.block_size // superblock.descriptor_size
    return (descriptor_block(superblock, index) for index in range(-(-superblock.groups // per_block)))


def _read_groups(volume: Source, superblock: Superblock) -> list[_Group]:
    per_block = superblock.block_size // superblock.descriptor_size
    size = superblock.descriptor_size
    groups: list[_Group] = []
    for block in _descriptor_blocks(superblock):
        if block >= superblock.blocks:
            raise FormatError("ext group descriptors: they are outside of the file system.")
        table = volume.pread(superblock.block_size, block * superblock.block_size)
        for index in range(min(per_block, superblock.groups - len(groups))):
            groups.append(_parse_group(superblock, len(groups), table[index * size : (index + 1) * size]))
    return groups


def _parse_group(superblock: Superblock, number: int, data: bytes) -> _Group:
    bitmap, inode_bitmap, inode_table, free, _, _, flags = struct.unpack_from("<IIIHHHH", data)
    checksum, mask = int.from_bytes(data[0x18:0x1A], "little"), 0xFFFF
    if superblock.incompat & INCOMPAT_64BIT:
        high = struct.unpack_from("<IIIH", data, 0x20)
        bitmap |= high[0] << 32
        inode_bitmap |= high[1] << 32
        inode_table |= high[2] << 32
        free |= high[3] << 16
        checksum |= int.from_bytes(data[0x38:0x3A], "little") << 16
        mask = 0xFFFFFFFF
    first, end = superblock.first_block, superblock.blocks
    if not (first < bitmap < end and first < inode_bitmap < end and first < inode_table <= end - superblock.inode_table_blocks):
        raise FormatError(f"ext group {number}: its bitmaps or its inode table are outside of the file system.")
    summed = superblock.ro_compat & (RO_COMPAT_GDT_CHECKSUM | RO_COMPAT_METADATA_CHECKSUM)
    if summed and _descriptor_checksum(superblock, number, data) != int.from_bytes(data[0x1E:0x20], "little"):
        raise _DistrustedError(f"The checksum of its group {number} is wrong. Check it with e2fsck.")
    # Without checksums the flag has no meaning: the kernel then always reads the bitmap.
    return _Group(bitmap, inode_bitmap, inode_table, free, bool(summed and flags & _BLOCK_UNINIT), checksum, mask)


def _descriptor_checksum(superblock: Superblock, number: int, data: bytes) -> int:
    before, after = data[:0x1E], data[0x20:]
    group = number.to_bytes(4, "little")
    if superblock.ro_compat & RO_COMPAT_METADATA_CHECKSUM:
        return crc32c_update(superblock.checksum_seed, group + before + bytes(2) + after) & 0xFFFF
    return _crc16(superblock.uuid + group + before + after)


def _crc16(data: bytes) -> int:
    """CRC-16 (polynomial 0x8005, reflected, all ones before), as gdt_csum keeps it."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register


def _bitmap_extents(volume: Source, superblock: Superblock, groups: list[_Group]) -> Iterator[tuple[int, int]]:
    """The used clusters as byte ranges; raises _DistrustedError when a bitmap and its descriptor disagree."""
    length = superblock.group_clusters // 8
    cluster = superblock.cluster_blocks * superblock.block_size
    origin = superblock.first_block * superblock.block_size
    uninitialised = bytes(length)
    trusted: dict[bytes, int] = {}  # whole and empty bitmaps are the same everywhere
    joined = bytearray()
    done = 0  # clusters of the batches before
    free = 0
    for number, group in enumerate(groups):
        clusters = min(superblock.group_clusters, superblock.clusters - number * superblock.group_clusters)
        if group.uninitialised:
            joined += uninitialised
        else:
            bitmap = volume.pread(length, group.bitmap * superblock.block_size)
            _check_bitmap(superblock, number, group, bitmap, clusters, trusted)
            joined += bitmap
        free += group.free_clusters
        if len(joined) >= _BATCH or number == len(groups) - 1:
            bits = min(len(joined) * 8, superblock.clusters - done)
            for first, end in set_runs(joined, bits):
                yield origin + (done + first) * cluster, min(origin + (done + end) * cluster, superblock.size)
            done += len(joined) * 8
            joined.clear()
    # The descriptors are the truth, the superblock's count is only brought up to date now and then. It counts blocks.
    if abs(free * superblock.cluster_blocks - superblock.free_blocks) > max(superblock.blocks // 64, 256):
        raise _DistrustedError("Its free space does not add up. Check it with e2fsck.")


def _check_bitmap(
    superblock: Superblock, number: int, group: _Group, bitmap: bytes, clusters: int, trusted: dict[bytes, int]
) -> None:
    if superblock.ro_compat & RO_COMPAT_METADATA_CHECKSUM:
        found = trusted.get(bitmap)
        if found is None:
            found = crc32c_update(superblock.checksum_seed, bitmap)
            if not bitmap.strip(b"\xff") or not bitmap.strip(b"\0"):
                trusted[bitmap] = found
        if found & group.checksum_mask != group.bitmap_checksum:
            raise _DistrustedError(f"The checksum of the block bitmap of its group {number} is wrong. Check it with e2fsck.")
    used = (int.from_bytes(bitmap, "little") & ((1 << clusters) - 1)).bit_count()
    if clusters - used != group.free_clusters:
        raise _DistrustedError(f"The free space of its group {number} does not add up. Check it with e2fsck.")


def _fixed_extents(superblock: Superblock, groups: list[_Group]) -> Iterator[tuple[int, int]]:
    """Byte ranges with a fixed use: needed where a bitmap was never written, already in the bitmap elsewhere.

    The boot sectors before the superblock are in no bitmap when blocks are 1 KiB, and a boot loader may live there.
    """
    size = superblock.block_size
    yield 0, 2 * SUPERBLOCK_OFFSET
    for number, group in enumerate(groups):
        for first, count in (
            (group.bitmap, 1),
            (group.inode_bitmap, 1),
            (group.inode_table, superblock.inode_table_blocks),
            *((_backup_blocks(superblock, number),) if number == 0 or group.uninitialised else ()),
        ):
            yield first * size, min(first + count, superblock.blocks) * size


def _backup_blocks(superblock: Superblock, group: int) -> tuple[int, int]:
    """First block and count of the superblock and descriptors that a group starts with."""
    per_block = superblock.block_size // superblock.descriptor_size
    has_superblock = _has_superblock(superblock, group)
    count = 0
    if not superblock.incompat & INCOMPAT_META_BG:
        count = -(-superblock.groups // per_block) + superblock.reserved_descriptor_blocks if has_superblock else 0
    elif group // per_block < superblock.first_meta_group:
        count = superblock.first_meta_group if has_superblock else 0
    elif group % per_block in (0, 1, per_block - 1):
        count = 1
    # Block 0 lies before the superblock of a file system with 1 KiB blocks and bigalloc.
    before = superblock.superblock_block - superblock.first_block if group == 0 else 0
    return _group_start(superblock, group), before + count + (1 if has_superblock else 0)
