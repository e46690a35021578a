"""The contest of restores: over a disk that already holds nearly the same, against onto a blank one."""

from __future__ import annotations

from collections.abc import Callable

from bench import ours
from bench.bench import settle
from bench.contest import Contest, Line, faster
from bench.disk import DISK
from bench.stage import Stage
from bench.truth import same_bytes
from bench.turns import Contender, Sample, alternate

GOAL = 3.0
_TEXT = """
The full image of day 1 is restored, without the proof at the end, onto a blank target (`--no-delta`) and over what the disk holds
on day 2 (`--delta`). Targets are files with all blocks allocated. The image is in the cache, and so is the target, but
for the last row. Checked once: all bytes in use are those of day 1 (on the blank target, all others are zeros).
"""


def contest(stage: Stage, say: Callable[[str], None]) -> Contest:
    """Measure it."""

    def blank() -> None:
        stage.blank_target()
        settle(stage.image())

    def warm() -> None:
        stage.target_of_day_2()
        settle(stage.image(), stage.target)

    def cold() -> None:
        stage.target_of_day_2()
        settle(cold=True)
        settle(stage.image())

    def restore(*, delta: bool) -> Sample:
        return Sample(ours.restore(stage.image(), stage.target, proof=False, delta=delta).seconds)

    def check(*, blank: bool) -> None:
        same_bytes(DISK, stage.target, blank=blank)

    rows = alternate(
        [
            Contender("over day 2", warm, lambda: restore(delta=True), lambda: check(blank=False)),
            Contender("onto a blank target", blank, lambda: restore(delta=False), lambda: check(blank=True)),
            Contender("over day 2, target not in the cache", cold, lambda: restore(delta=True), lambda: check(blank=False)),
        ],
        stage.rounds,
        say,
    )
    stage.target.unlink(missing_ok=True)
    delta, full, from_disk = rows
    lines = [
        Line("over day 2 as fast as onto a blank target", delta, full, faster(GOAL)),
        Line("the same, target not in the cache", from_disk, full, faster(None)),
    ]
    return Contest("Restoring over what is nearly the same", rows, lines, _TEXT)
