"""Where everything of a FAT file system is, and where it is in one of another size with the same type and boot code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import DamagedError, FormatError, RefusedError
from rescue.filesystems.fat import Geometry, read_geometry
from rescue.filesystems.fields import Fields
from rescue.model.source import Source
from rescue.records import replace
from rescue.units import KIB, MIB, align_up, human_size

FIRST: Final = 2  # the number of the first cluster
_PIECE: Final = MIB // 4
_PIECES: Final = 64
_LARGEST_CLUSTER: Final = 32 * KIB  # 64 KiB is not for every system
_MOST_SECTORS: Final = 128  # in a cluster
_ROOT_SIZE: Final = 512 * 32  # what programs make
_FAT12_END: Final = 4085
_FAT16_END: Final = 65525
_FAT32_END: Final = 0x0FFFFFF5


class Layout(msgspec.Struct, frozen=True):
    """A FAT file system of some size. Sizes in bytes, ``reserved`` and ``fat_sectors`` in sectors of ``sector`` bytes."""

    bits: int
    sector: int
    cluster_size: int
    clusters: int
    reserved: int
    fats: int
    fat_sectors: int
    root_size: int  # of a root directory with a place of its own; 0 for FAT32
    sectors: int

    @property
    def root_start(self) -> int:
        """Where the root directory of FAT12 and FAT16 begins."""
        return (self.reserved + self.fats * self.fat_sectors) * self.sector

    @property
    def data_start(self) -> int:
        """Where the first cluster begins."""
        return self.root_start + self.root_size

    def place(self, cluster: int) -> int:
        """Where a cluster begins."""
        return self.data_start + (cluster - FIRST) * self.cluster_size


class Table:
    """The allocation table of a volume, read a piece at a time, and the chains in it."""

    def __init__(self, volume: Source) -> None:
        """Raises FormatError when the boot sector makes no sense."""
        self.volume = volume
        self.geometry: Geometry = read_geometry(volume)
        self._pieces: dict[int, bytes] = {}
        self._seen = bytearray((self.geometry.clusters + FIRST + 7) // 8)
        self._end = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[self.geometry.bits]

    def _bytes(self, offset: int, length: int) -> bytes:
        number, inside = divmod(offset, _PIECE)
        piece = self._pieces.get(number)
        if piece is None:
            if len(self._pieces) >= _PIECES:
                self._pieces.clear()
            start = self.geometry.fat_start + (self.geometry.active or 0) * self.geometry.fat_size
            piece = self.volume.pread(min(_PIECE + 4, self.geometry.fat_size - number * _PIECE), start + number * _PIECE)
            self._pieces[number] = piece
        return piece[inside : inside + length]

    def entry(self, cluster: int) -> int:
        """What the table says of a cluster."""
        match self.geometry.bits:
            case 12:
                pair = int.from_bytes(self._bytes(cluster * 3 // 2, 2), "little")
                return pair >> 4 if cluster & 1 else pair & 0xFFF
            case 16:
                return int.from_bytes(self._bytes(cluster * 2, 2), "little")
            case _:
                return int.from_bytes(self._bytes(cluster * 4, 4), "little") & 0x0FFFFFFF

    def chain(self, first: int, what: str) -> tuple[tuple[int, int], ...]:
        """The byte ranges of a chain; every cluster of the volume can be in one only. Raises DamagedError."""
        geometry = self.geometry
        runs: list[tuple[int, int]] = []
        cluster = first
        while cluster < self._end:
            if not FIRST <= cluster < geometry.clusters + FIRST:
                raise DamagedError(f"{what}: its chain leads out of the FAT file system or to a free place.", "Check it first.")
            if self._seen[cluster >> 3] & 1 << (cluster & 7):
                raise DamagedError(f"{what}: its chain is also that of another file.", "Check the FAT file system first.")
            self._seen[cluster >> 3] |= 1 << (cluster & 7)
            place = geometry.data_start + (cluster - FIRST) * geometry.cluster_size
            if runs and runs[-1][1] == place:
                runs[-1] = (runs[-1][0], place + geometry.cluster_size)
            else:
                runs.append((place, place + geometry.cluster_size))
            cluster = self.entry(cluster)
        return tuple(runs)


def layout_of(volume: Source) -> Layout:
    """The layout as it is. Raises FormatError."""
    geometry = read_geometry(volume)
    boot = Fields(volume.pread(512, 0), "FAT boot sector")
    sector = boot.u16(11)
    return Layout(
        geometry.bits, sector, geometry.cluster_size, geometry.clusters, boot.u16(14), geometry.fats,
        geometry.fat_size // sector, -(-boot.u16(17) * 32 // sector) * sector, boot.u16(19) or boot.u32(32),
    )  # fmt: skip


def laid_out(old: Layout, size: int, sector: int = 0, root_bytes: int = 0) -> Layout:
    """The same kind of file system in ``size`` bytes, with clusters of another size where its type asks for that.

    ``sector``: the bytes of a sector, 0 for those that it has. A FAT32 that would have too few clusters with larger ones
    becomes a FAT16 or FAT12, with room for ``root_bytes`` in its root directory: firmware does not take it for a FAT32 any
    more. Raises RefusedError when no file system of that type has the size.
    """
    wanted = old
    others: list[Layout] = []
    if sector not in (0, old.sector):
        # Linux refuses a root directory that does not end with a sector.
        root_size = min(align_up(old.root_size, sector), 0xFFFF * 32 // sector * sector)
        wanted = replace(old, sector=sector, cluster_size=max(old.cluster_size, sector), root_size=root_size)
        if old.bits == 32:
            root_size = align_up(max(root_bytes, _ROOT_SIZE), sector)
            others = [replace(wanted, bits=bits, reserved=1, root_size=root_size) for bits in (16, 12)]
    # Small FAT32 volumes, with fewer clusters than its definition wants, are common on EFI partitions.
    is_small = old.clusters < _FAT16_END and wanted is old
    for layout in (wanted, *others):
        for cluster_size in _cluster_sizes(layout):
            found = _with_clusters(layout, size, cluster_size, is_small)
            if found is not None:
                return found
    raise RefusedError(
        f"A FAT{old.bits} file system with sectors of {wanted.sector} bytes cannot have {human_size(size)}.",
        "Give it another size.",
    )


def _cluster_sizes(old: Layout) -> Iterator[int]:
    """The present one; else smaller ones, the largest first; else larger ones."""
    yield old.cluster_size
    cluster = old.cluster_size // 2
    while cluster >= old.sector:
        yield cluster
        cluster //= 2
    cluster = old.cluster_size * 2
    while cluster <= max(_LARGEST_CLUSTER, old.sector):
        yield cluster
        cluster *= 2


def _with_clusters(old: Layout, size: int, cluster_size: int, is_small: bool) -> Layout | None:
    sectors = min(size // old.sector, (1 << 32) - 1)
    per_cluster = cluster_size // old.sector
    if per_cluster > _MOST_SECTORS:
        return None
    least = {12: 1, 16: _FAT12_END, 32: 1 if is_small else _FAT16_END}[old.bits]
    end = {12: _FAT12_END, 16: _FAT16_END, 32: _FAT32_END}[old.bits]
    fixed = old.reserved + old.root_size // old.sector
    # Each cluster takes its sectors and its entry in every table.
    clusters = max(sectors - fixed, 0) * old.sector * 8 // (cluster_size * 8 + old.fats * old.bits)
    while clusters > 0:
        fat_sectors = -(-(clusters + FIRST) * old.bits // (8 * old.sector))
        if fixed + old.fats * fat_sectors + clusters * per_cluster <= sectors:
            break
        clusters -= 1
    else:
        return None
    if old.bits != 32 and fat_sectors > 0xFFFF:
        return None
    if not least <= clusters < end:
        return None
    return Layout(
        old.bits, old.sector, cluster_size, clusters, old.reserved, old.fats, fat_sectors, old.root_size, sectors,
    )  # fmt: skip


def require_known(volume: Source) -> None:
    """Raise FormatError for what a copy could not keep."""
    geometry = read_geometry(volume)
    if geometry.version:
        raise FormatError("FAT: it has a FAT32 version that this program does not know.")
