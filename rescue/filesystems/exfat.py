"""exFAT: which bytes are used, from the allocation bitmap.

Microsoft, "exFAT file system specification" (2019), section numbers below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.filesystems.pieces import bounded
from rescue.model.bitmap import set_runs
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.units import MIB

_BITMAP_ENTRY: Final = 0x81
_ROOT_LIMIT: Final = 256 * MIB  # section 7: no directory is larger
_END_OF_CHAIN: Final = 0xFFFFFFFF
_BOOT_SECTORS: Final = 11
_DIRTY: Final = 0x0002

DIRTY = "It is marked as not cleanly unmounted (its dirty flag is set)."
TEXFAT = "It has two allocation bitmaps (TexFAT), which this program does not know."
UNKNOWN_VERSION = "It has an exFAT version that this program does not know."


class Geometry(msgspec.Struct, frozen=True):
    """What the boot sector says. Offsets and sizes in bytes; the first cluster is number 2."""

    fat_start: int
    heap_start: int
    cluster_size: int
    clusters: int
    root: int
    flags: int
    version: int
    fats: int

    @property
    def heap_end(self) -> int:
        """End of the last cluster."""
        return self.heap_start + self.clusters * self.cluster_size

    def extent(self, cluster: int) -> tuple[int, int]:
        """The bytes of a cluster."""
        start = self.heap_start + (cluster - 2) * self.cluster_size
        return start, start + self.cluster_size


def used_map(volume: Source) -> UsedMap:
    """Both boot regions, the FAT, the clusters of the allocation bitmap, and what is behind the last cluster.

    Reads only. Raises FormatError when the structures make no sense, SourceReadError.
    """
    geometry = read_geometry(volume)
    if geometry.version != 1:
        return UsedMap.whole(volume.size, UNKNOWN_VERSION)
    if geometry.fats != 1:
        return UsedMap.whole(volume.size, TEXFAT)
    if geometry.flags & _DIRTY:
        return UsedMap.whole(volume.size, DIRTY)
    root, entry = _find_bitmap(volume, geometry)
    need = (geometry.clusters + 7) // 8
    entry.require(entry.u64(24) >= need, f"an allocation bitmap of {entry.u64(24)} bytes for {geometry.clusters} clusters")
    chain = list(_chain(volume, geometry, entry.u32(20), -(-need // geometry.cluster_size)))
    clusters = ExtentMap(bounded(_allocated(volume, geometry, chain, need)))
    for cluster in (*root, *chain):
        if geometry.extent(cluster)[0] not in clusters:
            raise FormatError("exFAT: the allocation bitmap calls clusters free that hold itself or the root directory.")
    return UsedMap(clusters.union(ExtentMap([(0, geometry.heap_start), (geometry.heap_end, volume.size)])))


def read_geometry(volume: Source) -> Geometry:
    """Parse the boot region and check its checksum. Raises FormatError."""
    boot = Fields(volume.pread(512, 0), "exFAT boot sector")
    boot.require(boot.bytes(3, 8) == b"EXFAT   " and not any(boot.bytes(11, 53)), "it has no exFAT signature")
    boot.require(boot.u16(510) == 0xAA55, "it does not end in 55 AA")
    shift, factor = boot.u8(108), boot.u8(109)
    boot.require(9 <= shift <= 12 and shift + factor <= 25, f"sectors of 2^{shift} and clusters of 2^{shift + factor} bytes")
    length, fat, fat_length = boot.u64(72), boot.u32(80), boot.u32(84)
    heap, clusters, root, fats = boot.u32(88), boot.u32(92), boot.u32(96), boot.u8(110)
    boot.require(length << shift <= volume.size, f"{length} sectors do not fit into the volume of {volume.size} bytes")
    boot.require(0 < clusters <= (length - heap) >> factor, f"{clusters} clusters in {length} sectors")
    boot.require(fat >= 24 and fat_length << shift >= 4 * (clusters + 2), "its table is too short or out of place")
    boot.require(fats in (1, 2) and fat + fats * fat_length <= heap, f"{fats} tables before the clusters")
    _verify_checksum(volume, 1 << shift)
    return Geometry(fat << shift, heap << shift, 1 << shift + factor, clusters, root, boot.u16(106), boot.u8(105), fats)


def _verify_checksum(volume: Source, sector_size: int) -> None:
    """The boot region ends in a sector that repeats its checksum (section 3.4). Raises FormatError."""
    region = volume.pread((_BOOT_SECTORS + 1) * sector_size, 0)
    end = _BOOT_SECTORS * sector_size
    checksum = 0
    for index, byte in enumerate(region[:end]):
        if index not in (106, 107, 112):  # the flags and the percentage change without it
            checksum = ((checksum << 31 | checksum >> 1) + byte) & 0xFFFFFFFF
    if region[end:] != checksum.to_bytes(4, "little") * (sector_size // 4):
        raise FormatError("exFAT: the checksum of the boot region is wrong.")


def _chain(volume: Source, geometry: Geometry, first: int, limit: int) -> Iterator[int]:
    """At most ``limit`` clusters of a chain. Raises FormatError on a loop or when it leaves the volume."""
    seen: set[int] = set()
    cluster = first
    while len(seen) < limit:
        if not 2 <= cluster < geometry.clusters + 2 or cluster in seen:
            raise FormatError(f"exFAT: a cluster chain leads to {cluster}.")
        seen.add(cluster)
        yield cluster
        cluster = int.from_bytes(volume.pread(4, geometry.fat_start + 4 * cluster), "little")
        if cluster == _END_OF_CHAIN:
            return


def _find_bitmap(volume: Source, geometry: Geometry) -> tuple[list[int], Fields]:
    """The clusters of the root directory up to the allocation bitmap's entry, and that entry (section 7.1)."""
    walked: list[int] = []
    for cluster in _chain(volume, geometry, geometry.root, max(_ROOT_LIMIT // geometry.cluster_size, 1)):
        walked.append(cluster)
        data = volume.pread(geometry.cluster_size, geometry.extent(cluster)[0])
        for position in range(0, len(data), 32):
            if data[position] == _BITMAP_ENTRY:
                return walked, Fields(data[position : position + 32], "exFAT allocation bitmap entry")
            if not data[position]:
                raise FormatError("exFAT: the root directory names no allocation bitmap.")
    raise FormatError("exFAT: the root directory names no allocation bitmap.")


def _allocated(volume: Source, geometry: Geometry, chain: list[int], need: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of the clusters whose bit is set."""
    first = 0
    for cluster in chain:
        length = min(geometry.cluster_size, need - first // 8)
        if length <= 0:
            return
        data = volume.pread(length, geometry.extent(cluster)[0])
        for start, end in set_runs(data, min(geometry.clusters - first, length * 8)):
            yield geometry.extent(2 + first + start)[0], geometry.extent(2 + first + end)[0]
        first += length * 8
    if first < geometry.clusters:
        raise FormatError("exFAT: the allocation bitmap is shorter than the volume.")
