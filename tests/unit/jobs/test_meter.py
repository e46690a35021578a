"""Rates and times left."""

from __future__ import annotations

from rescue.jobs.meter import Meter
from rescue.units import MIB


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def steady(clock: Clock, meter: Meter, seconds: int, rate: int, start: int = 0) -> int:
    """Report at ten times a second; the bytes done at the end."""
    done = start
    for _ in range(seconds * 10):
        clock.now += 0.1
        done += rate // 10
        meter.update(done, 1000 * MIB)
    return done


def test_a_steady_rate_gives_the_rate_and_the_time_left() -> None:
    clock = Clock()
    meter = Meter("Write", 2, clock)
    steady(clock, meter, 10, 50 * MIB)
    progress = meter.progress()
    assert (progress.step, progress.index, progress.total) == ("Write", 2, 1000 * MIB)
    assert abs(progress.rate - 50 * MIB) < MIB
    assert abs(progress.eta - 10) < 0.5


def test_nobody_can_tell_the_time_left_at_once() -> None:
    clock = Clock()
    meter = Meter("Write", 0, clock)
    steady(clock, meter, 2, 50 * MIB)
    assert meter.progress().eta == 0.0


def test_the_rate_falls_to_zero_while_nothing_moves() -> None:
    clock = Clock()
    meter = Meter("Write", 0, clock)
    done = steady(clock, meter, 10, 50 * MIB)
    clock.now += 2.5
    half = meter.progress().rate
    assert 20 * MIB < half < 30 * MIB
    clock.now += 10
    assert meter.progress().rate == 0.0
    assert meter.progress().done == done


def test_the_rate_follows_a_change_within_seconds_and_the_time_left_does_not_jump() -> None:
    clock = Clock()
    meter = Meter("Write", 0, clock)
    done = steady(clock, meter, 15, 40 * MIB)
    steady(clock, meter, 6, 10 * MIB, done)
    progress = meter.progress()
    assert abs(progress.rate - 10 * MIB) < MIB
    left = (progress.total - progress.done) / MIB
    assert left / 40 < progress.eta < left / 10


def test_it_never_counts_backwards() -> None:
    meter = Meter("Write", 0, Clock())
    meter.update(10, 100)
    meter.update(5, 100)
    assert meter.progress().done == 10
    meter.update(120, 100)
    assert meter.progress().total == 120
    assert meter.complete
