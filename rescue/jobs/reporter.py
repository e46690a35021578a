"""What a running job says: throttled progress, messages at once, and a sign of life while nothing moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from rescue.jobs.meter import Meter
from rescue.model.progress import Event, Finished, Message

_EVERY: Final = 0.1
_SIGN_OF_LIFE: Final = 1.0


class Reporter:
    """Writes the events of one job, from any thread. A context manager: the sign of life ends with it."""

    def __init__(self, write: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._meter: Meter | None = None
        self._said = 0.0
        self._finished = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="sign-of-life", daemon=True)

    def begin(self, step: str, index: int, total: int) -> None:
        """The next step begins; ``total`` is what is known of its bytes, 0 for unknown."""
        with self._lock:
            self._meter = Meter(step, index, self._clock)
            self._meter.update(0, total)
            self._say(self._meter)

    def progress(self, done: int, total: int) -> None:
        """Bytes done of the step at hand; said at most ten times a second, and when all are done."""
        with self._lock:
            meter = self._meter
            if meter is None:
                return
            before = meter.complete
            meter.update(done, total)
            if (meter.complete and not before) or self._clock() - self._said >= _EVERY:
                self._say(meter)

    def message(self, message: Message) -> None:
        """A sentence for people."""
        with self._lock:
            if not self._finished:
                self._write(message)

    def finish(self, finished: Finished) -> None:
        """The verdict; nothing is said after it."""
        with self._lock:
            if not self._finished:
                self._finished = True
                self._write(finished)

    def _say(self, meter: Meter) -> None:
        if not self._finished:
            self._said = self._clock()
            self._write(meter.progress())

    def _live(self) -> None:
        while not self._stop.wait(_SIGN_OF_LIFE):
            with self._lock:
                if self._meter is not None and self._clock() - self._said >= _SIGN_OF_LIFE:
                    self._say(self._meter)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
