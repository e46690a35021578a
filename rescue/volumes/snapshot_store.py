"""The store of an LVM snapshot: the chunks of its origin that were changed since, as they were.

Source: the Linux kernel, drivers/md/dm-snap-persistent.c. A header, then areas: a chunk of exceptions, and the chunks themselves.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.volumes.runs import Runs

_MAGIC: Final = 0x70416E53
_SECTOR: Final = 512
_EXCEPTION: Final = struct.Struct("<QQ")
_MAX_CHUNK: Final = 1 << 20


class SnapshotStore(msgspec.Struct, frozen=True):
    """``changed`` chunks of the origin are in the store, whose first ``used`` bytes are needed."""

    changed: Runs
    used: int


def read_snapshot_store(source: Source) -> SnapshotStore:
    """Read the store of a snapshot. Raises FormatError, UnsupportedError (it overflowed, or another kind), SourceReadError."""
    head = Fields(source.pread(min(_SECTOR, source.size), 0), "store of a snapshot")
    head.require(head.u32(0) == _MAGIC, "it has no signature")
    if head.u32(4) != 1 or head.u32(8) != 1:
        raise UnsupportedError("It is a snapshot that overflowed, or of an unknown kind.")
    chunk = head.u32(12) * _SECTOR
    head.require(chunk >= _SECTOR and not chunk & (chunk - 1) and chunk <= _MAX_CHUNK, f"chunks of {chunk} bytes")
    chunks = source.size // chunk
    each = chunk // _EXCEPTION.size  # exceptions in an area
    found: dict[int, int] = {}
    area = 0
    while True:
        # Where the last area is full, the kernel has cleared the one behind it.
        place = 1 + area * (each + 1)
        if place >= chunks:
            raise FormatError("store of a snapshot: its exceptions have no end.")
        for old, new in _EXCEPTION.iter_unpack(source.pread(chunk, place * chunk)):
            if not new:
                changed = Runs(chunk, sorted(found.items()))
                return SnapshotStore(changed, max(changed.highest, (place + 1) * chunk))
            head.require(new < chunks and old not in found, f"its exception for {old} makes no sense")
            found[old] = new
        area += 1
