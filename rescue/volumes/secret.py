"""What opens an encrypted volume of a disk, as people have it: a passphrase, or a file with one or with a key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from rescue.errors import CredentialError, UsageError
from rescue.units import KIB, MIB

_T = TypeVar("_T")

_MAX_PASSPHRASE: Final = 512  # bytes that cryptsetup takes from a terminal
_MAX_KEY_FILE: Final = 8 * MIB - 1 * KIB  # a little less than cryptsetup takes


def typed_secret(text: str) -> bytes:
    """A passphrase that was typed. Raises UsageError when it is none."""
    try:
        secret = text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("The passphrase is not valid text (UTF-8).", "Give it in a file.") from error
    if not 0 < len(secret) <= _MAX_PASSPHRASE:
        raise UsageError(f"A passphrase has 1 to {_MAX_PASSPHRASE} bytes.")
    return secret


def opened_by_file(path: Path, attempt: Callable[[bytes], _T]) -> _T:
    """What ``attempt`` makes of the secret in a file, which raises CredentialError when it opens nothing.

    Raises as ``attempt``; CredentialError when the file cannot be read, UsageError when it is empty or too large.
    """
    secret = _read(path)
    try:
        return attempt(secret)
    except CredentialError:
        # A passphrase that was written into a file by an editor has a line end that is none of it.
        shorter = secret.removesuffix(b"\n").removesuffix(b"\r")
        if shorter in (secret, b""):
            raise
        return attempt(shorter)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_FILE + 1)
    except OSError as error:
        raise CredentialError(f"{path} cannot be read: {error.strerror}.") from error
    if not 0 < len(data) <= _MAX_KEY_FILE:
        raise UsageError(f"{path} holds no passphrase or key.", f"It may have 1 to {_MAX_KEY_FILE} bytes.")
    return data
