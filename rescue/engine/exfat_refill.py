"""An exFAT file system made anew in another size or for other sectors: the same names, attributes and times, entry by entry.

The clusters keep their size, as long as it is not below that of a sector. Files lie in one piece afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from rescue.engine.exfat_content import (
    BITMAP,
    HAS_CLUSTERS,
    IN_ONE_PIECE,
    UPCASE,
    Chain,
    Content,
    Folder,
    pieces,
    read_content,
    set_checksum,
    sets,
)
from rescue.engine.hidden_sectors import seal_exfat
from rescue.errors import RefusedError
from rescue.model.source import Sink, Source
from rescue.units import MIB, align_up, human_size

_FIRST: Final = 2
_MOST: Final = 0xFFFFFFF5
_BOOT_SECTORS: Final = 12
_TABLE_START: Final = 24  # sectors: two boot regions
_END: Final = 0xFFFFFFFF
_LEAST_SECTOR: Final = 512
_PARAMETERS: Final = 9  # the number of the sector of OEM parameters, behind eight extended boot sectors
_EXTENDED_SIGNATURE: Final = b"\x00\x00\x55\xaa"


class _Layout(NamedTuple):
    """Sizes and places in bytes."""

    sector: int
    cluster_size: int
    fat_start: int
    fat_size: int
    heap_start: int
    clusters: int
    sectors: int

    def place(self, cluster: int) -> int:
        """Where a cluster begins."""
        return self.heap_start + (cluster - _FIRST) * self.cluster_size


def smallest(volume: Source, sector: int = 0) -> int:
    """The size in bytes of the smallest exFAT file system that holds all of it; its own where none is smaller.

    ``sector``: the bytes of a sector, 0 for those that it has. Raises DamagedError, FormatError.
    """
    content = read_content(volume)
    sector = sector or _sector(volume)
    low, high = 1, align_up(volume.size, MIB) // MIB
    while low < high:
        middle = (low + high) // 2
        layout = _laid_out(content, sector, middle * MIB)
        # A few clusters more, so that it can be written to.
        if layout is not None and _needed(content, layout) + layout.clusters // 100 <= layout.clusters:
            high = middle
        else:
            low = middle + 1
    return min(high * MIB, volume.size)


def can_have(volume: Source, size: int, sector: int) -> bool:
    """Whether all of it has room in ``size`` bytes with sectors of ``sector`` bytes. Raises DamagedError, FormatError."""
    content = read_content(volume)
    layout = _laid_out(content, sector, size)
    return layout is not None and _needed(content, layout) <= layout.clusters


def refill(volume: Source, sink: Sink, start: int, size: int, check: Callable[[], None], sector: int = 0) -> str:
    """Make ``volume`` anew in the ``size`` bytes at ``start`` of ``sink``; a sentence for the journal.

    With sectors of ``sector`` bytes; 0: of as many as it has. ``check`` is called for every file. Raises RefusedError when it
    does not fit, DamagedError, FormatError before the first write; SourceReadError, TargetWriteError.
    """
    content = read_content(volume)
    new = _laid_out(content, sector or _sector(volume), size)
    if new is None or _needed(content, new) > new.clusters:
        least = smallest(volume, sector)
        raise RefusedError(f"The exFAT file system takes {least} bytes ({human_size(least)}), and is to have {size}.")
    content.bitmap.size = (new.clusters + 7) // 8
    cluster = _FIRST
    for chain in content.chains:
        chain.first = cluster
        cluster += _clusters(chain, new)
    used = cluster - _FIRST
    folders = {
        id(chain.folder): _entries_of(chain.folder, chain is content.chains[0]) for chain in content.chains if chain.folder
    }
    boot = _boot_region(volume, new, content.chains[0].first, used)
    # The first sector comes last: until then it is no file system.
    sink.zero(start, start + new.heap_start)
    _write_table(content, new, sink, start)
    for chain in content.chains:
        check()
        place = start + new.place(chain.first)
        length = _clusters(chain, new) * new.cluster_size
        if chain.folder is not None:
            sink.pwrite(folders[id(chain.folder)].ljust(length, b"\0"), place)
        elif chain is content.bitmap:
            sink.pwrite(((1 << used) - 1).to_bytes(-(-used // 8), "little").ljust(length, b"\0"), place)
        else:
            _copy(volume, chain, sink, place, length)
    sink.flush()
    sink.pwrite(boot, start + len(boot))
    sink.pwrite(boot, start)
    sink.flush()
    return f"exFAT made anew with {human_size(size)} and filled."


def _sector(volume: Source) -> int:
    return 1 << volume.pread(1, 108)[0]


def _laid_out(content: Content, sector: int, size: int) -> _Layout | None:
    """The same kind of file system in ``size`` bytes; None when that is too small."""
    cluster_size = max(content.geometry.cluster_size, sector)
    fat_start = align_up(max(content.geometry.fat_start, _TABLE_START * sector), sector)
    sectors = size // sector
    clusters = min(max(sectors * sector - fat_start, 0) // cluster_size, _MOST)
    while clusters > 0:
        fat_size = align_up((clusters + _FIRST) * 4, sector)
        heap_start = align_up(fat_start + fat_size, max(cluster_size, sector))
        fitting = (sectors * sector - heap_start) // cluster_size
        if clusters <= fitting:
            return _Layout(sector, cluster_size, fat_start, fat_size, heap_start, clusters, sectors)
        clusters = fitting
    return None


def _clusters(chain: Chain, layout: _Layout) -> int:
    return -(-chain.size // layout.cluster_size)


def _needed(content: Content, layout: _Layout) -> int:
    without = sum(_clusters(chain, layout) for chain in content.chains if chain is not content.bitmap)
    return without - (-((layout.clusters + 7) // 8) // layout.cluster_size)


def _entries_of(folder: Folder, root: bool) -> bytes:
    entries = bytearray(folder.entries)
    for offset, chain in folder.named.items():
        entries[offset + 20 : offset + 24] = chain.first.to_bytes(4, "little")
        if root and entries[offset] == BITMAP:
            entries[offset + 24 : offset + 32] = chain.size.to_bytes(8, "little")
        if not (root and entries[offset] in (BITMAP, UPCASE)):
            entries[offset + 1] |= HAS_CLUSTERS | IN_ONE_PIECE
    for start, end in sets(entries):
        entries[start + 2 : start + 4] = set_checksum(entries[start:end]).to_bytes(2, "little")
    return bytes(entries)


def _write_table(content: Content, new: _Layout, sink: Sink, start: int) -> None:
    """Only what has no flag for lying in one piece needs a chain: the root directory, the bitmap, the table of capitals."""
    root = content.chains[0]
    chained = [root] + [chain for offset, chain in content.root.named.items() if content.root.entries[offset] in (BITMAP, UPCASE)]
    by_sector: dict[int, bytearray] = {0: bytearray(b"\xf8\xff\xff\xff\xff\xff\xff\xff".ljust(new.sector, b"\0"))}
    for chain in chained:
        last = chain.first + _clusters(chain, new) - 1
        for cluster in range(chain.first, last + 1):
            value = cluster + 1 if cluster < last else _END
            number, inside = divmod(cluster * 4, new.sector)
            block = by_sector.setdefault(number, bytearray(new.sector))
            block[inside : inside + 4] = value.to_bytes(4, "little")
    for number, block in sorted(by_sector.items()):
        sink.pwrite(bytes(block), start + new.fat_start + number * new.sector)


def _copy(volume: Source, chain: Chain, sink: Sink, place: int, length: int) -> None:
    """Write a chain in one piece, zeros behind its end."""
    left = chain.size
    for data in pieces(volume, chain):
        left -= len(data)
        length -= len(data)
        if not left:
            data += bytes(length)
        sink.pwrite(data, place)
        place += len(data)


def _boot_region(volume: Source, new: _Layout, root: int, used: int) -> bytes:
    """The boot region as it is, boot code included, with the numbers of the new size."""
    old_sector = _sector(volume)
    if old_sector == new.sector:
        region = bytearray(volume.pread(_BOOT_SECTORS * new.sector, 0))
    else:
        region = _other_sectors(volume, old_sector, new.sector)
        shift = new.sector.bit_length() - 1
        region[108:110] = bytes((shift, new.cluster_size.bit_length() - 1 - shift))
    for place, length, value in (
        (72, 8, new.sectors),
        (80, 4, new.fat_start // new.sector),
        (84, 4, new.fat_size // new.sector),
        (88, 4, new.heap_start // new.sector),
        (92, 4, new.clusters),
        (96, 4, root),
        (112, 1, used * 100 // new.clusters),
    ):
        region[place : place + length] = value.to_bytes(length, "little")
    seal_exfat(region, new.sector)
    return bytes(region)


def _other_sectors(volume: Source, old: int, new: int) -> bytearray:
    """A boot region in sectors of another size: boot sector and parameters as they are, no more boot code (section 3.2)."""
    region = bytearray(_BOOT_SECTORS * new)
    region[:_LEAST_SECTOR] = volume.pread(_LEAST_SECTOR, 0)
    for number in range(1, _PARAMETERS):
        region[(number + 1) * new - 4 : (number + 1) * new] = _EXTENDED_SIGNATURE
    region[_PARAMETERS * new : _PARAMETERS * new + _LEAST_SECTOR] = volume.pread(_LEAST_SECTOR, _PARAMETERS * old)
    return region
