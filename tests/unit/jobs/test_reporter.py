"""What a job says, and how often."""

from __future__ import annotations

from rescue.jobs.reporter import Reporter
from rescue.model.progress import Event, Finished, Message, Progress
from tests.unit.jobs.test_meter import Clock


def test_at_most_ten_times_a_second_and_the_end_is_always_said() -> None:
    clock, events = Clock(), list[Event]()
    reporter = Reporter(events.append, clock)
    reporter.begin("Write", 0, 0)
    for done in range(1, 1001):
        clock.now += 0.001
        reporter.progress(done, 1000)
    progress = [e for e in events if isinstance(e, Progress)]
    assert 8 <= len(progress) <= 13
    assert (progress[0].done, progress[-1].done) == (0, 1000)
    assert [p.done for p in progress] == sorted(p.done for p in progress)


def test_nothing_is_said_after_the_verdict() -> None:
    clock, events = Clock(), list[Event]()
    reporter = Reporter(events.append, clock)
    reporter.begin("Write", 0, 0)
    reporter.message(Message("info", "Hello."))
    reporter.finish(Finished("succeeded", 0, "Done."))
    clock.now += 5
    reporter.progress(1, 1)
    reporter.message(Message("info", "Late."))
    reporter.finish(Finished("failed", 1, "Twice."))
    assert [type(e) for e in events] == [Progress, Message, Finished]
    assert events[-1] == Finished("succeeded", 0, "Done.")


def test_progress_without_a_step_is_not_said() -> None:
    events: list[Event] = []
    Reporter(events.append, Clock()).progress(1, 2)
    assert events == []
