"""NTFS: which bytes are used, from $Bitmap (MFT record 6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rescue.errors import FormatError
from rescue.filesystems import ntfs_state
from rescue.filesystems.ntfs_mft import DATA, Mft, Stream
from rescue.filesystems.pieces import bounded
from rescue.model.bitmap import set_runs
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.units import MIB

_BITMAP: Final = 6
_LARGEST_SECTOR: Final = 4096


def used_map(volume: Source) -> UsedMap:
    """The allocated clusters, the boot sector and its backup behind the last cluster. Reads only; in doubt every byte is used.

    Raises FormatError when the structures make no sense, SourceReadError.
    """
    mft = Mft(volume)
    geometry = mft.geometry
    because = ntfs_state.why_unclean(mft)
    if because:
        return UsedMap.whole(volume.size, because)
    bitmap = mft.stream_of(_BITMAP, DATA)
    if bitmap is None:
        raise FormatError("NTFS: $Bitmap has no data.")
    clusters = ExtentMap(bounded(_allocated(bitmap, geometry.clusters, geometry.cluster_size)))
    for extent in (*mft.stream.extents(), *bitmap.extents()):
        if list(clusters.overlapping(*extent)) != [extent]:
            raise FormatError("NTFS: $Bitmap calls clusters free that hold the MFT or $Bitmap itself.")
    # Windows keeps the backup boot sector in the sector after the file system, which is the partition's last one unless
    # the partition was made larger; some tools then put it at the partition's end.
    end = geometry.sectors * geometry.sector_size
    tail = (geometry.clusters * geometry.cluster_size, min(end + _LARGEST_SECTOR, volume.size))
    last = (max(volume.size - _LARGEST_SECTOR, 0), volume.size)
    boot = (0, min(max(geometry.cluster_size, 8 * 1024), volume.size))
    return UsedMap(clusters.union(ExtentMap([boot, tail, last])))


def _allocated(bitmap: Stream, clusters: int, cluster_size: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of the set bits, read a mebibyte of the bitmap at a time."""
    length = (clusters + 7) // 8
    for offset in range(0, length, MIB):
        first = offset * 8
        for start, end in set_runs(bitmap.read(min(MIB, length - offset), offset), min(clusters - first, MIB * 8)):
            yield (first + start) * cluster_size, (first + end) * cluster_size
