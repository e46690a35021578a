"""``--unlock``: what is typed, and what a file with a passphrase may hold."""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rescue.cli.options import Context
from rescue.cli.unlock import Unlock, add_unlock, with_unlocked
from rescue.errors import CredentialError, UsageError


@dataclass
class _Machine:
    """Opens with one secret."""

    right: bytes = b"right"
    tried: list[tuple[int, bytes]] = field(default_factory=list)

    def with_unlocked(self, source: Any, partition: int, secret: bytes) -> _Machine:
        """See Machine."""
        self.tried.append((partition, secret))
        if secret != self.right:
            raise CredentialError("It does not open.")
        return self


def _run(*options: str, machine: _Machine) -> None:
    parser = argparse.ArgumentParser()
    add_unlock(parser)
    stream = io.StringIO()  # no terminal
    context = Context(machine, stream, stream, stream)  # type: ignore[arg-type]
    with_unlocked(machine, None, parser.parse_args(options), context)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "unlock"), [("2", Unlock(2, None)), ("0=/a=b", Unlock(0, Path("/a=b")))])
def test_options(text: str, unlock: Unlock) -> None:
    assert Unlock.parse(text) == unlock


@pytest.mark.parametrize("text", ["", "x", "-1", "2=", "=file", "²=x", "1234567"])
def test_no_options(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        Unlock.parse(text)


@pytest.mark.parametrize(
    ("content", "tried"),
    [(b"right", [b"right"]), (b"right\n", [b"right\n", b"right"]), (b"right\r\n", [b"right\r\n", b"right"])],
)
def test_a_line_end_may_belong_to_the_secret(tmp_path: Path, content: bytes, tried: list[bytes]) -> None:
    """First as the file is, as cryptsetup takes key files; then as an editor writes passphrases."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    machine = _Machine()
    _run("--unlock", f"3={file}", "--unlock", f"4={file}", machine=machine)
    assert machine.tried == [(number, secret) for number in (3, 4) for secret in tried]
    raw = _Machine(right=content)
    _run("--unlock", f"3={file}", machine=raw)
    assert raw.tried == [(3, content)]


@pytest.mark.parametrize("content", [b"wrong", b"wrong\n", b"\n"])
def test_wrong_secrets(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(CredentialError):
        _run("--unlock", f"3={file}", machine=_Machine())


def test_files_that_hold_none(tmp_path: Path) -> None:
    """Missing, empty, without end; and nobody to ask."""
    machine = _Machine()
    with pytest.raises(CredentialError, match="cannot be read"):
        _run("--unlock", f"3={tmp_path}/none", machine=machine)
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError):
        _run("--unlock", f"3={tmp_path}/empty", machine=machine)
    with (tmp_path / "long").open("wb") as file:
        file.truncate(8 << 20)
    with pytest.raises(UsageError):
        _run("--unlock", f"3={tmp_path}/long", machine=machine)
    with pytest.raises(CredentialError, match="nobody is here"):
        _run("--unlock", "3", machine=machine)
    assert not machine.tried
