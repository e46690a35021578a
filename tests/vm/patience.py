"""How long a machine had to do something: only time in which the processors were its own counts, or nearly so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

_OFTEN = 0.05  # seconds; the kernel is not asked more often
# Waiting for a processor is never taken for all of the time: whatever the kernel counts, a limit is reached in the end.
_LEAST = 0.1


class GuestClock:
    """Seconds that a process had since it was first asked: those in which its threads waited for a processor count a tenth.

    On an idle machine that is the time of day; on a busy one limits get longer by themselves. The kernel counts the waiting
    of each thread in ``/proc/PID/task/TID/schedstat`` (Documentation/scheduler/sched-stats.rst; the second number, in
    nanoseconds). Where it does not, all time counts. May be called by several threads.
    """

    def __init__(self, pid: int, *, proc: Path = Path("/proc"), time_of_day: Callable[[], float] = time.monotonic) -> None:
        self._tasks = proc / str(pid) / "task"
        self._time_of_day = time_of_day
        self._lock = threading.Lock()
        self._looked = time_of_day()
        self._waits = self._read()
        self._seconds = 0.0
        self._owed = 0.0

    def __call__(self) -> float:
        """The seconds so far."""
        with self._lock:
            now = self._time_of_day()
            if (passed := now - self._looked) >= _OFTEN:
                # The kernel counts a wait when it is over, so a long one is made up for afterwards.
                self._owed += self._waited()
                excused = min(self._owed, passed * (1 - _LEAST))
                self._owed -= excused
                self._seconds += passed - excused
                self._looked = now
            return self._seconds

    def _waited(self) -> float:
        before, self._waits = self._waits, self._read()
        # Threads wait at the same time: the one that waited longest tells how long none of them could go on for another.
        return max((wait - before.get(thread, wait) for thread, wait in self._waits.items()), default=0) / 1e9

    def _read(self) -> dict[str, int]:
        waits = {}
        for path in self._tasks.glob("*/schedstat"):
            try:
                waits[path.parent.name] = int(path.read_text().split()[1])
            except (OSError, IndexError):  # the thread has ended
                continue
        return waits
