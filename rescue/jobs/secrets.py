"""Secrets on their way to a job's process: through a pipe that it inherits, never a file, an argument or the environment."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from rescue.errors import CredentialError, UsageError
from rescue.images.secrets import Secrets, passphrase_bytes
from rescue.units import KIB

# A pipe takes 64 KiB without a reader (pipe(7)): enough for the keys of two hundred encrypted volumes.
_LIMIT: Final = 32 * KIB


def send(secrets: Secrets) -> int:
    """A descriptor from which :func:`receive` gets ``secrets``, once; the caller closes it. Raises UsageError (too long)."""
    if secrets.passphrase is not None:
        passphrase_bytes(secrets.passphrase)
    data = msgspec.json.encode(secrets)
    if len(data) > _LIMIT:
        raise UsageError("The passphrase or the recovery key is too long.")
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(writer, data)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader


def receive(fd: int) -> Secrets:
    """The secrets that were sent; closes ``fd``. Raises CredentialError when they are not there."""
    try:
        with os.fdopen(fd, "rb") as pipe:
            return msgspec.json.decode(pipe.read(_LIMIT + 1), type=Secrets)
    except (OSError, msgspec.DecodeError):
        # Not chained: the text of a decoding error may quote what it could not decode.
        raise CredentialError("The secrets for this job did not reach its process.", "Start it again.") from None
