"""Where secrets come from, and that none comes from an argument."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from blake3 import blake3

from rescue.cli.main import main
from rescue.cli.secrets import (
    Asker,
    add_secrets,
    given_secrets,
    new_passphrase,
    read_passphrase,
    secrets_to_create,
    secrets_to_open,
)
from rescue.errors import CredentialError, RescueError, UsageError
from rescue.images.secrets import Secrets
from rescue.model.progress import Finished
from tests.unit.cli.recorded import RecordedMachine
from tests.unit.images.test_secrets import TEXT


def arguments(*words: str) -> argparse.Namespace:
    """What a command gets."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_secrets(parser)
    return parser.parse_args(words)


class Person:
    """Answers questions in order."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        """Called like getpass."""
        self.asked.append(prompt)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


def asker(*answers: str, terminal: bool = True, **environment: str) -> Asker:
    """Somebody at the terminal."""
    return Asker(terminal, Person(*answers), environment)


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [(b"secret", "secret"), (b"secret\n", "secret"), (b"secret\r\n", "secret"), (b"secret\n\n", "secret\n"), (b" s \n", " s ")],
)
def test_one_line_end_does_not_belong_to_the_passphrase(tmp_path: Path, content: bytes, passphrase: str) -> None:
    (tmp_path / "p").write_bytes(content)
    assert read_passphrase(tmp_path / "p", None) == passphrase
    assert given_secrets(arguments("--passphrase-file", str(tmp_path / "p")), asker()) == Secrets(passphrase)


@pytest.mark.parametrize(
    ("content", "error"), [(b"", UsageError), (b"\n", UsageError), (b"\xff\xfe", UsageError), (b"x" * 5000, UsageError)]
)
def test_what_is_no_passphrase(tmp_path: Path, content: bytes, error: type[RescueError]) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(error) as raised:
        read_passphrase(tmp_path / "p", None)
    assert raised.value.__cause__ is None  # it would quote the secret


def test_a_descriptor_is_read_and_left_open() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"secret\n")
    os.close(writer)
    try:
        assert given_secrets(arguments("--passphrase-fd", str(reader)), asker()) == Secrets("secret")
        os.fstat(reader)
    finally:
        os.close(reader)
    with pytest.raises(CredentialError, match="file descriptor"):
        read_passphrase(None, reader)


def test_key_file_and_recovery_key(tmp_path: Path) -> None:
    key, paper = tmp_path / "key", tmp_path / "paper"
    key.write_bytes(bytes(range(64)))
    paper.write_text(TEXT.lower() + "\n")
    found = given_secrets(arguments("--key-file", str(key), "--recovery-key-file", str(paper)), asker())
    assert found.key_file == blake3(bytes(range(64))).digest()
    assert found.recovery == TEXT.lower() + "\n"
    assert found.passphrase is None
    paper.write_text("not it")
    with pytest.raises(CredentialError, match="mistyped"):
        given_secrets(arguments("--recovery-key-file", str(paper)), asker())
    key.write_bytes(b"short")
    with pytest.raises(UsageError, match="5 bytes"):
        given_secrets(arguments("--key-file", str(key)), asker())


@pytest.mark.parametrize("option", ["--passphrase-file", "--key-file", "--recovery-key-file"])
def test_files_that_are_not_there_are_a_missing_credential(tmp_path: Path, option: str) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CredentialError) as raised:
            given_secrets(arguments(option, str(path)), asker(RESCUE_PASSPHRASE="other"))
        assert raised.value.exit_code == 5


def test_the_environment_then_the_question() -> None:
    assert secrets_to_open(arguments(), asker(RESCUE_PASSPHRASE="env"), "a.rimg") == Secrets("env")
    somebody = asker("typed")
    assert secrets_to_open(arguments(), somebody, "a.rimg") == Secrets("typed")
    assert isinstance(somebody.ask, Person)
    assert somebody.ask.asked == ["Passphrase of a.rimg: "]
    with pytest.raises(UsageError):
        given_secrets(arguments(), asker(RESCUE_PASSPHRASE=""))


def test_options_win_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("file")
    assert given_secrets(arguments("--passphrase-file", str(tmp_path / "p")), asker(RESCUE_PASSPHRASE="env")) == Secrets("file")


def test_nobody_is_asked_without_a_terminal() -> None:
    somebody = asker("typed", terminal=False)
    with pytest.raises(CredentialError, match="nobody is here") as raised:
        secrets_to_open(arguments(), somebody, "x")
    assert "--passphrase-file" in raised.value.hint
    with pytest.raises(CredentialError, match="nobody is here"):
        secrets_to_create(arguments(), somebody)
    assert isinstance(somebody.ask, Person)
    assert somebody.ask.asked == []


def test_a_new_passphrase_is_typed_twice() -> None:
    assert new_passphrase(asker("a b", "a b")) == "a b"
    assert secrets_to_create(arguments(), asker("x", "x")) == Secrets("x")
    with pytest.raises(CredentialError, match="differ"):
        new_passphrase(asker("a", "b"))
    with pytest.raises(UsageError, match="empty"):
        new_passphrase(asker(""))
    with pytest.raises(CredentialError, match="No passphrase"):
        new_passphrase(asker("a"))


@pytest.mark.parametrize(
    "words",
    [
        ("--passphrase", "secret"),
        ("--recovery-key", TEXT),
        ("--passphrase-fd", "-1"),
        ("--passphrase-fd", "x"),
        ("--passphrase-file", "a", "--passphrase-fd", "3"),
    ],
)
def test_wrong_usage(words: tuple[str, ...]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_secrets(parser)
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(words)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (Finished("succeeded", 0, "Done.", "", {"hash": "ab"}), True),
        (Finished("failed", 4, "Not proved.", "", {"hash": "ab"}), True),
        (Finished("failed", 1, "No room."), False),
    ],
)
def test_a_recovery_key_is_told_in_the_verdict(
    end: Finished, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESCUE_PASSPHRASE", "correct horse")
    command = ["backup", "/dev/nvme0n1", "/d", "--encrypt", "--recovery-key", "--no-verify"]
    assert main([*command, "--json"], lambda: RecordedMachine([end])) == end.exit_code
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["message"] == end.message
    assert ("recovery_key" in verdict) is told
    main(command, lambda: RecordedMachine([end]))
    assert ("Recovery key (keep it on paper, away from the image): " in capsys.readouterr().out) is told
