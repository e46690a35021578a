"""The command that makes an empty file system with the same UUID, label and features as one that is there."""

from __future__ import annotations

import uuid
from typing import Final

from rescue.errors import UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.filesystems.xfs_superblock import read_superblock
from rescue.model.source import Source

_XFS_RO_COMPAT: Final = ((0x1, "finobt"), (0x2, "rmapbt"), (0x4, "reflink"), (0x8, "inobtcount"))
_XFS_BIGTIME: Final = 0x8
_XFS_INODES: Final = ((0x2, "sparse"), (0x20, "nrext64"))
_XFS_OLD_FTYPE: Final = 0x200  # in features2 of version 4
_XFS_NOT_COPIED: Final = 0xC0  # exchange range, parent pointers: not every mkfs.xfs knows them

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


def make_xfs(volume: Source, size: int) -> list[str]:
    """The mkfs.xfs command, without the device, for ``size`` bytes. Raises UnsupportedError, FormatError."""
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
    command = ["mkfs.xfs", "-q", "-f", "-K", "-b", f"size={known.block_size}", "-s", f"size={known.sector_size}"]
    if known.checksums:
        metadata = [f"{word}={int(bool(ro_compat & bit))}" for bit, word in _XFS_RO_COMPAT]
        metadata.append(f"bigtime={int(bool(incompat & _XFS_BIGTIME))}")
        command += ["-m", ",".join(["crc=1", f"uuid={name}", *metadata])]
        inodes = [f"{word}={int(bool(incompat & bit))}" for bit, word in _XFS_INODES]
    else:
        command += ["-m", f"crc=0,uuid={name}", "-n", f"ftype={int(bool(features2 & _XFS_OLD_FTYPE))}"]
        inodes = []
    command += ["-i", ",".join([f"size={inode_size}", *inodes]), "-d", f"size={size}"]
    folders = known.block_size << raw.u8(192)
    if folders != known.block_size:
        command += ["-n", f"size={folders}"]
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
