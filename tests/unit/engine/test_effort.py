"""The level follows the destination: harder while frames wait for it, easier when it keeps up."""

from __future__ import annotations

import random

import zstandard

from rescue.engine.effort import Effort

_TEXT = b"".join(random.Random(number).randbytes(6) * 3 for number in range(4000)) * 8


def size_at(level: int) -> int:
    return len(zstandard.ZstdCompressor(level=level, write_checksum=True).compress(_TEXT))


def run(effort: Effort, frames: int, writing: float) -> int:
    """Compress and write frames, one a second, of which ``writing`` is spent by the writer; the size of the last one."""
    now = 100.0
    size = 0
    for _ in range(frames):
        size = len(effort.compress(memoryview(_TEXT)))
        effort.written(now, now + writing)
        now += 1.0
    return size


def test_a_fixed_level_stays() -> None:
    effort = Effort(9)
    assert run(effort, 100, 1.0) == size_at(9)
    assert run(effort, 100, 0.0) == size_at(9)


def test_a_destination_that_keeps_up_gets_the_lowest_level() -> None:
    assert run(Effort(0), 100, 0.5) == size_at(1)


def test_a_slow_destination_gets_harder_compression_and_a_faster_one_less_again() -> None:
    effort = Effort(0)
    assert run(effort, 100, 1.0) == size_at(7)
    assert run(effort, 100, 0.75) == size_at(7)
    assert run(effort, 100, 0.2) == size_at(1)
