"""A disk on a line of cells, to scale."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.model.layout import Layout, Partition
from rescue.records import replace
from rescue.tui.disk_map import map_line, segments, share_cells
from rescue.tui.widgets.disk_panel import heading, legend
from rescue.tui.widgets.graph import bar, graph_lines
from rescue.units import GIB, MIB
from tests.unit.tui.recorded_disks import LINUX, all_disks


@given(st.lists(st.tuples(st.integers(1, 1 << 50), st.integers(0, 4)), min_size=1, max_size=130), st.integers(1, 300))
def test_cells_add_up_and_keep_their_minimum_where_there_is_room(parts: list[tuple[int, int]], width: int) -> None:
    sizes, minima = [size for size, _ in parts], [least for _, least in parts]
    cells = share_cells(sizes, minima, width)
    assert sum(cells) == width
    assert min(cells) >= 0
    if sum(minima) <= width:
        assert all(count >= least for count, least in zip(cells, minima, strict=True))


@pytest.mark.parametrize("survey", all_disks(), ids=lambda survey: survey.disk.path)
@pytest.mark.parametrize("width", [20, 40, 78, 198])
def test_every_line_has_its_width(survey: object, width: int) -> None:
    for found in all_disks():
        if found == survey:
            assert sum(len(stretch.text) for stretch in map_line(found, width)) == width
            assert heading(found, width).cell_length <= width
            assert all(line.cell_length <= width for line in legend(found, width))


def test_half_a_disk_is_half_the_line() -> None:
    survey = all_disks()[3]
    half = Partition(1, 1 * MIB, survey.disk.size // 2, LINUX)
    line = map_line(replace(survey, layout=Layout(survey.disk.size, 512, "gpt", partitions=(half,))), 80)
    assert [(stretch.text[0], len(stretch.text)) for stretch in line] == [("1", 1), ("░", 39), ("·", 40)]


def test_a_hundred_partitions_still_fit() -> None:
    survey = all_disks()[3]
    step = 7 * GIB
    parts = tuple(Partition(n, n * step, (n + 1) * step, LINUX) for n in range(1, 129))
    found = replace(survey, layout=Layout(survey.disk.size, 512, "gpt", partitions=parts))
    assert sum(len(stretch.text) for stretch in map_line(found, 78)) == 78
    assert "more" in legend(found, 78)[-1].plain


def test_gaps_that_nobody_would_miss_are_left_out() -> None:
    assert [part.number for part in segments(all_disks()[0])] == [1, 2, 3, 4]
    assert [part.number for part in segments(all_disks()[1])] == [1, 5, 6, -1]


def test_a_bar_is_full_only_when_all_is_done() -> None:
    assert bar(0.999, 10) == "█████████░"
    assert bar(1.0, 10) == "█" * 10
    assert bar(0.0, 3) == "░░░"


def test_the_highest_rate_fills_the_graph() -> None:
    assert graph_lines([0, 50, 100], 3, 2) == ["  █", " ██"]
    assert graph_lines([], 3, 1) == ["   "]
    assert graph_lines([1.0] * 500, 4, 1) == ["████"]
