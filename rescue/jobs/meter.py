"""How fast a step goes and how long it will still take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rescue.model.progress import Progress

_RATE_WINDOW: Final = 5.0  # seconds: what is shown as the rate now
_ETA_WINDOW: Final = 30.0  # seconds: longer, so that the time left does not jump about
_ETA_AFTER: Final = 3.0  # seconds: before that nobody can tell
_SAMPLE_EVERY: Final = 0.2


class Meter:
    """Turns the byte counts of one step into Progress. Never counts backwards."""

    def __init__(self, step: str, index: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = step
        self._index = index
        self._clock = clock
        self._done = 0
        self._total = 0
        self._start = clock()
        self._updated = self._start
        self._samples: deque[tuple[float, int]] = deque([(self._start, 0)])

    def update(self, done: int, total: int) -> None:
        """Take note of the bytes done and of the total."""
        self._done = max(self._done, done)
        self._total = max(total, self._done)
        now = self._updated = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_EVERY:
            self._samples.append((now, self._done))
            while len(self._samples) > 2 and now - self._samples[1][0] > _ETA_WINDOW:
                self._samples.popleft()

    @property
    def complete(self) -> bool:
        """Whether all bytes are done."""
        return 0 < self._total == self._done

    def progress(self) -> Progress:
        """Where the step is now. While nothing moves, the rate falls to zero."""
        now = self._clock()
        rate = self._rate(now, _RATE_WINDOW)
        steady = self._rate(now, _ETA_WINDOW)
        left = self._total - self._done
        eta = left / steady if steady > 0 and left and now - self._start >= _ETA_AFTER else 0.0
        return Progress(
            step=self._step, index=self._index, done=self._done, total=self._total, rate=round(rate, 1), eta=round(eta, 1)
        )

    def _rate(self, now: float, window: float) -> float:
        """Bytes a second over the last ``window`` seconds."""
        edge = max(now - window, self._start)
        before, count = self._samples[0]
        for moment, done in (*self._samples, (self._updated, self._done), (now, self._done)):
            if moment > edge:
                # Between two samples it went evenly, as far as anybody knows.
                count += int((done - count) * (edge - before) / (moment - before))
                return (self._done - count) / (now - edge)
            before, count = moment, done
        return 0.0
