"""What is known of a job from its events: steps, rates, time left, verdict. Time is given, never read."""

from __future__ import annotations

from collections import deque

import msgspec

from rescue.model.clone import CloneTable
from rescue.model.edit import FormatVolume, LabelVolume, PutTableBack, ResizeVolume, SanitizeDisk, SaveTables, SetTable
from rescue.model.fitting import FitIds, FitTable, FitVolumes
from rescue.model.plan import Step, WipeTarget, WriteTable
from rescue.model.progress import Finished, Message, Progress
from rescue.services import Job

STALLED_AFTER = 10.0
_SHORT = (WipeTarget, WriteTable, CloneTable, FitTable)
# Their progress counts file systems, or shares of the whole, or is not told at all.
_NOT_BYTES = (FitIds, FitVolumes, SaveTables, SetTable, PutTableBack, FormatVolume, LabelVolume, ResizeVolume, SanitizeDisk)
_RATES_KEPT = 600


class StepState(msgspec.Struct):
    """How far one step is. Bytes and seconds."""

    title: str
    moves_data: bool
    counts_bytes: bool = True
    done: int = 0
    total: int = 0
    rate: float = 0.0
    left: float = 0.0
    started: bool = False
    first_time: float = 0.0
    first_done: int = 0
    last_time: float = 0.0

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 0.0

    @property
    def average(self) -> float:
        """Bytes a second since this face began to look; 0 when that is too short to tell."""
        seconds = self.last_time - self.first_time
        return (self.done - self.first_done) / seconds if seconds >= 1 else 0.0


def _moves_data(step: Step) -> bool:
    return not isinstance(step, (*_SHORT, *_NOT_BYTES))


class Follower:
    """One job as a face sees it."""

    def __init__(self, job: Job, now: float) -> None:
        self.job = job
        self.steps = [StepState(step.title, _moves_data(step), not isinstance(step, _NOT_BYTES)) for step in job.plan.steps]
        self.current = -1
        self.messages: list[Message] = []
        self.finished: Finished | None = None
        self.rates: deque[float] = deque(maxlen=_RATES_KEPT)
        self.last_event = now
        self.cancelling = False
        self._last_rate = now - 1.0

    @property
    def ended(self) -> bool:
        """Whether there will be no more events."""
        return self.finished is not None

    def poll(self, now: float) -> bool:
        """Take in what the job said since the last time, at the time ``now``; whether anything changed."""
        alive = self.job.alive()  # asked before the events are read: what it wrote before it ended is then among them
        events = self.job.events()
        for event in events:
            match event:
                case Progress():
                    self._progress(event, now)
                case Message():
                    self.messages.append(event)
                case Finished():
                    self.finished = event
        if events:
            self.last_event = now
        if not alive and self.finished is None:
            self.finished = Finished(
                "failed",
                1,
                "The job's process ended without a verdict: it was killed, or the computer ran out of memory.",
                "What it was writing is not complete. Start it again.",
                {"died": True},
            )
            return True
        return bool(events)

    def _progress(self, event: Progress, now: float) -> None:
        while len(self.steps) <= event.index < 1000:
            self.steps.append(StepState(event.step, moves_data=True))
        step = self.steps[event.index]
        if not step.started or step.first_time == now:
            # A journal that is read for the first time holds the past: averages count from its last line on.
            step.first_time, step.first_done, step.started = now, event.done, True
        self.current = max(self.current, event.index)
        step.done, step.total, step.rate, step.left, step.last_time = event.done, event.total, event.rate, event.eta, now
        if now - self._last_rate >= 1.0 and step.counts_bytes:
            self.rates.append(event.rate)
            self._last_rate = now

    def stalled_for(self, now: float) -> float:
        """Seconds without an event when that is worth saying, else 0."""
        silent = now - self.last_event
        return silent if not self.ended and silent >= STALLED_AFTER else 0.0

    def step_is_done(self, index: int) -> bool:
        """Whether a step was completed."""
        if self.finished is not None and self.finished.state == "succeeded":
            return True
        return index < self.current

    def _expected(self) -> list[int]:
        """Bytes of each step; of one that has not begun, as many as the last one that moved data (or as planned)."""
        expected: list[int] = []
        last = self.job.plan.estimated_bytes // max(sum(step.moves_data for step in self.steps), 1)
        for index, step in enumerate(self.steps):
            if not step.counts_bytes:
                expected.append(0)
            elif step.started:
                last = step.total if step.moves_data else last
                expected.append(step.done if self.step_is_done(index) else step.total)
            else:
                expected.append(last if step.moves_data and not self.step_is_done(index) else 0)
        return expected

    @property
    def all_done(self) -> int:
        """Bytes done in all steps."""
        return sum(step.done for step in self.steps if step.counts_bytes)

    @property
    def all_total(self) -> int:
        """Bytes of all steps, as far as known."""
        return max(sum(self._expected()), self.all_done)

    @property
    def share(self) -> float:
        """0 to 1, in all."""
        if not any(step.counts_bytes for step in self.steps):
            step = self.steps[self.current] if 0 <= self.current < len(self.steps) else None
            return (self.current + step.share) / len(self.steps) if step else 0.0
        total = self.all_total
        share = self.all_done / total if total else 0.0
        return share if self.ended else min(share, 0.99)  # what comes after the last byte takes its time, too

    @property
    def seconds_left(self) -> float:
        """Seconds left in all, 0 when not known: what the current step says, and the later ones at its speed."""
        if not 0 <= self.current < len(self.steps):
            return 0.0
        step = self.steps[self.current]
        rate = step.average or step.rate
        if rate <= 0 or not step.counts_bytes:
            return 0.0
        now = step.left or (step.total - step.done) / rate
        return now + sum(self._expected()[self.current + 1 :]) / rate
