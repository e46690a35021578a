"""Rows of a contest into Markdown: ours against each of the others round by round, against the goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.report import mark, spread
from bench.turns import Row

Judge = Callable[[Row, Row], "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How two rows compare, in words, and what was wanted; ``met`` is None where nothing was."""

    text: str
    goal: str = "–"
    met: bool | None = None


def ratios(ours: Row, other: Row) -> list[float]:
    """How many times as fast as the other ours was, round by round."""
    return [theirs / mine for mine, theirs in zip(ours.seconds, other.seconds, strict=True)]


def faster(goal: float | None) -> Judge:
    """Ours is to be ``goal`` times as fast as the other."""

    def judge(ours: Row, other: Row) -> Verdict:
        found = ratios(ours, other)
        text = f"{spread(found, 2)}×"
        return Verdict(text) if goal is None else Verdict(text, f"≥ {goal:g}×", median(found) >= goal)

    return judge


def denser(goal: float | None) -> Judge:
    """Ours is to handle ``goal`` times as many bytes a second as the other, whose bytes may be others."""

    def judge(ours: Row, other: Row) -> Verdict:
        found = [
            mine.size / mine.seconds / (theirs.size / theirs.seconds)
            for mine, theirs in zip(ours.samples, other.samples, strict=True)
        ]
        text = f"{spread(found, 2)}×"
        return Verdict(text) if goal is None else Verdict(text, f"≥ {goal:g}×", median(found) >= goal)

    return judge


def cost(goal: float) -> Judge:
    """Ours may take up to ``goal`` (a fraction) longer than the other."""

    def judge(ours: Row, other: Row) -> Verdict:
        found = [(1 / ratio - 1) * 100 for ratio in ratios(ours, other)]
        return Verdict(f"{spread(found)} %", f"< {goal * 100:g} %", median(found) < goal * 100)

    return judge


def lighter(ours: Row, other: Row) -> Verdict:
    """Ours may add as many bytes as the other, and no more."""
    mine, theirs = median(ours.sizes), median(other.sizes)
    return Verdict(f"{mine / theirs:.2f}×", "≤ 1×", mine <= theirs)


def share(ours: Row, other: Row) -> Verdict:
    """How much of our time the other, a part of the work alone, takes."""
    return Verdict(f"{median(ratios(ours, other)) * 100:.0f} %")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a contest's table: what the judge says of ours against ``other``."""

    name: str
    ours: Row
    other: Row
    judge: Judge


@dataclass(frozen=True, slots=True)
class Contest:
    """One section of the document: its rows, its lines of comparison, and what is to be said about them.

    ``sizes``: what the samples' bytes are.
    """

    title: str
    rows: Sequence[Row]
    lines: Sequence[Line]
    text: str
    sizes: str = "added"

    @property
    def failed(self) -> bool:
        """Whether a row is missing."""
        return any(row.failure for row in self.rows)


def _row(row: Row, *, sizes: bool) -> str:
    cells = [row.name]
    if row.failure:
        cells += ["**failed**"] * (2 if sizes else 1)
    else:
        cells.append(spread(row.seconds, 2))
        if sizes:
            cells.append(f"{median(row.sizes) / 1e6:,.1f}" if any(row.sizes) else "–")
    return f"| {' | '.join(cells)} |"


def _line(line: Line) -> str:
    if line.ours.failure or line.other.failure:
        return f"| {line.name} | **failed** | – | **no** |"
    verdict = line.judge(line.ours, line.other)
    return f"| {line.name} | {verdict.text} | {verdict.goal} | {'–' if verdict.met is None else mark(verdict.met)} |"


def tables(contest: Contest) -> str:
    """Both tables of a contest, and why rows failed."""
    sizes = any(any(row.sizes) for row in contest.rows)
    lines = [f"| what | s | {contest.sizes}, MB |", "|---|---|---|"] if sizes else ["| what | s |", "|---|---|"]
    lines += [_row(row, sizes=sizes) for row in contest.rows]
    lines += ["", "| comparison, round by round | found | goal | met |", "|---|---|---|---|"]
    lines += [_line(line) for line in contest.lines]
    lines += [f"\n**{row.name} failed:** {row.failure}" for row in contest.rows if row.failure]
    return "\n".join(lines) + "\n"


def section(contest: Contest) -> str:
    """The body of a contest's section."""
    return f"{contest.text.strip()}\n\n{tables(contest)}"
