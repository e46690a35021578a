"""Turns and tables: who goes first, what a failure does, and when a goal is met."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contest import Contest, Line, cost, denser, faster, lighter, section, share
from bench.document import join, put, split
from bench.turns import Contender, Row, Sample, alternate
from rescue.errors import RescueError


def row(name: str, *seconds: float, size: int = 0, failure: str = "") -> Row:
    return Row(name, [Sample(each, size) for each in seconds], failure)


def contender(name: str, log: list[str], *, fails: str = "") -> Contender:
    def step(what: str) -> None:
        log.append(f"{name} {what}")
        if what == fails:
            raise RescueError(f"{name} cannot {what}.")

    def work() -> Sample:
        step("work")
        return Sample(1.0, 10)

    return Contender(name, lambda: step("prepare"), work, lambda: step("check"))


def test_each_round_begins_with_another_one_and_work_is_checked_once() -> None:
    log: list[str] = []
    rows = alternate([contender("a", log), contender("b", log)], 2, lambda _: None)
    assert log == [
        *("a prepare", "a work", "a check", "b prepare", "b work", "b check"),
        *("b prepare", "b work", "a prepare", "a work"),
    ]
    assert [len(each.samples) for each in rows] == [2, 2]


@pytest.mark.parametrize("step", ["prepare", "work", "check"])
def test_one_that_fails_keeps_its_reason_and_the_others_go_on(step: str) -> None:
    log: list[str] = []
    said: list[str] = []
    failed, fine = alternate([contender("a", log, fails=step), contender("b", log)], 3, said.append)
    assert failed.failure == f"a cannot {step}."
    assert not failed.samples
    assert len(fine.samples) == 3
    assert log.count("a prepare") == 1
    assert any("FAILED" in line and f"a cannot {step}." in line for line in said)


def test_ratios_are_of_the_same_round() -> None:
    verdict = faster(8)(row("ours", 1, 2, 1), row("restic", 8, 10, 9))
    assert (verdict.text, verdict.goal, verdict.met) == ("8.00 (5.00–9.00)×", "≥ 8×", True)
    assert faster(8.01)(row("ours", 1, 2, 1), row("restic", 8, 10, 9)).met is False
    assert faster(None)(row("ours", 1), row("other", 2)).met is None


@pytest.mark.parametrize(("seconds", "met"), [(11.4, True), (11.6, False), (9.0, True)])
def test_the_cost_is_how_much_longer_it_takes(seconds: float, met: bool) -> None:
    verdict = cost(0.15)(row("encrypted", seconds), row("plain", 10))
    assert verdict.met is met
    assert verdict.text == f"{(seconds / 10 - 1) * 100:.1f} %"


@pytest.mark.parametrize(("size", "met"), [(100, True), (101, False)])
def test_as_many_bytes_are_enough_and_more_are_not(size: int, met: bool) -> None:
    assert lighter(row("ours", 1, size=size), row("restic", 1, size=100)).met is met


def test_the_share_of_a_part_is_that_of_our_time() -> None:
    assert share(row("ours", 2.0), row("floor", 1.0)).text == "50 %"


def test_a_failed_row_is_in_the_table_and_meets_nothing() -> None:
    ours, other = row("Rescue", failure="rescue failed (exit code 2): no such option"), row("restic", 8.0, size=5_000_000)
    contest = Contest("Title", [ours, other], [Line("as fast as restic", ours, other, faster(8))], "Text.")
    text = section(contest)
    assert contest.failed
    assert "| Rescue | **failed** | **failed** |" in text
    assert "| restic | 8.00 | 5.0 |" in text
    assert "| as fast as restic | **failed** | – | **no** |" in text
    assert "**Rescue failed:** rescue failed (exit code 2): no such option" in text


def test_a_row_that_adds_nothing_shows_no_bytes_and_a_table_without_any_has_no_column() -> None:
    floor, restic = row("floor", 1.0), row("restic", 8.0, size=5)
    assert "| floor | 1.00 | – |" in section(Contest("T", [floor, restic], [], ""))
    assert "MB" not in section(Contest("T", [floor], [], ""))


def test_a_document_is_split_and_joined_without_loss() -> None:
    text = "# Title\n\nHead.\n\n## One\n\nfirst\n\n## Two\n\nsecond\n"
    head, sections = split(text)
    assert head == "# Title\n\nHead.\n\n"
    assert list(sections) == ["One", "Two"]
    assert join(head, sections) == text
    assert split("only a head") == ("only a head", {})


def test_a_document_keeps_the_parts_that_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "benchmarks.md"
    put(path, head="# Title\n\nHead.\n")
    put(path, sections={"One": "first", "Two": "second"})
    put(path, head="# New\n")
    put(path, sections={"One": "other"})
    assert path.read_text() == "# New\n\n## One\n\nother\n\n## Two\n\nsecond\n"


def test_rates_are_of_what_each_handled() -> None:
    ours, dd = row("ours", 2, 4, size=80), row("dd", 3, 3, size=120)
    verdict = denser(0.9)(ours, dd)
    assert (verdict.text, verdict.goal, verdict.met) == ("0.75 (0.50–1.00)×", "≥ 0.9×", False)
    assert denser(0.75)(ours, dd).met is True
    assert denser(None)(ours, dd).met is None


def test_what_bytes_are_is_told_by_the_contest() -> None:
    one = row("ours", 1, size=5_000_000)
    assert "| what | s | copied, MB |" in section(Contest("title", [one], [], "text", sizes="copied"))
    assert "| what | s | added, MB |" in section(Contest("title", [one], [], "text"))
