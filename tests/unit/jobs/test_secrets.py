"""Secrets on their way to a job: they arrive, and nothing else sees them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rescue.errors import CredentialError, UsageError
from rescue.images.secrets import Secrets
from rescue.jobs.secrets import receive, send
from rescue.jobs.start import start
from tests.unit.images.test_secrets import TEXT
from tests.unit.jobs.test_execute import RESTORE

PASSPHRASE = "Zoë's passphrase"


@pytest.mark.parametrize(
    "secrets",
    [
        Secrets(PASSPHRASE),
        Secrets(key_file=bytes(range(32))),
        Secrets(recovery=TEXT),
        Secrets("\x00\n", b"\xff" * 32, TEXT),
        Secrets("é" * 512),
    ],
)
def test_they_arrive(secrets: Secrets) -> None:
    fd = send(secrets)
    assert not os.get_inheritable(fd)
    assert receive(fd) == secrets
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)


def test_they_arrive_once() -> None:
    fd = send(Secrets(PASSPHRASE))
    copy = os.dup(fd)
    receive(fd)
    with pytest.raises(CredentialError):
        receive(copy)


@pytest.mark.parametrize("bad", [Secrets("x" * 2000), Secrets(recovery="x" * 50_000), Secrets("\udc80"), Secrets("")])
def test_what_cannot_be_sent_leaves_no_descriptor(bad: Secrets) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(UsageError):
        send(bad)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("data", [b"", b"{", b'{"passphrase": "half of a secr', b'{"passphrase": 3}', b"\xff", b"x" * 9000])
def test_what_is_broken_is_not_quoted(data: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with pytest.raises(CredentialError) as raised:
        receive(reader)
    assert "secr" not in str(raised.value).replace("secrets", "")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_no_descriptor() -> None:
    with pytest.raises(CredentialError):
        receive(9999)


class Spawned:
    """What the job's process would have been."""

    pid = os.getpid()

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command = command
        self.environment: dict[str, str] = options["env"]
        self.inherited: tuple[int, ...] = options["pass_fds"]
        self.secrets = receive(os.dup(int(command[-1]))) if command[-1].isdigit() else None

    def poll(self) -> None:
        """Still running."""


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[Spawned]:
    """The processes that were started."""
    found: list[Spawned] = []

    def spawn(command: list[str], **options: Any) -> Spawned:
        found.append(Spawned(command, **options))
        return found[-1]

    monkeypatch.setattr("rescue.jobs.spawn.subprocess.Popen", spawn)
    return found


def test_a_job_gets_them_through_a_descriptor_alone(
    tmp_path: Path, spawned: list[Spawned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCUE_PASSPHRASE", PASSPHRASE)
    before = sorted(os.listdir("/proc/self/fd"))
    job = start(RESTORE, tmp_path / "jobs", Secrets(PASSPHRASE, recovery=TEXT))
    process = spawned[0]
    assert process.secrets == Secrets(PASSPHRASE, recovery=TEXT)
    assert int(process.command[-1]) in process.inherited
    said = [*process.command, *process.environment.values(), *process.environment]
    said += [path.read_text() for path in job.folder.iterdir()]
    for secret in (PASSPHRASE, TEXT, "RESCUE_PASSPHRASE"):
        assert not any(secret in text for text in said)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_job_without_secrets_gets_no_descriptor(
    tmp_path: Path, spawned: list[Spawned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESCUE_PASSPHRASE", PASSPHRASE)
    start(RESTORE, tmp_path / "jobs")
    assert spawned[0].secrets is None
    assert len(spawned[0].inherited) == 1
    assert PASSPHRASE not in spawned[0].environment.values()


def test_a_process_that_cannot_be_started_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> subprocess.Popen[bytes]:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("rescue.jobs.spawn.subprocess.Popen", refuse)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(Exception, match="cannot be started"):
        start(RESTORE, tmp_path / "jobs", Secrets(PASSPHRASE))
    assert sorted(os.listdir("/proc/self/fd")) == before
