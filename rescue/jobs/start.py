"""Start a job: a plan in a new folder, and a process of its own that runs it and outlives this one."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from rescue.errors import RefusedError
from rescue.images.secrets import Secrets
from rescue.jobs.folder import LOCK, PLAN, PROCESS, make_folder
from rescue.jobs.job import FolderJob, Process, list_jobs, start_time
from rescue.jobs.secrets import send
from rescue.jobs.spawn import Standby, spawn
from rescue.model import documents
from rescue.model.plan import Plan

_KEEP = 50  # finished jobs


def start(plan: Plan, root: Path, secrets: Secrets | None = None, standby: Standby | None = None) -> FolderJob:
    """Run ``plan``, in the process that stands by if there is one; ``secrets`` reach it through a pipe and are kept nowhere.

    Raises RefusedError when another job works on the same target, UsageError for secrets that cannot be any, RescueError
    when no process can be started.
    """
    others = list_jobs(root)
    _refuse_conflict(plan, others)
    _forget_old(others)
    pipe = send(secrets) if secrets is not None and (secrets or secrets.volume_keys) else None
    try:
        folder = make_folder(root, plan.kind)
        # Locked before there is a plan: whoever sees the job sees that it lives.
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _write(folder, PLAN, documents.encode(plan))
            child = (standby.give(folder, lock, pipe) if standby else None) or spawn(folder, lock, pipe)
        finally:
            os.close(lock)
    finally:
        if pipe is not None:
            os.close(pipe)
    _write(folder, PROCESS, documents.encode(Process(child.pid, start_time(child.pid))))
    return FolderJob(folder, child)


def _write(folder: Path, name: str, data: bytes) -> None:
    """Make a file that others see whole or not at all."""
    draft = folder / f"{name}.new"
    draft.write_bytes(data)
    draft.rename(folder / name)


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
