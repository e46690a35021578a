"""A job as its folder shows it, to the process that started it and to any other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import msgspec

from rescue.errors import RescueError
from rescue.jobs.aftermath import after_kill, nothing_done
from rescue.jobs.folder import JOURNAL, LOCK, PLAN, PROCESS
from rescue.jobs.journal import JournalReader
from rescue.model import documents
from rescue.model.plan import Plan
from rescue.model.progress import Event, Finished, Progress

_POLL = 0.05


class Process(msgspec.Struct, frozen=True):
    """Which process runs a job. ``started`` is field 22 of proc(5)'s stat: the same pid later is another process."""

    pid: int
    started: int


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


class FolderJob:
    """One job. Reading it never blocks it, and many can read it at once."""

    def __init__(self, folder: Path, child: subprocess.Popen[bytes] | None = None) -> None:
        """Raises RescueError when the folder holds no plan."""
        self._folder = folder
        self._child = child
        try:
            self._plan = documents.decode((folder / PLAN).read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError) as error:
            raise RescueError(f"{folder} is not the folder of a job.") from error
        self._reader = JournalReader(folder / JOURNAL)
        self._ended = False
        self._last_index = -1

    @property
    def id(self) -> str:
        """Name of the job, also of its folder."""
        return self._folder.name

    @property
    def folder(self) -> Path:
        """Where the plan and the journal are."""
        return self._folder

    @property
    def plan(self) -> Plan:
        """What is being run."""
        return self._plan

    def alive(self) -> bool:
        """Whether the job's process still runs: it holds the lock for as long."""
        if self._child is not None:
            self._child.poll()  # or it would stay a zombie
        try:
            fd = os.open(self._folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def events(self) -> list[Event]:
        """The events since the last call; the last one of a job is Finished, also of one that was killed."""
        if self._ended:
            return []
        # Asked before reading: what a process that has ended wrote is all there.
        alive = self.alive()
        events = self._reader.read()
        for event in events:
            if isinstance(event, Progress):
                self._last_index = event.index
            elif isinstance(event, Finished):
                self._ended = True
        if not alive and not self._ended:
            self._ended = True
            events.append(self._died())
        return events

    def _died(self) -> Finished:
        state = after_kill(self._plan, self._plan.steps[self._last_index]) if self._last_index >= 0 else nothing_done(self._plan)
        return Finished(
            "failed",
            1,
            "The job ended without a verdict: its process was killed, or the computer ran out of memory.",
            f"{state} What it said last is in {self._folder}.",
        )

    def cancel(self) -> None:
        """Ask the job to stop; it ends with a Finished event."""
        if self._child is not None:
            self._child.terminate()  # nobody else can have got its number before it was waited for
            return
        try:
            process = documents.decode((self._folder / PROCESS).read_bytes(), type=Process)
            handle = os.pidfd_open(process.pid)
        except (OSError, msgspec.DecodeError):
            return
        try:
            # The handle is of one process for ever; that it is still the job's own is what the start time says.
            if start_time(process.pid) == process.started:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGTERM)
        finally:
            os.close(handle)

    def pause(self, seconds: float) -> None:
        """Wait that long, but not longer than the process runs that this object started."""
        if self._child is None:
            time.sleep(seconds)
        elif self._child.poll() is None:
            handle = os.pidfd_open(self._child.pid)
            try:
                select.select([handle], [], [], seconds)
            finally:
                os.close(handle)

    def wait(self, timeout: float | None = None) -> Finished | None:
        """Block until the job has ended; None when ``timeout`` (seconds) passed first. Takes nothing away from ``events``."""
        observer = FolderJob(self._folder)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for event in observer.events():
                if isinstance(event, Finished):
                    if self._child is not None and not self.alive():
                        self._child.wait()
                    return event
            if deadline is not None and time.monotonic() >= deadline:
                return None
            time.sleep(_POLL)


def list_jobs(root: Path) -> list[FolderJob]:
    """The jobs in a folder, newest first."""
    try:
        plans = sorted(root.glob(f"*/{PLAN}"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    except FileNotFoundError:
        return []
    jobs = []
    for plan in plans:
        with contextlib.suppress(RescueError):  # removed in the meantime
            jobs.append(FolderJob(plan.parent))
    return jobs
