"""Start a job: a plan in a new folder, and a process of its own that runs it and outlives this one."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

import rescue
from rescue.errors import RefusedError, RescueError
from rescue.images.secrets import Secrets
from rescue.jobs.folder import LOCK, LOG, PLAN, PROCESS, make_folder
from rescue.jobs.job import FolderJob, Process, list_jobs, start_time
from rescue.jobs.secrets import SECRET_VARIABLES, send
from rescue.model.plan import Plan

_KEEP = 50  # finished jobs

# Frames are megabytes that come and go: without this, glibc gives each back to the kernel, and half of the system time
# of a backup goes into clearing pages that are asked for again at once.
_MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


def start(plan: Plan, root: Path, secrets: Secrets | None = None) -> FolderJob:
    """Run ``plan``; ``secrets`` reach its process through a pipe and are kept nowhere.

    Raises RefusedError when another job works on the same target, UsageError for secrets that cannot be any, RescueError
    when no process can be started.
    """
    others = list_jobs(root)
    _refuse_conflict(plan, others)
    _forget_old(others)
    pipe = send(secrets) if secrets else None
    try:
        folder = make_folder(root, plan.kind)
        # Locked before there is a plan: whoever sees the job sees that it lives.
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _write(folder, PLAN, msgspec.json.encode(plan))
            child = _spawn(folder, lock, pipe)
        finally:
            os.close(lock)
    finally:
        if pipe is not None:
            os.close(pipe)
    _write(folder, PROCESS, msgspec.json.encode(Process(child.pid, start_time(child.pid))))
    return FolderJob(folder, child)


def _write(folder: Path, name: str, data: bytes) -> None:
    """Make a file that others see whole or not at all."""
    draft = folder / f"{name}.new"
    draft.write_bytes(data)
    draft.rename(folder / name)


def _spawn(folder: Path, lock: int, pipe: int | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rescue.jobs.worker", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    # Blocked until the worker has its handlers: a signal in its first moments waits instead of killing it without a verdict.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        with (folder / LOG).open("wb") as log:
            # Not system.run: that waits for programs of others. This is our own program, and nobody waits for it.
            return subprocess.Popen(
                command if pipe is None else [*command, str(pipe)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # The program may have been found by a path that only its start-up script knows.
                env={**environment, **_MALLOC, "PYTHONPATH": str(Path(rescue.__file__).parent.parent)},
                pass_fds=(lock,) if pipe is None else (lock, pipe),
                start_new_session=True,
            )
    except OSError as error:
        raise RescueError(f"The job's process cannot be started: {error.strerror}.") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _refuse_conflict(plan: Plan, others: list[FolderJob]) -> None:
    target = plan.target.path if plan.target else ""
    source = plan.source.path if plan.source else ""
    for job in others:
        theirs = job.plan.target.path if job.plan.target else ""
        reads = job.plan.source.path if job.plan.source else ""
        if (target and target in (theirs, reads)) or (source and source == theirs):
            if not job.alive():
                continue
            raise RefusedError(
                f"{theirs or reads} is in use: the job {job.id} works on it.", "Wait until it has ended, or cancel it."
            )


def _forget_old(others: list[FolderJob]) -> None:
    for job in others[_KEEP:]:
        if not job.alive():
            shutil.rmtree(job.folder, ignore_errors=True)
