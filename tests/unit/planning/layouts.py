"""Random partition tables, drawn: GPT and MBR with logical partitions, aligned and not, for both sizes of sectors."""

from __future__ import annotations

from hypothesis import strategies as st

from rescue.model.extents import Extent, ExtentMap
from rescue.model.fit import FitVolume, FitWish
from rescue.model.layout import Layout, Partition
from rescue.units import GIB, MIB

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@st.composite
def ranges(draw: st.DrawFn, start: int, end: int, unit: int, most: int, lead: int = 0) -> list[tuple[int, int]]:
    """Up to ``most`` disjoint ranges inside of ``[start, end)``, multiples of ``unit``, each with ``lead`` bytes before it."""
    found = []
    cursor = -(-start // unit) * unit
    for _ in range(draw(st.integers(0, most))):
        cursor += -(-lead // unit) * unit
        room = (end - cursor) // unit
        if room < 1:
            break
        gap = draw(st.one_of(st.just(0), st.integers(0, (room - 1) // 4)))
        length = draw(st.one_of(st.integers(1, min(room - gap, 600)), st.integers(1, room - gap)))
        found.append((cursor + gap * unit, cursor + (gap + length) * unit))
        cursor = found[-1][1]
    return found


@st.composite
def gpt_layouts(draw: st.DrawFn) -> Layout:
    """A GPT."""
    sector = draw(st.sampled_from([512, 4096]))
    size = draw(st.sampled_from([64 * MIB, 20 * GIB, 20 * GIB + 7 * sector, 500 * GIB]))
    array = 128 * 128
    start, end = 2 * sector + array, size // sector * sector - sector - array
    unit = draw(st.sampled_from([sector, MIB, MIB]))
    found = draw(ranges(start, end, unit, 6))
    numbers = draw(st.permutations(range(1, max(len(found), draw(st.sampled_from([1, 9, 140]))) + 1)))
    if max(numbers) > 128:
        numbers = [n for n in numbers if n <= 128]
    partitions = tuple(
        Partition(numbers[i], a, b, LINUX, f"{i:08X}-0000-4000-8000-000000000000", f"part {i}", i)
        for i, (a, b) in enumerate(found)
    )
    table = (Extent(0, start), Extent(end, end + sector + array))
    return Layout(size, sector, "gpt", "7" * 8 + "-0000-4000-8000-000000000001", start, end, partitions, table)


@st.composite
def dos_layouts(draw: st.DrawFn) -> Layout:
    """An MBR, mostly with an extended partition; the numbers of the logical ones need not follow their places."""
    sector = draw(st.sampled_from([512, 4096]))
    size = draw(st.sampled_from([64 * MIB, 20 * GIB, 20 * GIB + 7 * sector, 500 * GIB]))
    unit = draw(st.sampled_from([sector, MIB, MIB]))
    found = draw(ranges(sector, size // sector * sector, unit, 4))
    chosen = draw(st.integers(0, 5))
    partitions, links = [], []
    numbers = draw(st.permutations((1, 2, 3, 4)))
    for index, (start, end) in enumerate(found):
        number = numbers[index]
        if index == chosen:
            partitions.append(Partition(number, start, end, "0x0f", f"0badcafe-{number:02x}", kind="extended"))
            inside = draw(ranges(start, end, unit, 4, lead=2 * sector))
            order = draw(st.permutations(range(len(inside)))) if draw(st.booleans()) else list(range(len(inside)))
            links.append((start, start + sector))
            for place, (low, high) in enumerate(inside):
                logical = 5 + order[place]
                partitions.append(Partition(logical, low, high, "0x83", f"0badcafe-{logical:02x}", kind="logical"))
                if logical != 5:
                    links.append((low - sector, low))
        else:
            active = 1 if index == 0 else 0
            partitions.append(Partition(number, start, end, "0x07", f"0badcafe-{number:02x}", attributes=active))
    partitions.sort(key=lambda p: (p.start, p.kind != "extended"))
    table = tuple(ExtentMap([(0, sector), *links]))
    return Layout(size, sector, "dos", "0badcafe", sector, size // sector * sector, tuple(partitions), table)


@st.composite
def contents(draw: st.DrawFn, layout: Layout) -> list[FitVolume]:
    """How small each partition may be, for most of them."""
    found = []
    for partition in layout.data_partitions:
        if draw(st.integers(0, 7)):
            least = draw(st.one_of(st.just(partition.size), st.integers(1, partition.size)))
            found.append(FitVolume(partition.number, least, draw(st.booleans()), draw(st.integers(0, 3)) == 0))
    return found


@st.composite
def wishes_for(draw: st.DrawFn, layout: Layout, volumes: list[FitVolume]) -> list[FitWish]:
    """Wishes that make sense for some of the partitions."""
    found = []
    for partition in layout.data_partitions:
        volume = next((v for v in volumes if v.partition == partition.number), None)
        kind = draw(st.sampled_from(["", "", "keep", "exactly", "at-least", "leave-out"]))
        high = 2 * partition.size if volume and volume.can_grow else partition.size
        low = min(volume.minimum if volume else partition.size, partition.size)
        match kind:
            case "keep":
                found.append(FitWish(partition.number, "keep"))
            case "leave-out":
                found.append(FitWish(partition.number, "leave-out"))
            case "exactly":
                # The wish is rounded up to whole sectors: what cannot grow must not be asked for more by that.
                found.append(FitWish(partition.number, "exactly", draw(st.integers(min(-(-low // 4096) * 4096, high), high))))
            case "at-least":
                found.append(FitWish(partition.number, "at-least", draw(st.integers(1, high))))
    return found
