"""What is made of a job's events: shares, rates, time left, silence, death."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.model.plan import DeployImage, Plan, ReadBack, WipeTarget, WriteTable
from rescue.model.progress import Event, Finished, Message, Progress
from rescue.tui.follow import Follower
from tests.unit.tui.recorded import Clock, RecordedJob

PLAN = Plan(
    "restore",
    (
        WipeTarget("Wipe", "/dev/x"),
        DeployImage("Write", "i", "/dev/x"),
        WriteTable("Table", "i", "/dev/x"),
        ReadBack("Compare", "i", "/dev/x"),
    ),
    ("Restore.",),
    estimated_bytes=2000,
)


def followed(clock: Clock, *script: tuple[float, Event], dies_at: float | None = None) -> Follower:
    """A follower of a job that plays this."""
    return Follower(RecordedJob("1", Path("/none"), PLAN, list(script), clock, clock.now, dies_at), clock.now)


def at(follower: Follower, clock: Clock, *seconds: float) -> None:
    """Poll at these times after the start."""
    start = 1000.0
    for second in seconds:
        clock.now = start + second
        follower.poll(clock.now)


def test_before_the_first_event_the_plan_is_all_that_is_known(clock: Clock) -> None:
    follower = followed(clock)
    at(follower, clock, 0)
    assert (follower.all_done, follower.all_total, follower.share, follower.seconds_left) == (0, 2000, 0.0, 0.0)


def test_shares_count_the_steps_to_come(clock: Clock) -> None:
    follower = followed(
        clock, (0, Progress("Wipe", 0, 10, 10)), (1, Progress("Write", 1, 0, 1000)), (11, Progress("Write", 1, 500, 1000))
    )
    at(follower, clock, 0, 1, 11)
    assert follower.all_done == 510
    assert follower.all_total == 10 + 1000 + 1000
    assert [follower.step_is_done(index) for index in range(4)] == [True, False, False, False]


def test_time_left_is_this_step_and_the_later_ones_at_its_speed(clock: Clock) -> None:
    follower = followed(clock, (0, Progress("Write", 1, 0, 1000)), (10, Progress("Write", 1, 500, 1000, 100.0, 0.0)))
    at(follower, clock, 0, 10)
    assert follower.steps[1].average == pytest.approx(50.0)
    assert follower.seconds_left == pytest.approx(500 / 50 + 1000 / 50)


def test_a_journal_read_late_does_not_make_a_wild_average(clock: Clock) -> None:
    follower = followed(
        clock, (0, Progress("Write", 1, 0, 1000)), (100, Progress("Write", 1, 800, 1000)), (110, Progress("Write", 1, 900, 1000))
    )
    at(follower, clock, 105)
    assert follower.steps[1].average == 0.0
    at(follower, clock, 115)
    assert follower.steps[1].average == pytest.approx(10.0)


def test_one_rate_a_second_is_kept(clock: Clock) -> None:
    follower = followed(clock, *((t / 8, Progress("Write", 1, t, 1000, float(t))) for t in range(40)))
    at(follower, clock, *(t / 8 for t in range(40)))
    assert list(follower.rates) == [0.0, 8.0, 16.0, 24.0, 32.0]


def test_silence_is_said_after_ten_seconds_and_not_after_the_end(clock: Clock) -> None:
    follower = followed(clock, (0, Progress("Write", 1, 0, 1000)), (20, Finished("succeeded", 0, "Done.")))
    at(follower, clock, 0)
    assert follower.stalled_for(1009.0) == 0
    assert follower.stalled_for(1012.0) == 12
    at(follower, clock, 20)
    assert follower.stalled_for(1100.0) == 0
    assert all(follower.step_is_done(index) for index in range(4))


def test_a_process_that_dies_without_a_verdict_has_failed(clock: Clock) -> None:
    follower = followed(clock, (0, Progress("Write", 1, 0, 1000)), (3, Message("info", "x")), dies_at=5)
    at(follower, clock, 0, 4)
    assert not follower.ended
    at(follower, clock, 6)
    assert follower.finished is not None
    assert follower.finished.state == "failed"
    assert "without a verdict" in follower.finished.message


def test_a_verdict_written_just_before_the_end_is_not_lost(clock: Clock) -> None:
    follower = followed(clock, (4.9, Finished("succeeded", 0, "Done.")), dies_at=5)
    at(follower, clock, 60)
    assert follower.finished == Finished("succeeded", 0, "Done.")


def test_absurd_step_numbers_are_bounded(clock: Clock) -> None:
    follower = followed(clock, (0, Progress("?", 7, 1, 2)))
    at(follower, clock, 0)
    assert len(follower.steps) == 8
