"""The one tree of errors. A message says what happened to which thing; the hint says what to do.

Exit codes are those of the command-line contract (docs/cli.md). Only the outermost face turns an error into one.
"""

from __future__ import annotations

from typing import ClassVar


class RescueError(Exception):
    """Something that a person can be told: ``message`` (what, which thing) and ``hint`` (what to do)."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(RescueError):
    """The request itself makes no sense."""

    exit_code = 2


class RefusedError(RescueError):
    """Refused for safety before the first write: protected, too small, changed since the plan."""

    exit_code = 3


class GoneError(RefusedError):
    """An image is not there any more: what was planned with it has to be planned anew."""


class DamagedError(RescueError):
    """An image, a chain or a read-back does not match its hashes."""

    exit_code = 4


class CredentialError(RescueError):
    """A passphrase or a credential is missing or wrong."""

    exit_code = 5


class CancelledError(RescueError):
    """A person or the system stopped the job; the message says in what state things are."""

    exit_code = 130


class FormatError(RescueError):
    """Bytes on a disk or in a file are not what their format's specification says."""


class UnsupportedError(FormatError):
    """Well formed, but with a feature or version that this program does not know."""


class SourceReadError(RescueError):
    """The source disk failed to give bytes. ``offset`` is in bytes from the start of the disk."""

    def __init__(self, message: str, offset: int, length: int, hint: str = "") -> None:
        super().__init__(message, hint)
        self.offset = offset
        self.length = length


class TargetWriteError(RescueError):
    """The target did not take bytes: full, gone, failing."""


class ProgramError(RescueError):
    """An external program failed, ran too long or printed too much."""


class ProgramTimeoutError(ProgramError):
    """An external program was ended because it ran too long."""
