"""A real job's process: what others can see of it holds no secret."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from rescue.images.secrets import Secrets
from rescue.jobs.folder import PROCESS
from rescue.jobs.job import Process
from rescue.jobs.start import start
from rescue.model.plan import Plan, VerifyImage

pytestmark = pytest.mark.engine

PASSPHRASE = "a passphrase that occurs nowhere else"
RECOVERY = "68SK-8D9P-6WW3-JEHV-7GYK-WFT0-8511-VGE8"


def verify(path: Path) -> Plan:
    """A plan that a job ends at once, because there is no such image."""
    return Plan("verify", (VerifyImage("Check the image", str(path)),), ())


def stopped(pid: int) -> bool:
    """Whether a process stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_no_secret_in_folder_arguments_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCUE_PASSPHRASE", PASSPHRASE)
    job = start(verify(tmp_path / "none"), tmp_path / "jobs", Secrets(PASSPHRASE, recovery=RECOVERY))
    pid = msgspec.json.decode((job.folder / PROCESS).read_bytes(), type=Process).pid
    os.kill(pid, signal.SIGSTOP)  # as long as it is looked at
    while not stopped(pid):
        time.sleep(0.01)
    process = Path(f"/proc/{pid}")
    seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert b"rescue.jobs.worker" in seen  # it is the process that was meant, and it has not ended
    assert b"PATH=" in seen
    os.kill(pid, signal.SIGCONT)
    finished = job.wait(60)
    assert finished is not None
    assert finished.exit_code == 2
    seen += b"".join(path.read_bytes() for path in job.folder.iterdir())
    for secret in (PASSPHRASE, RECOVERY, "RESCUE_PASSPHRASE"):
        assert secret.encode() not in seen


def test_the_worker_receives_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site hook in the job's process writes down what its steps are given: nothing in the program itself does."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import os, rescue.jobs.perform as perform\n"
        "class Steps(perform.EngineSteps):\n"
        "    def __init__(self, plan, host, secrets=None):\n"
        f"        open({str(tmp_path / 'seen')!r}, 'w').write(f'{{secrets.passphrase}} {{secrets.key_file!r}}')\n"
        "        super().__init__(plan, host, secrets)\n"
        "perform.EngineSteps = Steps\n"
    )
    monkeypatch.setattr("rescue.jobs.spawn.rescue.__file__", str(hook / "rescue" / "__init__.py"))
    job = start(verify(tmp_path / "none"), tmp_path / "jobs", Secrets(PASSPHRASE, bytes(32)))
    finished = job.wait(60)
    assert finished is not None
    assert (tmp_path / "seen").read_text() == f"{PASSPHRASE} {bytes(32)!r}"
