"""Samples into medians, ratios and the table that is printed and kept in ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.limits import Limit
from rescue.units import GIB


@dataclass(frozen=True, slots=True)
class Pair:
    """One round of one operation: seconds of ours and of Clonezilla's, measured next to each other."""

    ours: float
    peer: float

    @property
    def ratio(self) -> float:
        """How many times as fast as Clonezilla."""
        return self.peer / self.ours


@dataclass(frozen=True, slots=True)
class Series:
    """All rounds of one operation, and how many times as fast as Clonezilla it must be."""

    name: str
    goal: float
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that one run of the benchmark measured. Sizes and memory in bytes."""

    used: int
    disk_size: int
    series: tuple[Series, ...]
    size_ours: int
    size_peer: int
    memory: int
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, described so that nobody can tell which it was."""

    cores: int
    memory: int
    date: str
    tools: str


SIZE_GOAL = 1.005
MEMORY_GOAL = 300_000_000


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and the most where there is more than one value: ``12.0 (11.8–12.6)``."""
    shown = f"{median(values):.{digits}f}"
    return shown if len(values) == 1 else f"{shown} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def mark(met: bool) -> str:
    """Whether a goal is met, for a table."""
    return "yes" if met else "**no**"


def _series_row(series: Series, used: int) -> str:
    ours = [pair.ours for pair in series.pairs]
    peer = [pair.peer for pair in series.pairs]
    ratios = [pair.ratio for pair in series.pairs]
    rate = used / median(ours) / 1e6
    cells = [
        *(series.name, spread(ours), spread(peer), f"{rate:,.0f}", f"{spread(ratios, 2)}×"),
        *(f"≥ {series.goal:g}×", mark(median(ratios) >= series.goal)),
    ]
    return f"| {' | '.join(cells)} |"


def table(figures: Figures) -> str:
    """The results against the goals, as Markdown."""
    lines = [
        "| what | Rescue, s | Clonezilla, s | Rescue, MB/s of used data | Rescue : Clonezilla | goal | met |",
        "|---|---|---|---|---|---|---|",
        *(_series_row(series, figures.used) for series in figures.series),
    ]
    size = figures.size_ours / figures.size_peer
    lines.append(
        f"| size of the image | {figures.size_ours / 1e6:,.1f} MB | {figures.size_peer / 1e6:,.1f} MB | – | {size:.4f}× "
        f"| ≤ {SIZE_GOAL}× | {mark(size <= SIZE_GOAL)} |"
    )
    lines.append(
        f"| peak memory of all its processes | {figures.memory / 1e6:,.0f} MB | – | – | – "
        f"| < {MEMORY_GOAL / 1e6:.0f} MB | {mark(figures.memory < MEMORY_GOAL)} |"
    )
    return "\n".join(lines) + "\n"


def limits_table(limits: Sequence[Limit]) -> str:
    """What the machine can do at best, as Markdown."""
    rows = [f"| {limit.name} | {limit.rate / 1e6:,.0f} |" for limit in limits]
    return "\n".join(["| limit of this machine, in the same run | MB/s |", "|---|---|", *rows]) + "\n"


_TEXT = """# Benchmarks

Made by `make bench` on {date}: {cores} cores, {memory:.0f} GiB of memory, {tools}. Read the ratios, not the seconds: the
two programs take turns in one run on one machine, {rounds}.

The disk: {disk:.0f} GiB, GPT, {used:.2f} GB in use: a FAT32 ESP, ext4 with a real Debian and mixed files, NTFS, xfs, btrfs;
the free space of all of them is dirty. Seconds are those of whole commands, start of the program included. Median, and
in parentheses the least and the most.

What the disk holds is chosen, not found: the shares of photos and archives, programs, text, databases, logs and mail are
set so that zstd finds it about as hard as an earlier disk, lost since, on which the goals were measured. The sizes at five
settings are 0.8 % to 1.6 % below that disk's, and the speeds of compression and decompression relative to BLAKE3 4 % above:
it is a little easier (the table is in `bench/make_disk.py`; `python -m bench.mix` measures it again). The ratios depend
on that mix: a disk with more text and programs is harder for zstd and gives smaller ones. On a first mix that needed
about 1.5 times as much work a byte, backup was about 3.3×, verify 7× to 8× and restore 9×.

{table}
- *Clonezilla* is its own pipeline, `partclone.<fs> -z 10485760 -c | zstdmt -c -3` and the reverse, partition by partition,
  without what `ocs-sr` does around it. Its check is `partclone.chkimg`.
- *Backup* is without the proof at the end on both sides; ours is then *verify*, its is `chkimg`.
- *Restore with proof* reads back what was written and compares hashes. Clonezilla has no such step: it is compared with
  Clonezilla's plain restore.
- Targets are files of the disk's size, with all blocks preallocated, new for each restore.

{limits}"""


def document(figures: Figures, machine: Machine) -> str:
    """The head of ``docs/benchmarks.md``: everything up to its first section."""
    rounds = max(len(series.pairs) for series in figures.series)
    return _TEXT.format(
        date=machine.date,
        cores=machine.cores,
        memory=machine.memory / GIB,
        tools=machine.tools,
        rounds="one round" if rounds == 1 else f"{rounds} rounds",
        disk=figures.disk_size / GIB,
        used=figures.used / 1e9,
        table=table(figures),
        limits=limits_table(figures.limits),
    )
