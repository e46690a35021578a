"""btrfs over several devices: which bytes of each are used.

Written from the published on-disk format (btrfs.readthedocs.io, "On-disk Format"); how chunks are striped over devices is in the
Linux kernel, fs/btrfs/volumes.c (btrfs_map_block). Of rows with parity all is kept that stands at the same place of its stripes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.btrfs import MANY_DEVICES, fixed_extents, read_allocation, why_not
from rescue.filesystems.btrfs_trees import Forest, Superblock, read_superblock
from rescue.filesystems.fields import Fields
from rescue.filesystems.pieces import bounded
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import UsedMap
from rescue.units import KIB

_HEAD: Final = 48
_STRIPE: Final = 32
_MAX_STRIPES: Final = 1024
_UNITS: Final = (4 * KIB, 1 << 30)
_RAID0, _RAID1, _DUP, _RAID10, _RAID5, _RAID6, _RAID1C3, _RAID1C4 = (1 << bit for bit in range(3, 11))
_PROFILES: Final = 0x7F8
_COPIES: Final = {0: 1, _RAID1: 2, _DUP: 2, _RAID1C3: 3, _RAID1C4: 4}  # of those that are not striped
_PARITY: Final = {_RAID5: 1, _RAID6: 2}


class OnDevice(NamedTuple):
    """Bytes ``[start, end)`` of a device, by its number in the file system."""

    device: int
    start: int
    end: int


class StripedChunk(msgspec.Struct, frozen=True):
    """Logical bytes ``[start, end)``, in units of ``unit`` bytes over columns of ``copies`` stripes each, or with parity.

    ``stripes`` are the number of a device, and where on it the stripe begins.
    """

    start: int
    end: int
    unit: int
    stripes: tuple[tuple[int, int], ...]
    copies: int
    parity: int

    @property
    def columns(self) -> int:
        """How many units of a row hold data."""
        return len(self.stripes) // self.copies - self.parity

    @property
    def length(self) -> int:
        """Bytes of each stripe."""
        return (self.end - self.start) // self.columns

    def places(self, start: int, end: int) -> Iterator[OnDevice]:
        """Everything that logical bytes inside of the chunk take."""
        start, end = start - self.start, end - self.start
        if self.parity:
            first, low = divmod(start, self.unit)
            last, high = divmod(end - 1, self.unit)
            row = first // self.columns * self.unit
            edges = (row + low, row + high + 1) if first == last else (row, (last // self.columns + 1) * self.unit)
            for device, offset in self.stripes:
                yield OnDevice(device, offset + edges[0], offset + edges[1])
            return
        for column in range(self.columns):
            low, high = (start, end) if self.columns == 1 else (self._edge(column, start), self._edge(column, end))
            if low < high:
                for device, offset in self.stripes[column * self.copies : (column + 1) * self.copies]:
                    yield OnDevice(device, offset + low, offset + high)

    def _edge(self, column: int, position: int) -> int:
        """How many bytes of a column are in front of a position."""
        number, inside = divmod(position, self.unit)
        row, at = divmod(number, self.columns)
        return row * self.unit + (self.unit if column < at else inside if column == at else 0)

    def copies_of(self, start: int, size: int) -> list[tuple[int, int]]:
        """Device and place of each copy of a tree block. Raises FormatError when it is not in one unit."""
        at = start - self.start
        number, inside = divmod(at, self.unit)
        if start + size > self.end or ((self.columns > 1 or self.parity) and inside + size > self.unit):
            raise FormatError(f"btrfs: the tree block at {start} is not in one stripe.")
        if self.columns == 1 and not self.parity:
            return [(device, offset + at) for device, offset in self.stripes]
        row, column = divmod(number, self.columns)
        if self.parity:
            device, offset = self.stripes[(row + column) % len(self.stripes)]
            return [(device, offset + row * self.unit + inside)]
        chosen = self.stripes[column * self.copies : (column + 1) * self.copies]
        return [(device, offset + row * self.unit + inside) for device, offset in chosen]


class _WideForest(Forest):
    """The trees of a file system on all of its devices."""

    def __init__(self, devices: dict[int, Source], sizes: dict[int, int], superblock: Superblock) -> None:
        self._devices = devices
        self._sizes = sizes
        self._starts: list[int] = []
        self._wide: list[StripedChunk] = []
        super().__init__(devices[superblock.devid], superblock)

    def add_chunk(self, start: int, raw: Fields) -> int:
        """See ChunkMap.add."""
        chunk = _chunk(start, raw, self._sizes)
        index = bisect_right(self._starts, start)
        taken = _HEAD + len(chunk.stripes) * _STRIPE
        if index and self._wide[index - 1] == chunk:
            return taken  # system chunks are in the superblock and in the chunk tree
        before = index == 0 or self._wide[index - 1].end <= start
        behind = index == len(self._wide) or chunk.end <= self._starts[index]
        raw.require(before and behind, f"the chunk at {start} overlaps another")
        self._starts.insert(index, start)
        self._wide.insert(index, chunk)
        return taken

    def _copies(self, address: int, size: int) -> list[bytes]:
        places = self._at(address).copies_of(address, size)
        return [self._devices[device].pread(size, place) for device, place in places]

    def _at(self, address: int) -> StripedChunk:
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._wide[index].end:
            raise FormatError(f"btrfs: logical address {address} is in no chunk.")
        return self._wide[index]

    def places(self, start: int, end: int) -> Iterator[OnDevice]:
        """Everything that logical bytes ``[start, end)`` take. Raises FormatError where no chunk is."""
        while start < end:
            chunk = self._at(start)
            stop = min(end, chunk.end)
            yield from chunk.places(start, stop)
            start = stop


def _chunk(start: int, raw: Fields, sizes: dict[int, int]) -> StripedChunk:
    length, unit, kind, count, sub = raw.u64(0), raw.u64(16), raw.u64(24), raw.u16(44), raw.u16(46)
    raw.require(0 < count <= _MAX_STRIPES and 0 < length < 1 << 62 and start < 1 << 62, f"{count} stripes of {length} bytes")
    least, most = _UNITS
    raw.require(least <= unit <= most and not unit & (unit - 1), f"stripes in units of {unit} bytes")
    profile = kind & _PROFILES
    parity = _PARITY.get(profile, 0)
    if profile in _COPIES:
        copies = _COPIES[profile]
        raw.require(count == copies, f"{count} copies instead of {copies}")
    elif profile in (_RAID0, _RAID5, _RAID6):
        copies = 1
    elif profile == _RAID10:
        copies = sub
        raw.require(0 < copies <= count and count % copies == 0, f"{count} stripes in groups of {copies}")
    else:
        raise UnsupportedError("btrfs: its data is striped in a way that this program does not know.")
    raw.require(count // copies > parity, f"{count} stripes with {parity} of parity")
    position = _HEAD
    stripes = []
    for _ in range(count):
        stripes.append((raw.u64(position), raw.u64(position + 8)))
        position += _STRIPE
    chunk = StripedChunk(start, start + length, unit, tuple(stripes), copies, parity)
    if (chunk.columns > 1 or parity) and length % (chunk.columns * unit):
        raise UnsupportedError("btrfs: the stripes of a chunk have different lengths.")
    for device, offset in stripes:
        if device not in sizes:
            raise UnsupportedError(f"btrfs: its device {device} is missing.")
        raw.require(offset + chunk.length <= sizes[device], f"{chunk.length} bytes at {offset} are outside of device {device}")
    return chunk


def file_system_of(volume: Source) -> bytes:
    """The identifier of the file system that a device belongs to. Raises FormatError, SourceReadError."""
    return read_superblock(volume).fsid


def device_count(volume: Source) -> int:
    """On how many devices the file system is. Raises FormatError, SourceReadError."""
    return read_superblock(volume).num_devices


def used_maps(volumes: Sequence[Source]) -> list[UsedMap]:
    """The used map of each device of one file system, when these are all.

    Raises FormatError when the trees contradict themselves or each other, UnsupportedError, SourceReadError.
    """
    superblocks = [read_superblock(volume) for volume in volumes]
    first = superblocks[0]
    devices = {superblock.devid: volume for superblock, volume in zip(superblocks, volumes, strict=True)}
    if len(devices) != len(volumes) or len(devices) != first.num_devices:
        raise UnsupportedError(MANY_DEVICES)
    for superblock in superblocks:
        if (superblock.fsid, superblock.generation, superblock.root) != (first.fsid, first.generation, first.root):
            raise UnsupportedError("A device of it is older than another one.")
        because = why_not(superblock, len(devices))
        if because:
            raise UnsupportedError(because)
    forest = _WideForest(devices, {superblock.devid: superblock.device_size for superblock in superblocks}, first)
    starts, ends = read_allocation(forest, first, len(devices))
    found: dict[int, list[tuple[int, int]]] = {device: [] for device in devices}
    logical = zip(starts, ends, strict=True)
    for device, start, end in bounded(place for low, high in logical for place in forest.places(low, high)):
        found[device].append((start, end))
    maps = []
    for superblock, volume in zip(superblocks, volumes, strict=True):
        used = [*found[superblock.devid], *fixed_extents(volume.size)]
        maps.append(UsedMap(ExtentMap(sorted(used))))
    return maps
