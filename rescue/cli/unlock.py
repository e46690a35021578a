"""``--unlock``: the passphrases of encrypted volumes on a disk, or on the disk in an image."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rescue.cli.options import Context
from rescue.cli.secrets import Asker
from rescue.errors import CredentialError, UsageError
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.services import Machine
from rescue.units import KIB, MIB

_MAX_PASSPHRASE: Final = 512  # bytes that cryptsetup takes from a terminal
_MAX_KEY_FILE: Final = 8 * MIB - 1 * KIB  # a little less than cryptsetup takes


@dataclass(frozen=True, slots=True)
class Unlock:
    """A partition (0: the whole disk), and the file with what opens it; None: the person is asked."""

    partition: int
    file: Path | None

    @staticmethod
    def parse(text: str) -> Unlock:
        """``2=FILE`` or ``2``, for argparse."""
        number, equals, file = text.partition("=")
        if not (number.isascii() and number.isdigit() and len(number) <= 6) or (equals and not file):
            raise argparse.ArgumentTypeError(f"{text!r} is not N or N=FILE")
        return Unlock(int(number), Path(file) if equals else None)


def add_unlock(parser: argparse.ArgumentParser) -> None:
    """Offer the option."""
    parser.add_argument(
        "--unlock",
        metavar="N[=FILE]",
        type=Unlock.parse,
        action="append",
        default=[],
        help="open the LUKS volumes in partition N (0: a disk without partitions) with the passphrase or key in FILE, or with the"
        " passphrase that is asked for; may be repeated",
    )


def with_unlocked(
    machine: Machine, source: DiskSurvey | ImageSummary, arguments: argparse.Namespace, context: Context
) -> Machine:
    """The machine with the keys of all volumes that were to be unlocked.

    Raises CredentialError (nothing opens, no file), UsageError (nothing there is locked), ProgramError.
    """
    asker = Asker.of(context.stdin)
    for wanted in arguments.unlock:
        machine = _unlocked(machine, source, wanted, asker)
    return machine


def _unlocked(machine: Machine, source: DiskSurvey | ImageSummary, wanted: Unlock, asker: Asker) -> Machine:
    if wanted.file is None:
        name = f"partition {wanted.partition}" if wanted.partition else "the encrypted disk"
        secret = asker.question(f"Passphrase of {name}: ").encode()
        if not 0 < len(secret) <= _MAX_PASSPHRASE:
            raise UsageError(f"A passphrase has 1 to {_MAX_PASSPHRASE} bytes.")
        return machine.with_unlocked(source, wanted.partition, secret)
    secret = _read(wanted.file)
    try:
        return machine.with_unlocked(source, wanted.partition, secret)
    except CredentialError:
        # A passphrase that was written into a file by an editor has a line end that is none of it.
        shorter = secret.removesuffix(b"\n").removesuffix(b"\r")
        if shorter in (secret, b""):
            raise
        return machine.with_unlocked(source, wanted.partition, shorter)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_FILE + 1)
    except OSError as error:
        raise CredentialError(f"{path} cannot be read: {error.strerror}.") from error
    if not 0 < len(data) <= _MAX_KEY_FILE:
        raise UsageError(f"{path} holds no passphrase or key.", f"It may have 1 to {_MAX_KEY_FILE} bytes.")
    return data
