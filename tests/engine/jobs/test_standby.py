"""A process that stands by: it runs the job that it is given, with its secrets, and ends when none comes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.images.secrets import Secrets
from rescue.jobs.spawn import Standby
from rescue.jobs.start import start
from tests.engine.jobs.test_secrets import verify

pytestmark = pytest.mark.engine


@pytest.fixture
def standby() -> Iterator[Standby]:
    """A process that is asked for early."""
    waiting = Standby("verify")
    yield waiting
    assert waiting._child.wait(20) in (0, 2)


def test_it_runs_the_job(tmp_path: Path, standby: Standby) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    job = start(verify(tmp_path / "none"), tmp_path / "jobs", Secrets("secret words"), standby)
    assert job._child is standby._child
    finished = job.wait(60)
    assert finished is not None
    assert finished.exit_code == 2
    assert "none" in finished.message
    assert standby._child.wait(20) == 2
    assert not job.alive()
    # Its end of the line is closed.
    assert len(os.listdir("/proc/self/fd")) == len(before) - 1


def test_a_job_holds_its_lock_and_writes_its_log_from_the_start(tmp_path: Path, standby: Standby) -> None:
    os.kill(standby._child.pid, signal.SIGSTOP)
    job = start(verify(tmp_path / "none"), tmp_path / "jobs", None, standby)
    assert job.alive()
    assert (job.folder / "worker.log").exists()
    os.kill(standby._child.pid, signal.SIGCONT)
    assert job.wait(60) is not None


def test_a_signal_while_it_stands_by_is_not_lost(tmp_path: Path) -> None:
    waiting = Standby("verify")
    job = start(verify(tmp_path / "none"), tmp_path / "jobs", None, waiting)
    job.cancel()
    finished = job.wait(60)
    assert finished is not None
    assert finished.exit_code in (2, 130)


def test_one_that_has_died_is_replaced(tmp_path: Path) -> None:
    waiting = Standby("verify")
    waiting._child.kill()
    waiting._child.wait()
    job = start(verify(tmp_path / "none"), tmp_path / "jobs", Secrets("secret words"), waiting)
    assert job._child is not waiting._child
    finished = job.wait(60)
    assert finished is not None
    assert finished.exit_code == 2


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_it_ends_when_nobody_needs_it(how: str) -> None:
    """However the process ends that asked for it."""
    script = f"import os\nfrom rescue.jobs.spawn import Standby\nprint(Standby('verify')._child.pid, flush=True)\n{how}\n"
    asked = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, timeout=60)
    pid = int(asked.stdout)
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 20)[0]
    finally:
        os.close(handle)
