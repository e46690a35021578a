"""FAT12, FAT16 and FAT32: which bytes are used, from the file allocation table.

Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (fatgen103); where it differs, what Linux and Windows do.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import FormatError
from rescue.filesystems.fields import Fields
from rescue.filesystems.pieces import bounded
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.units import MIB

_FIRST_CLUSTER: Final = 2  # entries 0 and 1 hold the media byte and the state of the volume
_TAKEN: Final = re.compile(rb"\x01+")

DIRTY = "It is marked as not cleanly unmounted (its dirty flag is set)."
COPIES_DIFFER = "The copies of its allocation table differ."
UNKNOWN_VERSION = "It has a FAT32 version that this program does not know."


class Geometry(msgspec.Struct, frozen=True):
    """What the boot sector says. ``bits`` of a FAT entry; offsets and sizes in bytes."""

    bits: int
    cluster_size: int
    clusters: int
    fat_start: int
    fat_size: int
    fats: int
    root: int  # first cluster of the root directory, 0 when it has a place of its own
    active: int | None  # the only valid copy, None when all are kept equal
    data_start: int
    media: int
    dirty: bool
    version: int

    @property
    def data_end(self) -> int:
        """End of the last cluster."""
        return self.data_start + self.clusters * self.cluster_size


def used_map(volume: Source) -> UsedMap:
    """Reserved sectors, tables, the root directory, every cluster whose entry is not free, and what is behind the last.

    Reads only. Raises FormatError when the boot sector or the table make no sense, SourceReadError.
    """
    geometry = read_geometry(volume)
    because = _why_unclean(volume, geometry)
    if because:
        return UsedMap.whole(volume.size, because)
    extents = [(0, geometry.data_start)]
    extents += bounded(_allocated(volume, geometry))
    extents.append((geometry.data_end, volume.size))
    used = ExtentMap(extents)
    if geometry.root and geometry.data_start + (geometry.root - _FIRST_CLUSTER) * geometry.cluster_size not in used:
        raise FormatError("FAT: the table calls the root directory's cluster free.")
    return UsedMap(used)


def read_geometry(volume: Source) -> Geometry:
    """Parse the boot sector. Raises FormatError."""
    boot = Fields(volume.pread(512, 0), "FAT boot sector")
    sector, factor = boot.u16(11), boot.u8(13)
    boot.require(sector in (512, 1024, 2048, 4096), f"a sector size of {sector}")
    boot.require(factor > 0 and not factor & (factor - 1), f"{factor} sectors in a cluster")
    reserved, fats, root_entries = boot.u16(14), boot.u8(16), boot.u16(17)
    boot.require(reserved > 0 and fats > 0, "no reserved sectors or no table")
    # The length field that is used says FAT32, as for Linux and Windows: small FAT32 volumes are common on EFI partitions.
    wide = boot.u16(22) == 0
    fat_sectors = boot.u32(36) if wide else boot.u16(22)
    sectors = boot.u16(19) or boot.u32(32)
    boot.require(0 < sectors * sector <= volume.size, f"{sectors} sectors do not fit into the volume of {volume.size} bytes")
    root = -(-root_entries * 32 // sector)
    boot.require(wide == (root == 0), "its root directory has no place")
    data = reserved + fats * fat_sectors + root
    clusters = (sectors - data) // factor
    boot.require(fat_sectors > 0 and clusters > 0, "it has no room for data")
    bits = 32 if wide else 12 if clusters < 4085 else 16
    boot.require(clusters < (0x0FFFFFF5 if wide else 65525), f"{clusters} clusters")
    boot.require((clusters + _FIRST_CLUSTER) * bits <= fat_sectors * sector * 8, f"no table entries for {clusters} clusters")
    media = boot.u8(21)
    boot.require(media == 0xF0 or media >= 0xF8, f"a media byte of {media:#04x}")
    flags = boot.u16(40) if wide else 0
    boot.require(not wide or 2 <= boot.u32(44) < clusters + 2, "its root directory is outside of the file system")
    active = flags & 15 if flags & 0x80 else None
    boot.require(active is None or active < fats, f"table {active} of {fats} is active")
    return Geometry(
        bits=bits,
        cluster_size=factor * sector,
        clusters=clusters,
        fat_start=reserved * sector,
        fat_size=fat_sectors * sector,
        fats=fats,
        root=boot.u32(44) if wide else 0,
        active=active,
        data_start=data * sector,
        media=media,
        dirty=bool(boot.u8(0x41 if wide else 0x25) & 1),  # where Linux and Windows NT note that it is mounted
        version=boot.u16(42) if wide else 0,
    )


def _why_unclean(volume: Source, geometry: Geometry) -> str:
    head = Fields(volume.pread(8, geometry.fat_start + (geometry.active or 0) * geometry.fat_size), "FAT")
    head.require(head.u8(0) == geometry.media, "its first entry is not the media byte")
    if geometry.version:
        return UNKNOWN_VERSION
    # The two highest bits of entry 1: cleanly unmounted, and no read or write error was met. FAT12 has none.
    unclean = (geometry.bits == 16 and head.u16(2) < 0xC000) or (geometry.bits == 32 and head.u32(4) & 0x0C000000 != 0x0C000000)
    if geometry.dirty or unclean:
        return DIRTY
    if geometry.active is None and not _copies_agree(volume, geometry):
        return COPIES_DIFFER
    return ""


def _table_pieces(volume: Source, geometry: Geometry, copy: int) -> Iterator[bytes]:
    """The part of a table copy that describes clusters, a mebibyte at a time."""
    length = ((geometry.clusters + _FIRST_CLUSTER) * geometry.bits + 7) // 8
    start = geometry.fat_start + copy * geometry.fat_size
    for offset in range(0, length, MIB):
        yield volume.pread(min(MIB, length - offset), start + offset)


def _copies_agree(volume: Source, geometry: Geometry) -> bool:
    for copy in range(1, geometry.fats):
        pairs = zip(_table_pieces(volume, geometry, 0), _table_pieces(volume, geometry, copy), strict=True)
        if any(one != other for one, other in pairs):
            return False
    return True


def _allocated(volume: Source, geometry: Geometry) -> Iterator[tuple[int, int]]:
    """Byte ranges of the clusters whose entry is not zero."""
    number = -_FIRST_CLUSTER
    for piece in _table_pieces(volume, geometry, geometry.active or 0):
        # A reserved upper half-byte that is set makes a free FAT32 entry count as used: harmless, and four times faster.
        taken = bytes(map(bool, _entries(piece, geometry.bits)))
        for match in _TAKEN.finditer(taken):
            first, end = max(number + match.start(), 0), min(number + match.end(), geometry.clusters)
            yield geometry.data_start + first * geometry.cluster_size, geometry.data_start + end * geometry.cluster_size
        number += len(taken)


def _entries(piece: bytes, bits: int) -> list[int] | array[int]:
    if bits == 12:  # two entries in three bytes; the whole table is at most 6 KiB
        padded = piece + bytes(3)
        pairs = (int.from_bytes(padded[i : i + 3], "little") for i in range(0, len(piece), 3))
        return [entry for pair in pairs for entry in (pair & 0xFFF, pair >> 12)]
    entries = array("H" if bits == 16 else "I", piece)
    if entries.itemsize * 8 != bits:
        raise FormatError(f"FAT: this machine has no {bits}-bit array.")
    if sys.byteorder == "big":
        entries.byteswap()
    return entries
