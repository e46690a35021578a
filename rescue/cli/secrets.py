"""Where the command line takes secrets from: files, descriptors, the environment, a question. Never from an argument's value."""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TextIO

import msgspec

from rescue.cli.options import Context
from rescue.errors import CredentialError, UsageError
from rescue.images.secrets import MAX_PASSPHRASE, Secrets, hash_key_file, passphrase_bytes, recovery_bytes
from rescue.services import Machine
from rescue.units import KIB

VARIABLE: Final = "RESCUE_PASSPHRASE"
_MAX_RECOVERY_FILE: Final = 1 * KIB
_OPTIONS_HINT: Final = "Give it with --passphrase-file, --passphrase-fd, --key-file or --recovery-key-file."


class Asker(msgspec.Struct, frozen=True):
    """How a person is asked, and what the program was started with. ``ask`` does not show what is typed."""

    terminal: bool
    ask: Callable[[str], str] = getpass.getpass
    environment: Mapping[str, str] = msgspec.field(default_factory=lambda: os.environ)

    @staticmethod
    def of(stdin: TextIO) -> Asker:
        """The one for a command: asks only where there is a terminal."""
        return Asker(stdin.isatty())

    def question(self, prompt: str) -> str:
        """What a person types. Raises CredentialError without a terminal, or when the person leaves (Ctrl-D)."""
        if not self.terminal:
            raise CredentialError("No passphrase was given, and nobody is here to be asked for it.", _OPTIONS_HINT)
        try:
            return self.ask(prompt)
        except EOFError as error:
            raise CredentialError("No passphrase was given.", _OPTIONS_HINT) from error


def add_secrets(parser: argparse.ArgumentParser) -> None:
    """The options that open an encrypted image."""
    group = parser.add_argument_group("encrypted images", f"Without these: ${VARIABLE}, else a question on the terminal.")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--passphrase-file", type=Path, metavar="FILE", help="read the passphrase from FILE")
    source.add_argument("--passphrase-fd", type=_descriptor, metavar="N", help="read the passphrase from file descriptor N")
    group.add_argument("--key-file", type=Path, metavar="FILE", help="open with a key file")
    group.add_argument("--recovery-key-file", type=Path, metavar="FILE", help="open with the recovery key in FILE")


def given_secrets(arguments: argparse.Namespace, asker: Asker) -> Secrets:
    """What the options, else the environment, hold; empty when nothing was given. Asks nobody.

    Raises CredentialError for a file that cannot be read or is no secret, UsageError for a passphrase that cannot be one.
    """
    secrets = Secrets(
        passphrase=read_passphrase(arguments.passphrase_file, arguments.passphrase_fd),
        key_file=None if arguments.key_file is None else read_key_file(arguments.key_file),
        recovery=None if arguments.recovery_key_file is None else _read_recovery(arguments.recovery_key_file),
    )
    variable = asker.environment.get(VARIABLE)
    if not secrets and variable is not None:
        passphrase_bytes(variable)
        return Secrets(passphrase=variable)
    return secrets


def secrets_to_open(arguments: argparse.Namespace, asker: Asker, what: str) -> Secrets:
    """What opens ``what`` (an image's name): what was given, else the answer to a question. Raises as :func:`given_secrets`."""
    return given_secrets(arguments, asker) or Secrets(passphrase=asker.question(f"Passphrase of {what}: "))


def unlocked(arguments: argparse.Namespace, context: Context, image: str) -> Machine:
    """The machine with what opens ``image`` (a path), as :func:`image_secrets` gives it. Raises as :func:`given_secrets`."""
    secrets = image_secrets(arguments, context, image)
    return context.machine.with_secrets(secrets) if secrets else context.machine


def image_secrets(arguments: argparse.Namespace, context: Context, image: str) -> Secrets:
    """What opens ``image`` (a path): what was given; else, if it is encrypted, the answer to a question; else nothing.

    Raises as :func:`given_secrets`.
    """
    secrets = given_secrets(arguments, Asker.of(context.stdin))
    if not secrets and context.machine.is_encrypted(image):
        return secrets_to_open(arguments, Asker.of(context.stdin), Path(image).name)
    return secrets


def secrets_to_create(arguments: argparse.Namespace, asker: Asker) -> Secrets:
    """What shall open a new image: what was given, else a passphrase that is asked for twice. Raises as :func:`given_secrets`."""
    return given_secrets(arguments, asker) or Secrets(passphrase=new_passphrase(asker))


def new_passphrase(asker: Asker) -> str:
    """A new passphrase, typed twice. Raises CredentialError when the two differ, UsageError when it cannot be one."""
    first = asker.question("New passphrase: ")
    passphrase_bytes(first)
    if asker.question("Again: ") != first:
        raise CredentialError("The two passphrases differ.", "Run the command again.")
    return first


def read_passphrase(path: Path | None, descriptor: int | None) -> str | None:
    """The passphrase in a file or behind a descriptor, one line end at its end left out; None without either.

    Raises CredentialError when it cannot be read, UsageError when it cannot be one.
    """
    source = descriptor if path is None else path
    if source is None:
        return None
    where = str(source) if isinstance(source, Path) else f"file descriptor {source}"
    data = _read(source, where, MAX_PASSPHRASE + 3)
    for end in (b"\r\n", b"\n"):
        if data.endswith(end):
            data = data.removesuffix(end)
            break
    try:
        passphrase = data.decode()
    except UnicodeDecodeError:
        # Not chained: the error's text quotes the bytes.
        raise UsageError(f"What {where} holds is not text (UTF-8).", "Use it with --key-file instead.") from None
    passphrase_bytes(passphrase)
    return passphrase


def read_key_file(path: Path) -> bytes:
    """What Secrets holds of a key file. Raises CredentialError when it cannot be read, UsageError when it is too short."""
    try:
        with path.open("rb") as file:
            return hash_key_file(file)
    except OSError as error:
        raise CredentialError(f"The key file {path} cannot be read: {error.strerror}.") from error


def _read_recovery(path: Path) -> str:
    text = _read(path, str(path), _MAX_RECOVERY_FILE).decode("ascii", "replace")
    recovery_bytes(text)
    return text


def _read(file: Path | int, where: str, limit: int) -> bytes:
    """At most ``limit`` bytes: a device without an end is no reason to hang."""
    try:
        with open(file, "rb", closefd=not isinstance(file, int)) as opened:
            return opened.read(limit)
    except OSError as error:
        raise CredentialError(f"{where} cannot be read: {error.strerror}.") from error


def _descriptor(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("a file descriptor is not negative")
    return number
