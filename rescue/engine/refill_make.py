"""The command that makes an empty file system with the same UUID, label and features as one that is there."""

from __future__ import annotations

import os
import uuid
from typing import Final

from rescue.errors import UnsupportedError
from rescue.filesystems.ext_superblock import SUPERBLOCK_OFFSET
from rescue.filesystems.ext_superblock import read_superblock as read_ext
from rescue.filesystems.fields import Fields
from rescue.filesystems.xfs_superblock import read_superblock
from rescue.model.source import Source
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import GIB, MIB

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

_EXT_JOURNAL: Final = 0x4
_EXT_LEAST_JOURNAL: Final = 1024  # blocks; with larger blocks than before it may have been smaller than that
_EXT_LAZY: Final = (0x10, 0x400)  # uninit_bg, metadata_csum: inode tables need not be written
_EXT_TRIAL: Final = 64 * GIB
_TRIAL_SECONDS: Final = 600.0
_EXT_MOUNTS: Final = (
    (0x1, "debug"), (0x2, "bsdgroups"), (0x4, "user_xattr"), (0x8, "acl"), (0x10, "uid16"), (0x100, "nobarrier"),
    (0x200, "block_validity"), (0x400, "discard"), (0x800, "nodelalloc"),
)  # fmt: skip
_EXT_JOURNALS: Final = ("^journal_data_writeback", "journal_data", "journal_data_ordered", "journal_data_writeback")
_EXT_ERRORS: Final = {1: "continue", 2: "remount-ro", 3: "panic"}

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


def make_ext(volume: Source, kind: str, size: int, sector_size: int = 0) -> list[str]:
    """The mke2fs command, without the device, for an ext2, ext3 or ext4 (``kind``) of ``size`` bytes on such sectors.

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
    journal = ext_journal(volume)
    label = raw.bytes(120, 16).split(b"\0")[0].decode("utf-8", "surrogateescape")
    block = max(known.block_size, sector_size)
    inodes = raw.u32(0)
    if size < volume.size:  # their tables are in proportion, but for what is in use and a few more
        inodes = min(inodes, max(inodes * size // volume.size, known.used_inodes + known.used_inodes // 8 + 1024))
    command = ["mke2fs", "-q", "-F", "-b", str(block), "-I", str(known.inode_size), "-N", str(inodes)]
    command += ["-U", str(uuid.UUID(bytes=known.uuid)), "-m", f"{min(100 * reserved / max(blocks, 1), 50):.6f}"]
    command += ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-O", ",".join(["none", *names])]
    if journal >= _EXT_LEAST_JOURNAL * block:
        command += ["-J", f"size={journal // MIB}"]
    return [*command, "-L", label] if label else command


def ext_journal(volume: Source) -> int:
    """Bytes of an ext's journal, as its superblock keeps them of the inode; 0 where it does not. Raises FormatError."""
    raw = Fields(volume.pread(1024, SUPERBLOCK_OFFSET), "ext superblock")
    if not raw.u32(0x5C) & _EXT_JOURNAL or raw.u8(0xFD) != 1:
        return 0
    return raw.u32(0x148) << 32 | raw.u32(0x14C)


def tune_ext(volume: Source) -> list[str]:
    """The tune2fs command, without the device, for what mke2fs takes from its own settings. Raises FormatError.

    Source: linux Documentation/filesystems/ext4, "The Super Block".
    """
    raw = Fields(volume.pread(1024, SUPERBLOCK_OFFSET), "ext superblock")
    mounts = raw.u32(0x100)
    named = [word if mounts & bit else f"^{word}" for bit, word in _EXT_MOUNTS]
    named.append(_EXT_JOURNALS[mounts >> 5 & 3])
    seldom = raw.u16(0x36)
    command = ["tune2fs", "-e", _EXT_ERRORS.get(raw.u16(0x3C), "continue"), "-i", f"{raw.u32(0x44)}s"]
    command += ["-c", str(seldom if 0 < seldom < 1 << 15 else -1), "-u", str(raw.u16(0x50)), "-g", str(raw.u16(0x52))]
    return [*command, "-o", ",".join(named)]


def ext_has_room(volume: Source, kind: str, size: int) -> bool:
    """Whether what is in an ext has room in one of ``size`` bytes that is made anew: an empty one is, in memory.

    Raises UnsupportedError, FormatError, ProgramError.
    """
    known = read_ext(volume)
    if size > _EXT_TRIAL and not known.ro_compat & (_EXT_LAZY[0] | _EXT_LAZY[1]):
        return False  # all its inode tables would be written
    make = [word.replace("lazy_itable_init=0,lazy_journal_init=0", "lazy_itable_init=1,lazy_journal_init=1")
            for word in make_ext(volume, kind, size)]  # fmt: skip
    file = os.memfd_create("trial")
    try:
        os.ftruncate(file, size)
        path = f"/proc/{os.getpid()}/fd/{file}"
        run([*make, path], timeout=_TRIAL_SECONDS)
        with FileSource(path) as source:
            empty = read_ext(source)
    finally:
        os.close(file)
    tables = known.groups * known.inode_table_blocks * known.block_size
    content = (known.blocks - known.free_blocks) * known.block_size - tables - ext_journal(volume)
    # Folders and trees of extents are not laid out as they were.
    return empty.free_blocks * empty.block_size >= content + content // 50 + 8 * MIB


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
