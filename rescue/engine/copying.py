"""Copying what a partition holds into free space of the same disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from blake3 import blake3

from rescue.engine.hidden_sectors import set_hidden_sectors
from rescue.engine.new_ids import set_uuid
from rescue.errors import DamagedError
from rescue.filesystems.maps import used_map
from rescue.model.edit import CopyVolume
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import SliceSource
from rescue.system.blockfile import FileSink, FileSource
from rescue.units import MIB, align_down, align_up

_PIECE: Final = 8 * MIB
_UNIT: Final = 4096
_BORDER: Final = 1 * MIB


def copy_volume(step: CopyVolume, token: CancelToken, progress: Callable[[int, int], None]) -> int:
    """Copy what is used, read it back from the medium, and give the copy an identifier of its own; bytes that were copied.

    The table is not touched: a copy that is not complete is in free space. ``progress`` is told bytes, those that are read
    back too. Raises SourceReadError, TargetWriteError, DamagedError, ProgramError, CancelledError.
    """
    size = step.end - step.start
    with FileSource(step.target, direct=True) as source, FileSink(step.target, direct=True) as sink:
        volume = SliceSource(source, step.start, step.end)
        whole = ExtentMap([(0, size)])
        known = used_map(volume, step.identity, path=step.target, offset=step.start).extents if step.identity.type else whole
        # Whole pages, so that direct reads and writes are never of less than a sector.
        used = ExtentMap((align_down(e.start, _UNIT), min(align_up(e.end, _UNIT), size)) for e in known)
        pieces = [(at, min(at + _PIECE, extent.end)) for extent in used for at in range(extent.start, extent.end, _PIECE)]
        # What is left there of another file system may lie where this one has nothing.
        sink.zero(step.to, step.to + min(_BORDER, size))
        sink.zero(step.to + max(size - _BORDER, 0), step.to + size)
        hashes = []
        done, total = 0, 2 * used.total
        for low, high in pieces:
            token.check()
            data = source.pread(high - low, step.start + low)
            hashes.append(blake3(data).digest())
            sink.pwrite(data, step.to + low)
            done += high - low
            progress(done, total)
        sink.flush()
        for (low, high), expected in zip(pieces, hashes, strict=True):
            token.check()
            source.drop_cache(step.to + low, high - low)
            if blake3(source.pread(high - low, step.to + low)).digest() != expected:
                raise DamagedError(
                    f"The disk does not give back what was written to it at byte {step.to + low}.",
                    "The disk, its cable or this computer's memory is faulty. The partition that was copied is as it was.",
                )
            done += high - low
            progress(done, total)
        set_hidden_sectors(source, sink, step.to, step.to + size, step.sector_size, step.identity)
        sink.flush()
    if step.new_uuid:
        set_uuid(step.target, step.to, step.to + size, step.identity, step.new_uuid, token.check)
    return used.total
