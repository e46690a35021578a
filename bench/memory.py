"""The memory that the processes started from here take, watched while they run."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from types import TracebackType

# linux/prctl.h: a job process whose parent ends becomes our child, so that it can still be found below us.
_PR_SET_CHILD_SUBREAPER = 36
_INTERVAL = 0.05


def _children(pid: int) -> list[int]:
    """The processes that any thread of ``pid`` started; empty when it is gone."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, itself not included."""
    found: list[int] = []
    waiting = _children(pid)
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting += _children(child)
    return found


def _status(pid: int) -> tuple[int, int]:
    """Bytes that a process holds now, and the most that it ever held; zeros when it is gone."""
    now = peak = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                now = int(line.split()[1]) * 1024
            elif line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    return now, peak


class MemoryWatch:
    """A context manager that watches the processes below this one.

    ``peak`` is in bytes: the larger of what all of them held at one moment, pages that they share counted in each, and of
    what any one of them ever held (the kernel's high-water mark, which misses no moment).
    """

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)

    def _watch(self) -> None:
        me = os.getpid()
        while not self._stop.wait(_INTERVAL):
            states = [_status(pid) for pid in descendants(me)]
            together = sum(now for now, _ in states)
            self.peak = max(self.peak, together, *(peak for _, peak in states), 0)

    def __enter__(self) -> MemoryWatch:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
