"""Searches a disk for partitions that its table does not name."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final

from rescue.errors import FormatError, SourceReadError
from rescue.filesystems.beginnings import HEAD, Beginning, beginning, places
from rescue.filesystems.fat import read_geometry
from rescue.filesystems.identify import identify
from rescue.model.disk import Disk
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout
from rescue.model.lost import Lost
from rescue.model.progress import CancelToken
from rescue.model.source import SliceSource, Source
from rescue.model.tables import link_offsets
from rescue.model.volume import Identity
from rescue.records import replace
from rescue.units import KIB, MIB, align_down, align_up

_WINDOW: Final = 8 * MIB
# Where programs begin partitions: at whole MiB today; in the past at cylinders of 255 heads and 63 sectors, or a track behind.
_CYLINDER: Final = 255 * 63 * 512
_TRACK: Final = 63 * 512
_MOST: Final = 1000  # that are looked at again; a disk with more holds images of disks
_UNREADABLE: Final = 64 * KIB
_EFI: Final = b"EFI        "
_FOLDER: Final = 0x10


def search_lost(
    disk: Disk,
    source: Source,
    layout: Layout,
    *,
    deep: bool,
    token: CancelToken,
    progress: Callable[[int, int], None],
    identity: Callable[[str, int, int], Identity] = identify,
) -> list[Lost]:
    """What begins in the free space of a disk, in the order of the disk; ``deep`` looks at each sector of it.

    ``progress`` is told bytes. What cannot be read is passed over. Raises CancelledError.
    """
    free = _free(layout)
    found: dict[int, tuple[int, Beginning]] = {}  # by where it begins: where it was recognised, and as what
    total = free.total
    done = 0
    for area in free:
        for window in _windows(area, deep):
            token.check()
            for start in _looked_at(source, window, layout.sector_size):
                if len(found) < _MOST and (begun := _begins(source, start)):
                    _note(found, start, begun)
            if deep or window.start + _WINDOW >= area.end or not window.start % _WINDOW:
                progress(done + min(window.end, area.end) - area.start, total)
        done += area.length
    return _chosen(disk, source, layout, free, found, identity)


def _free(layout: Layout) -> ExtentMap:
    taken = [(p.start, p.end) for p in layout.partitions if p.kind != "extended"]
    taken += [(e.start, e.end) for e in layout.table]
    taken += [(at, at + layout.sector_size) for at in link_offsets(layout).values()]
    return ExtentMap([(0, align_down(layout.size, layout.sector_size))]).difference(ExtentMap(sorted(taken)))


def _windows(area: Extent, deep: bool) -> Iterator[Extent]:
    """The stretches of an area whose beginnings are looked at."""
    if deep:
        for start in range(area.start, area.end, _WINDOW):
            yield Extent(start, min(start + _WINDOW, area.end))
        return
    cylinders = (range(base + align_up(max(area.start - base, 0), _CYLINDER), area.end, _CYLINDER) for base in (0, _TRACK))
    # The first place is right behind what was before it.
    usual = heapq.merge([area.start], range(align_up(area.start, MIB), area.end, MIB), *cylinders)
    for start, _ in groupby(usual):
        yield Extent(start, min(start + 512, area.end))


def _looked_at(source: Source, window: Extent, sector_size: int) -> Sequence[int]:
    """The offsets on the disk, in a window, at which something may begin."""
    end = min(window.end + HEAD, source.size)
    try:
        data = source.pread(end - window.start, window.start)
    except SourceReadError:
        if window.length <= 512:
            return ()
        # What can be read of it is found; the bad places themselves hold nothing.
        pieces = range(window.start, window.end, _UNREADABLE)
        parts = (Extent(start, min(start + _UNREADABLE, window.end)) for start in pieces)
        return [start for part in parts for start in _part(source, part, sector_size)]
    return [window.start + at for at in places(data, window.length, 512)]


def _part(source: Source, part: Extent, sector_size: int) -> Sequence[int]:
    try:
        data = source.pread(min(part.end + HEAD, source.size) - part.start, part.start)
    except SourceReadError:
        return ()
    return [part.start + at for at in places(data, part.length, 512)]


def _begins(source: Source, start: int) -> Beginning | None:
    try:
        found = beginning(SliceSource(source, start, source.size))
    except SourceReadError:
        return None
    return found if found and start >= found.before else None


def _note(found: dict[int, tuple[int, Beginning]], at: int, begun: Beginning) -> None:
    """Of two that begin at one place, keep the one that was found by its own beginning."""
    known = found.get(at - begun.before)
    if known is None or (known[1].before and not begun.before):
        found[at - begun.before] = at, begun


def _chosen(
    disk: Disk,
    source: Source,
    layout: Layout,
    free: ExtentMap,
    found: dict[int, tuple[int, Beginning]],
    identity: Callable[[str, int, int], Identity],
) -> list[Lost]:
    """What is possible of what was found. What was recognised inside of another whole one is a file of it, or remains."""
    lost: list[Lost] = []
    starts = sorted(found)
    whole = [(start, start + begun.size) for start, (_, begun) in found.items() if begun.whole and not begun.before]
    for start in starts:
        at, begun = found[start]
        room = next((area for area in free if area.start <= start < area.end), None)
        if room is None:
            continue
        # What does not tell its size ends where the next one begins.
        behind = next((s for s in starts if start < s < room.end), room.end)
        end = start + begun.size if begun.size else align_down(behind, layout.sector_size)
        if end <= start or end > room.end:
            continue
        known = Identity(begun.type) if begun.before else identity(disk.path, start, end - start)
        if known.type:
            esp = known.type == "vfat" and _has_efi(source, start, end)
            inside = any(low < at < high for low, high in whole if low != start)
            lost.append(Lost(start, end, known, begun.whole, damaged=bool(begun.before), is_esp=esp, inside=inside))
    if lost:
        named = {_who(identity(disk.path, p.start, p.size)): p.number for p in layout.data_partitions}
        lost = [replace(one, twin_of=named.get(_who(one.identity), 0) if one.identity.uuid else 0) for one in lost]
    outer = [one for one in lost if not one.inside]
    return [replace(one, overlaps=any(_overlap(one, other) for other in outer if other is not one)) for one in lost]


def _who(identity: Identity) -> tuple[str, str]:
    return identity.type, identity.uuid


def _overlap(one: Lost, other: Lost) -> bool:
    return one.start < other.end and other.start < one.end


def _has_efi(source: Source, start: int, end: int) -> bool:
    """Whether a FAT has a folder EFI: an EFI system partition."""
    volume = SliceSource(source, start, end)
    try:
        geometry = read_geometry(volume)
        first = geometry.data_start + max(geometry.root - 2, 0) * geometry.cluster_size
        # FAT12 and FAT16 have the root directory right before the data.
        place = first if geometry.root else geometry.fat_start + geometry.fats * geometry.fat_size
        entries = volume.pread(min(max(geometry.cluster_size, 16 * KIB), volume.size - place), place)
    except (FormatError, SourceReadError):
        return False
    return any(entries[at : at + 11] == _EFI and entries[at + 11] & _FOLDER for at in range(0, len(entries) - 31, 32))
