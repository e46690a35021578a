"""What begins at a place of a disk without a table that says so, and where it ends: for finding lost partitions.

Only what the first bytes say of a size is believed, and only when it is possible. Whether a second copy lies where it then
has to be tells a file system that is still there from the remains of one that was overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.units import KIB, MIB, align_down

HEAD: Final = 72 * KIB  # that has to be there to recognise anything
_BTRFS: Final = 64 * KIB
_NTFS_CLUSTER: Final = 128  # sectors; larger numbers are coded, and of no disk that has a backup elsewhere


class Beginning(NamedTuple):
    """``type`` as libblkid names it; ``size`` in bytes, 0 where nothing tells it.

    ``whole``: what it keeps twice is also where it must be. ``before``: bytes before this place where it really begins, when
    a copy of the superblock of ext or xfs is here.
    """

    type: str
    size: int
    whole: bool
    before: int = 0


def places(window: bytes, length: int, step: int) -> Iterator[int]:
    """Offsets in ``[0, length)`` of ``window`` at which something may begin; multiples of ``step``, a power of two from 512.

    ``window`` reaches HEAD bytes beyond ``length``, or to the end of the disk.
    """
    found: set[int] = set()
    for magic, place in _MAGICS:
        at = window.find(magic)
        while at >= 0:
            start = at - place
            if 0 <= start < length and not start % step:
                found.add(start)
            at = window.find(magic, at + 1)
    # Two bytes are everywhere: of those of ext only the ones at the right distance from a border are looked at.
    low, high = window[1024 + 56 :: step], window[1024 + 57 :: step]
    at = low.find(0x53)
    while at >= 0:
        if at < len(high) and high[at] == 0xEF and at * step < length:
            found.add(at * step)
        at = low.find(0x53, at + 1)
    yield from sorted(found)


def beginning(source: Source) -> Beginning | None:
    """What begins at the start of ``source``, which reaches from there to the end of the disk. Raises SourceReadError."""
    head = Fields(source.pread(align_down(min(HEAD, source.size), 512), 0), "start of a file system")
    for read in (_luks, _lvm, _btrfs, _xfs, _ntfs, _exfat, _fat, _f2fs, _swap, _ext):
        try:
            if found := read(source, head):
                return found
        except FormatError:
            continue
    return None


def _same(source: Source, head: Fields, start: int, end: int, at: int) -> bool:
    """Whether the bytes ``[start, end)`` are at ``at``, too."""
    return at >= end and at + end - start <= source.size and source.pread(end - start, at) == head.bytes(start, end - start)


def _fits(source: Source, size: int, least: int = 64 * KIB) -> bool:
    return least <= size <= source.size


def _ext(source: Source, head: Fields) -> Beginning | None:
    at = 1024
    shift, incompat = head.u32(at + 24), head.u32(at + 96)
    inodes, free, group_size = head.u32(at), head.u32(at + 12), head.u32(at + 32)
    if head.u16(at + 56) != 0xEF53 or shift > 6 or not inodes or not 0 < group_size <= 8 << shift + 10:
        return None
    block = 1024 << shift
    blocks = head.u32(at + 4) | (head.u32(at + 0x150) << 32 if incompat & 0x80 else 0)
    group, first = head.u16(at + 90), head.u32(at + 20)
    if first != (block == 1024) or head.u16(at + 88) not in (0, 128, 256, 512, 1024, 2048, 4096) or free > blocks:
        return None
    # Journals hold copies of superblocks, too: those of group 0 that are no beginning have nothing at the other place.
    if group:
        before = (group * group_size + first) * block - at
        return Beginning(_ext_kind(head, at), blocks * block, False, before) if blocks > group * group_size else None
    if not _fits(source, blocks * block):
        return None
    second = (group_size + first) * block
    whole = blocks <= group_size or _same(source, head, at + 104, at + 120, second + 104)
    return Beginning(_ext_kind(head, at), blocks * block, whole)


def _ext_kind(head: Fields, at: int) -> str:
    if head.u32(at + 96) & ~0x0002 or head.u32(at + 100) & ~0x0003:  # more than filetype, sparse_super and large_file
        return "ext4"
    return "ext3" if head.u32(at + 92) & 0x0004 else "ext2"


def _xfs(source: Source, head: Fields) -> Beginning | None:
    if head.bytes(0, 4) != b"XFSB":
        return None
    numbers = [int.from_bytes(head.bytes(at, length), "big") for at, length in ((4, 4), (8, 8), (84, 4), (88, 4))]
    block, blocks, group, groups = numbers
    if block not in (512 << n for n in range(8)) or not groups or not (groups - 1) * group < blocks <= groups * group:
        return None
    # Each group begins with a copy; the header behind it says which group it is.
    sector = int.from_bytes(head.bytes(102, 2), "big")
    number = int.from_bytes(head.bytes(sector + 8, 4), "big")
    if head.bytes(sector, 4) != b"XAGF" or number >= groups:
        return None
    if number:
        return Beginning("xfs", blocks * block, False, number * group * block)
    if not _fits(source, blocks * block, 16 * MIB):
        return None
    return Beginning("xfs", blocks * block, groups == 1 or _same(source, head, 32, 48, group * block + 32))


def _btrfs(source: Source, head: Fields) -> Beginning | None:
    if head.bytes(_BTRFS + 64, 8) != b"_BHRfS_M" or head.u64(_BTRFS + 48) != _BTRFS:
        return None
    size = head.u64(_BTRFS + 0xC9 + 8)
    if not _fits(source, size, 16 * MIB):
        return None
    mirror = 64 * MIB
    return Beginning("btrfs", size, size <= mirror + 4096 or _same(source, head, _BTRFS + 32, _BTRFS + 48, mirror + 32))


def _ntfs(source: Source, head: Fields) -> Beginning | None:
    sector, sectors = head.u16(11), head.u64(40)
    if head.bytes(3, 8) != b"NTFS    " or sector not in (256, 512, 1024, 2048, 4096) or head.u16(510) != 0xAA55:
        return None
    # The backup of this sector is behind what it counts. ntfsresize counts whole clusters, and has it at the partition's end.
    for behind in range(head.u8(13) if head.u8(13) <= _NTFS_CLUSTER else 1):
        size = (sectors + behind + 1) * sector
        if not _fits(source, size, MIB):
            break
        if _same(source, head, 3, 84, size - sector + 3):
            return Beginning("ntfs", size, True)
    size = (sectors + 1) * sector
    return Beginning("ntfs", size, False) if _fits(source, size, MIB) else None


def _exfat(source: Source, head: Fields) -> Beginning | None:
    shift, sectors = head.u8(108), head.u64(72)
    if head.bytes(3, 8) != b"EXFAT   " or not 9 <= shift <= 12 or any(head.bytes(11, 53)):
        return None
    if not _fits(source, sectors << shift, MIB):
        return None
    return Beginning("exfat", sectors << shift, _same(source, head, 64, 106, (12 << shift) + 64))


def _fat(source: Source, head: Fields) -> Beginning | None:
    sector, per_cluster, reserved, fats = head.u16(11), head.u8(13), head.u16(14), head.u8(16)
    named = head.bytes(54, 3) == b"FAT" or head.bytes(82, 5) == b"FAT32"
    if head.u16(510) != 0xAA55 or not named or head.u8(0) not in (0xEB, 0xE9) or fats not in (1, 2) or not reserved:
        return None
    if sector not in (512, 1024, 2048, 4096) or not per_cluster or per_cluster & (per_cluster - 1):
        return None
    size = (head.u16(19) or head.u32(32)) * sector
    if not _fits(source, size) or reserved * sector + 512 > size:
        return None
    # The first entry of the table repeats the media byte.
    table = source.pread(512, reserved * sector)
    return Beginning("vfat", size, table[0] == head.u8(21) and table[1] == 0xFF)


def _f2fs(source: Source, head: Fields) -> Beginning | None:
    at = 1024
    if head.u32(at) != 0xF2F52010 or not 9 <= head.u32(at + 16) <= 16:
        return None
    size = head.u64(at + 36) << head.u32(at + 16)
    if not _fits(source, size, 16 * MIB):
        return None
    return Beginning("f2fs", size, _same(source, head, at, at + 64, at + 4096))


def _swap(source: Source, head: Fields) -> Beginning | None:
    for page in (4 * KIB, 8 * KIB, 16 * KIB, 64 * KIB):
        if head.bytes(page - 10, 10) == b"SWAPSPACE2" and head.u32(1024) == 1:
            size = (head.u32(1028) + 1) * page
            return Beginning("swap", size, True) if _fits(source, size, 10 * page) else None
    return None


def _luks(source: Source, head: Fields) -> Beginning | None:
    version = int.from_bytes(head.bytes(6, 2), "big")
    if head.bytes(0, 6) != b"LUKS\xba\xbe" or version not in (1, 2):
        return None
    # The second header of LUKS2 is behind the first, whose size it repeats.
    second = int.from_bytes(head.bytes(8, 8), "big") if version == 2 else 0
    has_second = 16 * KIB <= second <= 4 * MIB and second + 6 <= source.size and source.pread(6, second) == b"SKUL\xba\xbe"
    return Beginning("crypto_LUKS", 0, version == 1 or has_second)


def _lvm(source: Source, head: Fields) -> Beginning | None:
    for at in range(0, 2048, 512):
        if head.bytes(at, 8) == b"LABELONE" and head.bytes(at + 24, 8) == b"LVM2 001" and head.u64(at + 8) * 512 == at:
            place = head.u32(at + 20)
            size = head.u64(at + place + 32) if 32 <= place <= 512 - 40 else 0
            return Beginning("LVM2_member", size, True) if _fits(source, size, MIB) else None
    return None


# Where in what begins the magic bytes are; LVM's label is in one of the first four sectors, in practice in the second.
_MAGICS: Final[tuple[tuple[bytes, int], ...]] = (
    (b"LUKS\xba\xbe", 0), (b"LABELONE", 512), (b"LABELONE", 0), (b"_BHRfS_M", _BTRFS + 64), (b"XFSB", 0), (b"NTFS    ", 3),
    (b"EXFAT   ", 3), (b"FAT32   ", 82), (b"FAT16   ", 54), (b"FAT12   ", 54), (b"FAT     ", 54), (b"\x10\x20\xf5\xf2", 1024),
    (b"SWAPSPACE2", 4 * KIB - 10), (b"SWAPSPACE2", 16 * KIB - 10), (b"SWAPSPACE2", 64 * KIB - 10),
)  # fmt: skip
