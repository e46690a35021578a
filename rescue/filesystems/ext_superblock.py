"""The superblock of ext2, ext3 and ext4: geometry, features, and whether it was cleanly unmounted.

Specification: the Linux kernel's Documentation/filesystems/ext4, "Super Block" and "Feature flags".
"""

from __future__ import annotations

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.crc32c import crc32c_update
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.records import replace

SUPERBLOCK_OFFSET = 1024
_SUPERBLOCK_SIZE = 1024
_MAGIC = 0xEF53

COMPAT_SPARSE_SUPER2 = 0x0200

_INCOMPAT_RECOVER = 0x0004
_INCOMPAT_JOURNAL_DEVICE = 0x0008
INCOMPAT_META_BG = 0x0010
INCOMPAT_64BIT = 0x0080
_INCOMPAT_MMP = 0x0100
_INCOMPAT_CHECKSUM_SEED = 0x2000
# filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data, encrypt, casefold.
# Left out on purpose: compression and dirdata, which the mainline kernel never had.
_INCOMPAT_KNOWN = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000

RO_COMPAT_SPARSE_SUPER = 0x0001
RO_COMPAT_GDT_CHECKSUM = 0x0010
_COMPAT_STABLE_INODES = 0x800
_RO_COMPAT_BIGALLOC = 0x0200
RO_COMPAT_METADATA_CHECKSUM = 0x0400
_RO_COMPAT_ORPHAN_PRESENT = 0x10000
# sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota, bigalloc, metadata_csum,
# read-only, project, shared_blocks, verity, orphan_present. Left out: snapshots and replicas, which were never merged.
_RO_COMPAT_KNOWN = 0x7F | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000

_STATE_CLEAN = 0x0001
_STATE_ERRORS = 0x0002

_MMP_MAGIC = 0x004D4D50
_MMP_SEQUENCE_CLEAN = 0xFF4D4D50


