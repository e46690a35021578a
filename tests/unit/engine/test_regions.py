"""How a disk is cut up: everything is covered once, grids start at their regions, frames stay within their limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rescue.engine.regions import FRAME_SIZE, Region, regions_of, stretches_of, tail_of
from rescue.images.format import RowKind
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout, Partition
from rescue.model.volume import Identity, Volume
from rescue.units import GIB, KIB, MIB

CHUNK = 256 * KIB


@given(
    st.integers(0, 4096).map(lambda n: n * 512),
    st.integers(1, 60_000).map(lambda n: n * 512),
    st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 3_000)), max_size=12),
)
def test_stretches_cover_a_region_once_on_its_own_grid(start: int, length: int, pieces: list[tuple[int, int]]) -> None:
    end = start + length
    kept = ExtentMap((start + at * 512, min(start + (at + size) * 512, end)) for at, size in pieces).clip(start, end)
    region = Region(start, end, "a region", kept, RowKind.ZERO)
    position = start
    read = ExtentMap()
    for stretch in stretches_of(region, CHUNK):
        assert stretch.start == position < stretch.end
        position = stretch.end
        if stretch.extents:
            assert (stretch.start - start) % CHUNK == 0
            assert stretch.end == end or (stretch.end - start) % CHUNK == 0
            assert stretch.end - stretch.start <= FRAME_SIZE
            read = read.union(ExtentMap(stretch.extents))
    assert position == end
    assert read == kept


def gpt_layout(size: int) -> Layout:
    partitions = (Partition(1, MIB, 10 * MIB, "X"), Partition(2, 10 * MIB, size - 5 * MIB, "X"))
    table = (Extent(0, 34 * 512), Extent(size - 33 * 512, size))
    return Layout(size, 512, "gpt", "", 34 * 512, size - 33 * 512, partitions, table)


def test_regions_cover_the_disk_and_cut_at_head_and_tail() -> None:
    layout = gpt_layout(GIB)
    volumes = [
        (Volume(p.number, p.start, p.end, Identity("ext4"), 0), ExtentMap([(p.start, p.start + MIB)])) for p in layout.partitions
    ]
    regions = regions_of(layout, volumes)
    assert [(r.start, r.end) for r in regions] == [
        (0, MIB), (MIB, 10 * MIB), (10 * MIB, GIB - 5 * MIB), (GIB - 5 * MIB, GIB - 33 * 512), (GIB - 33 * 512, GIB),
    ]  # fmt: skip
    assert tail_of(layout) == Extent(GIB - 33 * 512, GIB)


def test_zeros_in_a_wide_gap_are_nothing_and_in_a_narrow_one_content() -> None:
    layout = Layout(GIB, 512, "dos", "", 512, GIB, (Partition(1, MIB, 2 * MIB, "0x83"),), (Extent(0, 512),))
    volumes = [(Volume(1, MIB, 2 * MIB, Identity(), MIB), ExtentMap([(MIB, 2 * MIB)]))]
    kinds = {(r.start, r.end): r.zero_kind for r in regions_of(layout, volumes)}
    assert kinds == {(0, MIB): RowKind.ZERO, (MIB, 2 * MIB): RowKind.ZERO, (2 * MIB, GIB): RowKind.HOLE}
    assert tail_of(layout) == Extent(GIB, GIB)
