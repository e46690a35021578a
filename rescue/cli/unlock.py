"""``--unlock``: the passphrases of encrypted volumes on a disk, or on the disk in an image."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from rescue.cli.options import Context
from rescue.cli.secrets import Asker
from rescue.images.secrets import Secrets
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.records import replace
from rescue.services import Machine
from rescue.services.unlocking import volume_keys
from rescue.volumes.secret import opened_by_file, typed_secret

_T = TypeVar("_T")


class Unlock(msgspec.Struct, frozen=True):
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
        help="open the LUKS and BitLocker volumes in partition N (0: a disk without partitions) with the passphrase, recovery key"
        " or key in FILE, or with the passphrase that is asked for; may be repeated",
    )


def with_unlocked(
    machine: Machine, source: DiskSurvey | ImageSummary, arguments: argparse.Namespace, context: Context
) -> Machine:
    """The machine with the keys of all volumes that were to be unlocked.

    Raises CredentialError (nothing opens, no file), UsageError (nothing there is locked), ProgramError.
    """
    asker = Asker.of(context.stdin)
    for wanted in arguments.unlock:
        machine = _opened(wanted, asker, partial(machine.with_unlocked, source, wanted.partition))
    return machine


def unlocked_secrets(
    source: DiskSurvey | ImageSummary, secrets: Secrets, arguments: argparse.Namespace, context: Context
) -> Secrets:
    """``secrets`` with the keys of all volumes that were to be unlocked. Raises as :func:`with_unlocked`."""
    asker = Asker.of(context.stdin)
    for wanted in arguments.unlock:
        keys = _opened(wanted, asker, partial(_keys, source, wanted.partition, secrets))
        secrets = replace(secrets, volume_keys=keys)
    return secrets


def _keys(source: DiskSurvey | ImageSummary, partition: int, secrets: Secrets, secret: bytes) -> dict[str, bytes]:
    return volume_keys(source, partition, secret, secrets)


def _opened(wanted: Unlock, asker: Asker, attempt: Callable[[bytes], _T]) -> _T:
    """What ``attempt`` makes of the secret."""
    if wanted.file is not None:
        return opened_by_file(wanted.file, attempt)
    name = f"partition {wanted.partition}" if wanted.partition else "the encrypted disk"
    return attempt(typed_secret(asker.question(f"Passphrase of {name}: ")))
