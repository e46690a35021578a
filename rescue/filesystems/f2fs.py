"""Whether an f2fs was cleanly unmounted. Its map comes from partclone, which does not look at the fsync log.

Specification: the Linux kernel's include/linux/f2fs_fs.h and Documentation/filesystems/f2fs.rst, "Checkpoint".
"""

from __future__ import annotations

import zlib

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source

_SUPERBLOCK_OFFSET = 1024
_SUPERBLOCK_SIZE = 3072
_MAGIC = 0xF2F52010
_BLOCK = 4096
_UNMOUNTED = 0x1
_ERROR = 0x8
_NEEDS_CHECK = 0x10
_QUOTA_NEEDS_CHECK = 0x800
_CHECKPOINT_DISABLED = 0x1000
_SECOND_DEVICE_PATH = 2201 + 68


def why_unclean(volume: Source) -> str:
    """Why the last checkpoint is not all there is, as a sentence; "" when it is. Raises FormatError, SourceReadError."""
    if volume.size < _SUPERBLOCK_OFFSET + _SUPERBLOCK_SIZE:
        raise FormatError("f2fs superblock: the volume is too small for one.")
    fields = Fields(volume.pread(_SUPERBLOCK_SIZE, _SUPERBLOCK_OFFSET), "f2fs superblock")
    fields.require(fields.u32(0) == _MAGIC, "it has no magic number")
    if fields.u32(16) != 12:
        return "Its blocks are not 4 KiB large."
    if fields.u8(_SECOND_DEVICE_PATH):
        return "It is spread over several devices."
    first, shift = fields.u32(76), fields.u32(20)
    fields.require(shift == 9, "its segments are not 2 MiB large")
    found = [state for block in (first, first + (1 << shift)) if (state := _checkpoint(volume, block)) is not None]
    if not found:
        raise FormatError("f2fs: neither of its checkpoints is valid.")
    _, flags = max(found)
    if flags & (_ERROR | _NEEDS_CHECK | _QUOTA_NEEDS_CHECK):
        return "It is marked as having errors. Check it with fsck.f2fs."
    if not flags & _UNMOUNTED or flags & _CHECKPOINT_DISABLED:
        return "It was not cleanly unmounted: what was synced after its last checkpoint has not been replayed."
    return ""


def _checkpoint(volume: Source, block: int) -> tuple[int, int] | None:
    """Version and flags of the checkpoint pack at a block; None when it is not valid."""
    head = _checkpoint_block(volume, block)
    if head is None:
        return None
    count = head.u32(136)
    if not 2 <= count <= 512:
        return None
    tail = _checkpoint_block(volume, block + count - 1)
    if tail is None or tail.u64(0) != head.u64(0):
        return None
    return head.u64(0), head.u32(132)


def _checkpoint_block(volume: Source, block: int) -> Fields | None:
    if (block + 1) * _BLOCK > volume.size:
        return None
    fields = Fields(volume.pread(_BLOCK, block * _BLOCK), "f2fs checkpoint")
    place = fields.u32(164)
    if not 192 <= place <= _BLOCK - 4:
        return None
    # The kernel's crc32_le starts from the magic number and does not invert; zlib does at both ends.
    found = zlib.crc32(fields.bytes(0, place), _MAGIC ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    return fields if found == fields.u32(place) else None
