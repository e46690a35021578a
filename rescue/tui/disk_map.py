"""A disk as a horizontal map to scale: which cells show which partition, and how much of it is used. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rescue.model.layout import Layout
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Volume
from rescue.tui.describe import is_locked
from rescue.units import MIB

_LINUX = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "LVM2_member", "linux_raid_member"})
_WINDOWS = frozenset({"ntfs", "exfat", "ReFS"})
_SMALL_GAP = 16 * MIB


class Segment(msgspec.Struct, frozen=True):
    """A part of the disk: a partition (``number`` > 0), a file system on the whole disk (0) or free space (-1)."""

    number: int
    size: int
    used: float  # share of it that holds data, 0 to 1
    colour: str  # one of the eight colours that a console can draw as a background

    @property
    def mark(self) -> str:
        """What is written at its start, so that colour is not the only link to the legend."""
        return str(self.number) if self.number > 0 else ""


class Stretch(msgspec.Struct, frozen=True):
    """Some cells of a map line that look the same."""

    text: str
    colour: str
    is_mark: bool = False


def volume_colour(volume: Volume | None) -> str:
    """The colour of a kind of volume."""
    kind = volume.identity.type if volume else ""
    if volume and is_locked(volume):
        return "ansi_magenta"
    if kind in _LINUX:
        return "ansi_green"
    if kind in _WINDOWS:
        return "ansi_cyan"
    if kind == "vfat":
        return "ansi_yellow"
    if kind == "swap":
        return "ansi_blue"
    return "ansi_white"


def _used_share(volume: Volume | None, size: int) -> float:
    if volume is None or size <= 0:
        return 0.0
    if is_locked(volume):
        return 1.0
    return min(volume.used_bytes / size, 1.0)


def segments(survey: DiskSurvey) -> list[Segment]:
    """The parts of the disk in the order of their place, gaps that nobody would miss left out."""
    return parts_of(survey.layout, survey.volumes, survey.disk.size)


def parts_of(layout: Layout, volumes: Sequence[Volume], size: int) -> list[Segment]:
    """The same of a layout on a disk of ``size`` bytes, with what its partitions hold."""
    by_number = {volume.partition: volume for volume in volumes}
    whole = by_number.get(0)
    if whole is not None:
        return [Segment(0, whole.size, _used_share(whole, whole.size), volume_colour(whole))]
    found: list[Segment] = []
    position = 0
    for partition in layout.data_partitions:
        gap = partition.start - position
        if gap >= max(_SMALL_GAP, size // 200):
            found.append(Segment(-1, gap, 0.0, "ansi_white"))
        volume = by_number.get(partition.number)
        found.append(Segment(partition.number, partition.size, _used_share(volume, partition.size), volume_colour(volume)))
        position = max(position, partition.end)
    if size - position >= max(_SMALL_GAP, size // 200) or not found:
        found.append(Segment(-1, max(size - position, 1), 0.0, "ansi_white"))
    return found


def share_cells(sizes: list[int], minima: list[int], width: int) -> list[int]:
    """Divide ``width`` cells in proportion to ``sizes``, each getting at least its minimum where that is possible."""
    if sum(minima) > width:
        minima = [0] * len(sizes)
    total = sum(sizes) or 1
    cells = [max(size * width // total, least) for size, least in zip(sizes, minima, strict=True)]
    while sum(cells) > width:
        # Take from whoever is the most above its fair share and still above its minimum.
        index = max(
            (i for i in range(len(cells)) if cells[i] > minima[i]),
            key=lambda i: cells[i] - sizes[i] * width / total,
        )
        cells[index] -= 1
    while sum(cells) < width:
        index = min(range(len(cells)), key=lambda i: cells[i] - sizes[i] * width / total)
        cells[index] += 1
    return cells


def map_line(survey: DiskSurvey, width: int) -> list[Stretch]:
    """The map of a disk on exactly ``width`` cells: number, used part shaded full, free part light, no partition dotted."""
    if survey.unreadable:
        return [Stretch("?" * width, "ansi_red")]
    return draw_parts(segments(survey), width)


def draw_parts(parts: Sequence[Segment], width: int) -> list[Stretch]:
    """Parts of a disk on exactly ``width`` cells."""
    cells = share_cells([part.size for part in parts], [len(part.mark) + 1 for part in parts], width)
    line: list[Stretch] = []
    for part, count in zip(parts, cells, strict=True):
        if part.number < 0:
            line.append(Stretch("·" * count, part.colour))
            continue
        used = min(round(part.used * count), count)
        if part.used > 0 and count:
            used = max(used, 1)
        body = "█" * used + "░" * (count - used)
        mark = part.mark[:count]
        if mark:
            line.append(Stretch(mark, part.colour, is_mark=True))
        line.append(Stretch(body[len(mark) :], part.colour))
    return [stretch for stretch in line if stretch.text]
