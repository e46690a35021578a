"""How many bytes more the files of an xfs take when nothing is shared between them: a copy by files ends reflinks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rescue.errors import FormatError
from rescue.filesystems.xfs_superblock import Superblock, read_superblock
from rescue.model.source import Source

_REFLINK = 0x4  # in ro_compat
_HEAD = 56  # of a short-form tree block with checksums
_RECORD = struct.Struct(">III")  # first block, blocks, owners
_STAGING = 1 << 31  # copied for a write that has not ended: one owner
_BLOCKS = 1 << 20  # of one tree; a hostile one could lead in circles


def shared_bytes(volume: Source) -> int:
    """The sum of what every owner of a shared block but the first would take. Raises FormatError, SourceReadError."""
    superblock = read_superblock(volume)
    head = volume.pread(512, 0)
    if not superblock.checksums or not int.from_bytes(head[212:216], "big") & _REFLINK:
        return 0
    extra = 0
    for group in range(superblock.groups):
        # The second sector of each group: where its free space begins, and the root of its reference counts.
        place = group * superblock.group_blocks * superblock.block_size + superblock.sector_size
        agf = volume.pread(512, place)
        if agf[:4] != b"XAGF":
            raise FormatError(f"xfs: group {group} has no free space header.")
        root, level = struct.unpack_from(">II", agf, 88)
        for first, blocks, owners in _records(volume, superblock, group, root, level):
            if not first & _STAGING:
                extra += blocks * max(owners - 1, 0)
    return extra * superblock.block_size


def _records(volume: Source, superblock: Superblock, group: int, root: int, levels: int) -> Iterator[tuple[int, int, int]]:
    """The records of the tree of reference counts of one group."""
    size = superblock.block_size
    fits = (size - _HEAD) // 8
    pending = [root]
    for _ in range(_BLOCKS):
        if not pending:
            return
        block = pending.pop()
        if not 0 < block < superblock.blocks_of_group(group) or levels > 16:
            raise FormatError(f"xfs: the reference counts of group {group} are outside of it.")
        data = volume.pread(size, (group * superblock.group_blocks + block) * size)
        magic, level, count = struct.unpack_from(">4sHH", data)
        if magic != b"R3FC" or count > fits:
            raise FormatError(f"xfs: the reference counts of group {group} are damaged.")
        if level:
            # Keys first, then pointers behind room for as many keys as fit.
            keys = (size - _HEAD) // 8
            pending += struct.unpack_from(f">{min(count, keys)}I", data, _HEAD + 4 * keys)
            continue
        for number in range(min(count, (size - _HEAD) // _RECORD.size)):
            yield _RECORD.unpack_from(data, _HEAD + number * _RECORD.size)
    raise FormatError(f"xfs: the reference counts of group {group} have no end.")