class Superblock(msgspec.Struct, frozen=True):
    """What the map needs to know. Counts are of blocks or clusters as named, sizes in bytes."""

    block_size: int
    cluster_blocks: int  # blocks in a cluster: the unit of the bitmaps; 1 without bigalloc
    blocks: int
    free_blocks: int
    first_block: int  # first block of group 0
    group_blocks: int
    group_inodes: int
    used_inodes: int
    inode_size: int
    descriptor_size: int
    reserved_descriptor_blocks: int
    first_meta_group: int
    backup_groups: tuple[int, int]
    compat: int
    incompat: int
    ro_compat: int
    uuid: bytes
    checksum_seed: int
    unclean: str  # why the structures cannot be trusted, as a sentence; "" when they can

    @property
    def cannot_shrink(self) -> str:
        """Why it is not made smaller, as a sentence, or ""."""
        if self.compat & _COMPAT_STABLE_INODES:
            return "Its inodes may not be renumbered (feature stable_inodes)."
        # Up to e2fsprogs 1.47 at least: what it leaves has wrong counts of free clusters.
        return "resize2fs does not make one with clusters (feature bigalloc) smaller rightly." if self.cluster_blocks > 1 else ""

    @property
    def groups(self) -> int:
        """Block groups."""
        return -(-(self.blocks - self.first_block) // self.group_blocks)

    @property
    def group_clusters(self) -> int:
        """Clusters in a whole group: the bits of its bitmap."""
        return self.group_blocks // self.cluster_blocks

    @property
    def clusters(self) -> int:
        """Clusters in the file system, the cut last one included."""
        return -(-(self.blocks - self.first_block) // self.cluster_blocks)

    @property
    def size(self) -> int:
        """Bytes from the start of the volume to the end of the file system."""
        return self.blocks * self.block_size

    @property
    def superblock_block(self) -> int:
        """The block that holds the primary superblock."""
        return SUPERBLOCK_OFFSET // self.block_size

    @property
    def inode_table_blocks(self) -> int:
        """Blocks in the inode table of each group."""
        return -(-self.group_inodes * self.inode_size // self.block_size)


def read_superblock(volume: Source) -> Superblock:
    """Read and check the primary superblock. Raises FormatError when its numbers make no sense."""
    if volume.size < SUPERBLOCK_OFFSET + _SUPERBLOCK_SIZE:
        raise FormatError("ext superblock: the volume is too small for one.")
    fields = Fields(volume.pread(_SUPERBLOCK_SIZE, SUPERBLOCK_OFFSET), "ext superblock")
    fields.require(fields.u16(0x38) == _MAGIC, "it has no magic number")
    revision, compat, incompat, ro_compat = fields.u32(0x4C), fields.u32(0x5C), fields.u32(0x60), fields.u32(0x64)
    if revision == 0:
        compat = incompat = ro_compat = 0
    fields.require(revision <= 1, f"revision {revision} is unknown")
    if ro_compat & RO_COMPAT_METADATA_CHECKSUM:
        fields.require(fields.u8(0x175) == 1, "its checksum type is unknown")
        found = crc32c_update(0xFFFFFFFF, fields.bytes(0, 0x3FC))
        fields.require(found == fields.u32(0x3FC), "its checksum is wrong")
    block_shift, cluster_shift = fields.u32(0x18), fields.u32(0x1C)
    fields.require(block_shift <= 6, "its block size is above 64 KiB")
    block_size = 1024 << block_shift
    wide = bool(incompat & INCOMPAT_64BIT)
    cluster_blocks = 1
    if ro_compat & _RO_COMPAT_BIGALLOC:
        fields.require(block_shift <= cluster_shift <= block_shift + 20, "its cluster size makes no sense")
        cluster_blocks = 1 << cluster_shift - block_shift
    uuid = fields.bytes(0x68, 16)
    seeded = bool(incompat & _INCOMPAT_CHECKSUM_SEED)
    superblock = Superblock(
        block_size=block_size,
        cluster_blocks=cluster_blocks,
        blocks=fields.u32(0x4) | (fields.u32(0x150) << 32 if wide else 0),
        free_blocks=fields.u32(0xC) | (fields.u32(0x158) << 32 if wide else 0),
        first_block=fields.u32(0x14),
        group_blocks=fields.u32(0x20),
        group_inodes=fields.u32(0x28),
        used_inodes=max(fields.u32(0x0) - fields.u32(0x10), 0),
        inode_size=fields.u16(0x58) if revision else 128,
        descriptor_size=fields.u16(0xFE) if wide else 32,
        reserved_descriptor_blocks=fields.u16(0xCE),
        first_meta_group=fields.u32(0x104),
        backup_groups=(fields.u32(0x24C), fields.u32(0x250)),
        compat=compat,
        incompat=incompat,
        ro_compat=ro_compat,
        uuid=uuid,
        checksum_seed=fields.u32(0x270) if seeded else crc32c_update(0xFFFFFFFF, uuid),
        unclean=_why_unclean(fields, incompat, ro_compat),
    )
    _require_sense(superblock, fields)
    if not superblock.unclean and incompat & _INCOMPAT_MMP and _is_in_use_elsewhere(volume, superblock, fields.u32(0x168)):
        return replace(superblock, unclean="Its multiple-mount protection says that it is in use.")
    return superblock


def _require_sense(superblock: Superblock, fields: Fields) -> None:
    size, groups = superblock.block_size, superblock.group_blocks
    fields.require(superblock.cluster_blocks == 1 or superblock.first_block == 0, "its first block makes no sense")
    first = 1 if size == 1024 and superblock.cluster_blocks == 1 else 0
    fields.require(superblock.first_block == first, "its first block makes no sense")
    fields.require(superblock.blocks > first, "it has no blocks")
    fields.require(groups % superblock.cluster_blocks == 0, "its groups are not made of whole clusters")
    clusters = superblock.group_clusters
    fields.require(0 < clusters <= 8 * size and clusters % 8 == 0, "the size of its groups makes no sense")
    # mke2fs -g takes no less than 256; far smaller groups would only make this program slow.
    fields.require(groups >= 256, "its groups are too small")
    fields.require(0 < superblock.group_inodes <= 8 * size, "its number of inodes makes no sense")
    inode, descriptor = superblock.inode_size, superblock.descriptor_size
    fields.require(128 <= inode <= size and not inode & (inode - 1), "its inode size makes no sense")
    fields.require(32 <= descriptor <= 1024 and not descriptor & (descriptor - 1), "its descriptor size makes no sense")
    if superblock.incompat & INCOMPAT_64BIT:
        fields.require(descriptor >= 64, "its descriptor size makes no sense")


def _why_unclean(fields: Fields, incompat: int, ro_compat: int) -> str:
    state = fields.u16(0x3A)
    if incompat & _INCOMPAT_JOURNAL_DEVICE:
        return "It holds the journal of another file system."
    if incompat & ~_INCOMPAT_KNOWN or ro_compat & ~_RO_COMPAT_KNOWN:
        unknown = f"{incompat & ~_INCOMPAT_KNOWN:#x}/{ro_compat & ~_RO_COMPAT_KNOWN:#x}"
        return f"It uses features that this program does not know ({unknown})."
    if incompat & _INCOMPAT_RECOVER:
        return "It was not cleanly unmounted: its journal has not been replayed."
    if state & _STATE_ERRORS:
        return "It is marked as having errors. Check it with e2fsck."
    if state != _STATE_CLEAN or ro_compat & _RO_COMPAT_ORPHAN_PRESENT:
        return "It was not cleanly unmounted."
    return ""


def _is_in_use_elsewhere(volume: Source, superblock: Superblock, block: int) -> bool:
    if not 0 < block < superblock.blocks or (block + 1) * superblock.block_size > volume.size:
        raise FormatError("ext superblock: the block for multiple-mount protection is outside of the file system.")
    fields = Fields(volume.pread(8, block * superblock.block_size), "ext multiple-mount protection block")
    fields.require(fields.u32(0) == _MMP_MAGIC, "it has no magic number")
    return fields.u32(4) != _MMP_SEQUENCE_CLEAN
