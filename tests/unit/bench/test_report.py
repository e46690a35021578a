"""The benchmark's arithmetic: medians, spreads and whether a goal is met."""

from __future__ import annotations

import pytest

from bench.limits import Limit
from bench.report import Figures, Machine, Pair, Series, document, spread, table


def figures(*, size_ours: int = 1000, memory: int = 100_000_000, pairs: tuple[Pair, ...] = (Pair(10, 40),)) -> Figures:
    return Figures(9_000_000_000, 12 << 30, (Series("backup", 3.3, pairs),), size_ours, 1000, memory, (Limit("zstd", 1.1e9),))


def row(text: str, start: str) -> list[str]:
    """The cells of the table's row that begins with ``start``."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_spread_is_the_median_with_its_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0–3.0)"
    assert spread([2.5]) == "2.5"


def test_a_series_is_judged_by_the_median_of_its_rounds_ratios() -> None:
    pairs = (Pair(10, 20), Pair(10, 33), Pair(5, 50))
    assert row(table(figures(pairs=pairs)), "backup") == [
        "backup",
        "10.0 (5.0–10.0)",
        "33.0 (20.0–50.0)",
        "900",
        "3.30 (2.00–10.00)×",
        "≥ 3.3×",
        "yes",
    ]


@pytest.mark.parametrize(("pairs", "mark"), [((Pair(10, 33.0),), "yes"), ((Pair(10, 32.9),), "**no**")])
def test_the_goal_itself_is_enough_and_less_is_not(pairs: tuple[Pair, ...], mark: str) -> None:
    assert row(table(figures(pairs=pairs)), "backup")[-1] == mark


@pytest.mark.parametrize(("size", "mark"), [(1005, "yes"), (1006, "**no**")])
def test_the_image_may_be_half_a_percent_larger(size: int, mark: str) -> None:
    assert row(table(figures(size_ours=size)), "size of the image")[-1] == mark


@pytest.mark.parametrize(("memory", "mark"), [(299_999_999, "yes"), (300_000_000, "**no**")])
def test_memory_has_to_be_below_its_limit(memory: int, mark: str) -> None:
    assert row(table(figures(memory=memory)), "peak memory of all its processes")[-1] == mark


def test_the_document_says_how_many_rounds_and_on_what() -> None:
    text = document(figures(pairs=(Pair(1, 4), Pair(1, 4))), Machine(2, 24 << 30, "2026-01-02", "zstd 1.5"))
    assert "2026-01-02: 2 cores, 24 GiB of memory, zstd 1.5" in text
    assert "2 rounds" in text
    assert "| zstd | 1,100 |" in text
