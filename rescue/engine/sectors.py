"""What becomes of a volume on a disk whose sectors have another size: which file systems care, and what is to be done then.

The kernel reads no less than a sector: a file system in smaller blocks cannot be mounted. FAT, exFAT and NTFS say in their boot
sector how large a sector is, and systems believe only what is true of the disk.
"""

from __future__ import annotations

from typing import Final

from rescue.engine import exfat_refill, fat_refill, ntfs_refill
from rescue.engine.refill_make import make_ext, make_xfs
from rescue.errors import DamagedError, FormatError, UnsupportedError
from rescue.filesystems.ext_superblock import SUPERBLOCK_OFFSET
from rescue.filesystems.ext_superblock import read_superblock as read_ext
from rescue.filesystems.fields import Fields
from rescue.filesystems.ntfs_mft import Geometry as NtfsGeometry
from rescue.filesystems.ntfs_mft import read_geometry as read_ntfs
from rescue.filesystems.xfs_superblock import read_superblock as read_xfs
from rescue.model.fit import SectorFit
from rescue.model.source import Sink, SliceSource, Source
from rescue.model.volume import Identity
from rescue.units import MIB, human_size

_INDIFFERENT: Final = frozenset({"btrfs", "f2fs", "swap", "swsuspend", ""})  # in units of 4096 bytes or more, whatever the disk
_COPY: Final = SectorFit("copy")
_XFS_LEAST: Final = 300 * MIB  # mkfs.xfs
_SPARE: Final = 16 * MIB  # of an ext with blocks of 4096 bytes: its journal and descriptors
_LARGEST_NTFS_SECTORS: Final = 0x80  # sectors in a cluster; more are written as a negative power of two


def sector_fit(volume: Source, identity: Identity, whole_because: str, sector_size: int) -> SectorFit:
    """What is to be done with a volume for sectors of ``sector_size`` bytes (512 or 4096). ``whole_because`` as of its map."""
    try:
        found = _fit(volume, identity.type, sector_size)
    except (DamagedError, FormatError, UnsupportedError) as error:
        return SectorFit("refuse", error.message)
    if found.how in ("refill", "patch") and whole_because:
        return SectorFit("refuse", f"Its {identity.type} would have to be changed for them. {whole_because}")
    return found


def _fit(volume: Source, kind: str, sector: int) -> SectorFit:
    if kind in _INDIFFERENT:
        return _COPY
    match kind:
        case "ext2" | "ext3" | "ext4" | "ext4dev":
            return _COPY if read_ext(volume).block_size >= sector else _ext(volume, kind)
        case "xfs":
            return _COPY if read_xfs(volume).sector_size >= sector else _xfs(volume, sector)
        case "vfat":
            if Fields(volume.pread(512, 0), "FAT boot sector").u16(11) == sector:
                return _COPY
            return _by_entries(fat_refill.can_have(volume, volume.size, sector), "FAT", volume.size, sector)
        case "exfat":
            if 1 << volume.pread(1, 108)[0] == sector:
                return _COPY
            return _by_entries(exfat_refill.can_have(volume, volume.size, sector), "exFAT", volume.size, sector)
        case "ntfs":
            return _ntfs(volume, sector)
        case "crypto_LUKS" | "BitLocker" | "LVM2_member" | "linux_raid_member":
            return SectorFit("refuse", f"What is inside of its {_NAMES[kind]} depends on them, and cannot be changed there.")
    return SectorFit("refuse", f"This program does not know how to put {kind} on such sectors.")


_NAMES: Final = {"crypto_LUKS": "LUKS", "BitLocker": "BitLocker", "LVM2_member": "LVM", "linux_raid_member": "RAID"}


def _ext(volume: Source, kind: str) -> SectorFit:
    make_ext(volume, kind, volume.size)  # whether it can be
    fields = Fields(volume.pread(1024, SUPERBLOCK_OFFSET), "ext superblock")
    files = fields.u32(0) - fields.u32(16)
    known = read_ext(volume)
    # Each file wastes half a block, and a folder or a chain of extents takes at least one.
    needed = (known.blocks - known.free_blocks) * known.block_size + files * 4096 + _SPARE
    return SectorFit("refill", f"Its {kind} takes {human_size(needed)} in blocks of 4096 bytes.", needed)


def _xfs(volume: Source, sector: int) -> SectorFit:
    if volume.size < _XFS_LEAST:
        return SectorFit("refuse", f"It is too small for a new xfs: no program makes one below {human_size(_XFS_LEAST)}.")
    make_xfs(volume, volume.size, sector)
    return SectorFit("refill")


def _by_entries(fits: bool, kind: str, size: int, sector: int) -> SectorFit:
    if fits:
        return SectorFit("refill")
    return SectorFit("refuse", f"What is in its {kind} has no room in {human_size(size)} with sectors of {sector} bytes.")


def _ntfs(volume: Source, sector: int) -> SectorFit:
    geometry = read_ntfs(volume)
    if geometry.sector_size == sector:
        return _COPY
    # Records are protected in strides of 512 bytes, whatever the sector. But Windows reads and writes them one by one, so
    # none may be smaller than a sector: its own format makes them 4096 bytes large there.
    if geometry.record_size < sector or geometry.cluster_size < sector:
        needed = ntfs_refill.needed_size(volume)
        return SectorFit("refill", f"Its NTFS takes {human_size(needed)} with records of 4096 bytes.", needed)
    _ntfs_sectors(geometry, sector)
    return SectorFit("patch")


def _ntfs_sectors(geometry: NtfsGeometry, sector: int) -> int:
    """How many sectors of another size an NTFS has, with as many clusters. Raises FormatError when that is not possible."""
    # The backup boot sector is behind what is counted, in the last sector: of the same stretch, in new sectors.
    sectors = (geometry.sectors + 1) * geometry.sector_size // sector - 1
    least = min(geometry.record_size, geometry.cluster_size)
    if least < sector or sectors * sector // geometry.cluster_size != geometry.clusters:
        raise FormatError(f"Its NTFS cannot be counted in sectors of {sector} bytes.")
    return sectors


def set_ntfs_sectors(source: Source, sink: Sink, start: int, end: int, sector_size: int) -> str:
    """Make the boot sector of the NTFS ``[start, end)`` of a disk, and its copy, count in sectors of ``sector_size`` bytes.

    Cut off in between, the first one is as it was: it comes last. Gives a sentence for the journal, "" when there was nothing
    to do. Raises FormatError, SourceReadError, TargetWriteError.
    """
    volume = SliceSource(source, start, end)
    geometry = read_ntfs(volume)
    old = geometry.sector_size
    if old == sector_size:
        return ""
    boot = bytearray(volume.pread(512, 0))
    sectors = _ntfs_sectors(geometry, sector_size)
    count = geometry.cluster_size // sector_size
    code = count if count <= _LARGEST_NTFS_SECTORS else 256 - (count.bit_length() - 1)
    boot[0x0B:0x0D] = sector_size.to_bytes(2, "little")
    boot[0x0D] = code
    boot[0x28:0x30] = sectors.to_bytes(8, "little")
    # Sizes of records are in clusters, or powers of two of bytes: both stay.
    copy = bytes(boot).ljust(sector_size, b"\0")
    sink.pwrite(copy, start + sectors * sector_size)
    sink.flush()
    first = bytearray(volume.pread(max(sector_size, old), 0))
    first[:512] = boot
    sink.pwrite(bytes(first), start)
    sink.flush()
    return f"The NTFS counts in sectors of {sector_size} bytes."
