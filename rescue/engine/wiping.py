"""Writing zeros over a disk, and the proof that nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rescue.devices.table import read_layout
from rescue.errors import DamagedError
from rescue.filesystems.identify import identify
from rescue.model.extents import Extent
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSink, FileSource
from rescue.units import MIB

_PIECE: Final = 16 * MIB
_SYNC_EVERY: Final = 512 * MIB
Progress = Callable[[int, int], None]


def _pieces(extents: Sequence[Extent]) -> Iterator[Extent]:
    for extent in extents:
        for start in range(extent.start, extent.end, _PIECE):
            yield Extent(start, min(start + _PIECE, extent.end))


def erase(path: str, extents: Sequence[Extent], token: CancelToken, progress: Progress) -> int:
    """Write zeros over these bytes of a disk, or over what a disk file has stored of them; the bytes that are zeros now.

    Raises RefusedError (in use), TargetWriteError, CancelledError.
    """
    total = sum(extent.length for extent in extents)
    done = synced = 0
    progress(0, total)
    with FileSink(path, direct=True) as sink:
        for piece in _pieces(extents):
            token.check()
            sink.overwrite(*piece)
            done += piece.length
            if done - synced >= _SYNC_EVERY:
                sink.flush()
                synced = done
            progress(done, total)
        sink.flush()
        sink.reread_table()
    return done


def prove_erased(path: str, extents: Sequence[Extent], sector_size: int, token: CancelToken, progress: Progress) -> int:
    """Read these bytes from the medium; the bytes read. Raises DamagedError when one is not zero or something is found there."""
    total = sum(extent.length for extent in extents)
    done = 0
    nothing = bytes(_PIECE)
    buffer = memoryview(bytearray(_PIECE))
    progress(0, total)
    with FileSource(path, direct=True) as source:
        source.drop_cache()
        for piece in _pieces(extents):
            token.check()
            part = buffer[: piece.length]
            source.pread_into(part, piece.start)
            if part != nothing[: piece.length]:
                raise DamagedError(
                    f"{path} does not give back the zeros that were written to it, near byte {piece.start}.",
                    "The disk, its cable or this computer's memory is faulty. Do not give the disk away as it is.",
                )
            done += piece.length
            progress(done, total)
        size = source.size
        found = read_layout(source, sector_size)
    content = identify(path, 0, size)
    if found.label != "none" or content.type:
        what = "a partition table" if found.label != "none" else content.type
        raise DamagedError(f"{path} was wiped, but {what} is still found on it.", "Wipe all of it with --method zeros.")
    return done
