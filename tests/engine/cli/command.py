"""The command as a person runs it: a process of its own, with a folder of its own for its jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rescue.jobs.job import FolderJob, Process, list_jobs
from rescue.model.progress import Finished, Progress
from tests.hashes import digest_of_stream


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Rescue:
    """Runs ``rescue`` with jobs in ``jobs``; ``prefix`` is put in front of its command."""

    jobs: Path
    prefix: tuple[str, ...] = ()

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command and do not wait for it.

        Its job has a process that is still loading when it can be seen, so that it can be stopped before it does much.
        """
        return self._started(["-c", "import sys; from rescue.cli.main import main; sys.exit(main())"], arguments)

    def _started(self, how: list[str], arguments: tuple[str | Path, ...]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, sys.executable, *how, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "RESCUE_JOBS": str(self.jobs)},
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout: float = 120) -> Result:
        """Wait for a command."""
        out, err = process.communicate(timeout=timeout)
        assert "Traceback" not in err, err
        return Result(process.returncode, out, err)

    def __call__(self, *arguments: str | Path) -> Result:
        """Run a command to its end."""
        return self.finish(self._started(["-m", "rescue"], arguments))

    def ok(self, *arguments: str | Path) -> Result:
        """Run a command that must succeed."""
        result = self(*arguments)
        assert result.code == 0, result
        return result

    def job(self) -> FolderJob:
        """The newest job; waits until there is one."""
        deadline = time.monotonic() + 30
        while True:
            found = list_jobs(self.jobs)
            if found:
                return found[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def wait_for_bytes(self, step: int, minimum: int) -> FolderJob:
        """The newest job, once its step number ``step`` has done that many bytes. Fails when it ends before."""
        with self.held(step, minimum) as job:
            return job

    @contextmanager
    def held(self, step: int, minimum: int) -> Iterator[FolderJob]:
        """The newest job, which stands still from when its step number ``step`` has done that many bytes.

        It runs in slices of a few milliseconds until then, so that a fast machine does not get past the moment
        between two looks, nor a busy one, which would let this process wait.
        """
        job = self.job()
        pid = self.pid(job)
        try:
            with _first_in_line():
                _run_until(job, pid, step, minimum)
            yield FolderJob(job.folder)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def cancelled(
        self, command: subprocess.Popen[str], step: int, minimum: int, number: signal.Signals = signal.SIGINT
    ) -> Result:
        """What a command says that gets a signal when step number ``step`` of its job has done that many bytes."""
        with self.held(step, minimum) as job:
            status = Path(f"/proc/{self.pid(job)}/status")
            os.kill(command.pid, number)
            deadline = time.monotonic() + 10
            while not _pending(status.read_text()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        return self.finish(command)

    def wait_until(self, done: int, seconds: float = 90) -> FolderJob:
        """The newest job, once its first long step has done that many bytes, or it has ended."""
        job = self.job()
        self.pid(job)
        deadline = time.monotonic() + seconds
        while job.alive() and time.monotonic() < deadline:
            if any(isinstance(event, Progress) and event.done >= done for event in job.events()):
                break
            time.sleep(0.005)
        return FolderJob(job.folder)

    def pid(self, job: FolderJob) -> int:
        """The process of a job; waits until it is written down."""
        deadline = time.monotonic() + 10
        while not (job.folder / "process.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return msgspec.json.decode((job.folder / "process.json").read_bytes(), type=Process).pid

    def forget(self) -> None:
        """Remove the folders of jobs that have ended: a command ends with its job's verdict, the job's process a moment later."""
        deadline = time.monotonic() + 60
        for job in list_jobs(self.jobs):
            while job.alive():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            for file in job.folder.iterdir():
                file.unlink()
            job.folder.rmdir()


def _run_until(job: FolderJob, pid: int, step: int, minimum: int) -> None:
    """Run the job slice by slice, and leave it stopped when its step number ``step`` has done that many bytes."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        os.kill(pid, signal.SIGSTOP)
        for event in job.events():
            assert not isinstance(event, Finished), event
            if isinstance(event, Progress) and (event.index, event.done) >= (step, minimum):
                return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.003)
    raise AssertionError("the job did not get that far")


@contextmanager
def _first_in_line() -> Iterator[None]:
    """This process runs as soon as it wants to, where that is allowed (sched(7))."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _pending(status: str) -> bool:
    """Whether a process has signals to come, from its status (proc(5))."""
    return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:")))


def content(image: Path) -> str:
    """The same hash of what a stock decoder makes of an image."""
    with subprocess.Popen(["zstd", "-dcq", str(image)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        found = digest_of_stream(child.stdout)  # type: ignore[arg-type]
    assert child.returncode == 0
    return found
