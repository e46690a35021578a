"""The command that makes an empty file system with the same UUID, label and features as one that is there."""

from __future__ import annotations

import uuid
from typing import Final

from rescue.errors import UnsupportedError
from rescue.filesystems.ext_superblock import SUPERBLOCK_OFFSET
from rescue.filesystems.ext_superblock import read_superblock as read_ext
from rescue.filesystems.fields import Fields
from rescue.filesystems.xfs_superblock import read_superblock
from rescue.model.source import Source

_XFS_RO_COMPAT: Final = ((0x1, "finobt"), (0x2, "rmapbt"), (0x4, "reflink"), (0x8, "inobtcount"))
_XFS_BIGTIME: Final = 0x8
_XFS_INODES: Final = ((0x2, "sparse"), (0x20, "nrext64"))
_XFS_OLD_FTYPE: Final = 0x200  # in features2 of version 4
_XFS_NOT_COPIED: Final = 0xC0  # exchange range, parent pointers: not every mkfs.xfs knows them

# linux Documentation/filesystems/ext4, "Feature flags", in mke2fs' words; left out: what a copy of the files would lose, as
# encryption, verity and casefold, and what depends on the place, as bigalloc.
_EXT_FEATURES: Final = {
    "compat": (
        (0x4, "has_journal"),
        (0x8, "ext_attr"),
        (0x10, "resize_inode"),
        (0x20, "dir_index"),
        (0x200, "sparse_super2"),
        (0x400, "fast_commit"),
        (0x1000, "orphan_file"),
    ),
    "incompat": (
        (0x2, "filetype"),
        (0x40, "extent"),
        (0x80, "64bit"),
        (0x200, "flex_bg"),
        (0x2000, "metadata_csum_seed"),
        (0x4000, "large_dir"),
        (0x8000, "inline_data"),
    ),
    "ro_compat": (
        (0x1, "sparse_super"),
        (0x2, "large_file"),
        (0x8, "huge_file"),
        (0x10, "uninit_bg"),
        (0x20, "dir_nlink"),
        (0x40, "extra_isize"),
        (0x400, "metadata_csum"),
    ),
}
_EXT_PASSING: Final = {"compat": 0, "incompat": 0x4 | 0x10, "ro_compat": 0x4 | 0x10000}  # that come and go: a journal in use, …

_F2FS_PLACE: Final = 1024
_F2FS_FEATURES: Final = (
    (0x8, "extra_attr"),
    (0x10, "project_quota"),
    (0x20, "inode_checksum"),
    (0x40, "flexible_inline_xattr"),
    (0x80, "quota"),
    (0x100, "inode_crtime"),
    (0x200, "lost_found"),
    (0x800, "sb_checksum"),
)
_F2FS_REFUSED: Final = ((0x1, "encryption"), (0x400, "verity"), (0x1000, "casefold"), (0x2000, "compression"))


def make_xfs(volume: Source, size: int, sector_size: int = 0) -> list[str]:
    """The mkfs.xfs command, without the device, for ``size`` bytes. Raises UnsupportedError, FormatError.

    ``sector_size``: of the disk that it is to be on; 0: as many bytes as its sectors have.
    """
    known = read_superblock(volume)
    if known.untrusted:
        raise UnsupportedError(f"This xfs cannot be made anew by files. {known.untrusted}")
    data = volume.pread(512, 0)
    raw = Fields(data, "xfs superblock")
    features2, ro_compat, incompat = (int.from_bytes(raw.bytes(place, 4), "big") for place in (200, 212, 216))
    if incompat & _XFS_NOT_COPIED:
        raise UnsupportedError(f"This xfs has features that it cannot be made anew with ({incompat:#x}).")
    name = str(uuid.UUID(bytes=raw.bytes(32, 16)))
    label = raw.bytes(108, 12).rstrip(b"\0").decode("utf-8", "surrogateescape")
    inode_size = int.from_bytes(raw.bytes(104, 2), "big")
    sector = max(known.sector_size, sector_size)
    block = max(known.block_size, sector)
    command = ["mkfs.xfs", "-q", "-f", "-K", "-b", f"size={block}", "-s", f"size={sector}"]
    if known.checksums:
        metadata = [f"{word}={int(bool(ro_compat & bit))}" for bit, word in _XFS_RO_COMPAT]
        metadata.append(f"bigtime={int(bool(incompat & _XFS_BIGTIME))}")
        command += ["-m", ",".join(["crc=1", f"uuid={name}", *metadata])]
        inodes = [f"{word}={int(bool(incompat & bit))}" for bit, word in _XFS_INODES]
    else:
        command += ["-m", f"crc=0,uuid={name}", "-n", f"ftype={int(bool(features2 & _XFS_OLD_FTYPE))}"]
        inodes = []
    command += ["-i", ",".join([f"size={inode_size}", *inodes]), "-d", f"size={size}"]
    folders = max(known.block_size << raw.u8(192), block)
    if folders != block:
        command += ["-n", f"size={folders}"]
    return [*command, "-L", label] if label else command


def make_ext(volume: Source, kind: str) -> list[str]:
    """The mke2fs command, without the device, for an ext2, ext3 or ext4 (``kind``) with blocks of 4096 bytes.

    Raises UnsupportedError for features that a copy of the files would lose, FormatError.
    """
    known = read_ext(volume)
    raw = Fields(volume.pread(1024, SUPERBLOCK_OFFSET), "ext superblock")
    names = []
    bits = {"compat": known.compat, "incompat": known.incompat, "ro_compat": known.ro_compat}
    for group, named in _EXT_FEATURES.items():
        names += [word for bit, word in named if bits[group] & bit]
        left = bits[group] & ~sum(bit for bit, _ in named) & ~_EXT_PASSING[group]
        if left:
            raise UnsupportedError(f"This {kind} has features that it cannot be made anew with ({group} {left:#x}).")
    blocks, reserved = known.blocks, raw.u32(8)
    label = raw.bytes(120, 16).split(b"\0")[0].decode("utf-8", "surrogateescape")
    command = ["mke2fs", "-q", "-F", "-b", "4096", "-I", str(known.inode_size), "-N", str(raw.u32(0))]
    command += ["-U", str(uuid.UUID(bytes=known.uuid)), "-m", str(min(100 * reserved // max(blocks, 1), 50))]
    command += ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-O", ",".join(["none", *names])]
    return [*command, "-L", label] if label else command


def make_f2fs(volume: Source) -> list[str]:
    """The mkfs.f2fs command, without the device. Raises UnsupportedError, FormatError."""
    raw = Fields(volume.pread(3072, _F2FS_PLACE), "f2fs superblock")
    raw.require(raw.u32(0) == 0xF2F52010, "it has no magic number")
    features = raw.u32(2180)
    for bit, word in _F2FS_REFUSED:
        if features & bit:
            raise UnsupportedError(f"This f2fs uses {word}, which a copy of its files would lose.")
    named = [word for bit, word in _F2FS_FEATURES if features & bit]
    if features & ~sum(bit for bit, _ in _F2FS_FEATURES):
        raise UnsupportedError(f"This f2fs has features that it cannot be made anew with ({features:#x}).")
    label = raw.bytes(124, 1024).decode("utf-16-le", "replace").split("\0")[0]
    command = ["mkfs.f2fs", "-q", "-f", "-t", "0", "-U", str(uuid.UUID(bytes=raw.bytes(108, 16)))]
    if label:
        command += ["-l", label]
    return [*command, "-O", ",".join(named)] if named else command
