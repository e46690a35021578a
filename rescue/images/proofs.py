"""What was proved of an image, kept beside it as ``NAME.proof.json``. It tells nothing of what is in the image."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from rescue.errors import RescueError
from rescue.model.survey import FAILED
from rescue.records import replace
from rescue.system.joined import part_name
from rescue.units import KIB

SUFFIX: Final = ".proof.json"
_LIMIT: Final = 64 * KIB

What = Literal["hashes", "mounts"]


class Proof(msgspec.Struct, frozen=True):
    """When what was found good, ISO 8601 in UTC, "" for never; and what was found damaged last, if that was not put right since.

    ``fingerprint`` is of the image that it is about: another image of the same name has not been proved.
    """

    fingerprint: str
    hashes: str = ""
    mounts: str = ""
    failed: What | Literal[""] = ""

    def with_result(self, what: What, good: bool, when: str) -> Proof:
        """What is known after one more check."""
        if not good:
            return replace(self, failed=what)
        failed = "" if self.failed == what else self.failed
        hashes, mounts = (when, self.mounts) if what == "hashes" else (self.hashes, when)
        return Proof(self.fingerprint, hashes, mounts, failed)

    @property
    def words(self) -> str:
        """For people: ``proved 2026-11-22`` (its file systems were opened), ``verified 2026-11-22`` (its hashes), ``FAILED``."""
        if self.failed:
            return FAILED
        if self.mounts:
            return f"proved {self.mounts[:10]}"
        return f"verified {self.hashes[:10]}" if self.hashes else NEVER


NEVER: Final = "never checked"


def proof_path(image: str | Path) -> Path:
    """Where the proof of an image is; ``image`` may be the first of its parts."""
    path = Path(image)
    part = part_name(path.name)
    name = part.whole if part and part.number == 1 else path.name
    return path.with_name(name + SUFFIX)


def read_proof(image: str | Path, fingerprint: str) -> Proof:
    """What is known of the image with this fingerprint; nothing when the file is missing, damaged, or about another image."""
    nothing = Proof(fingerprint)
    try:
        with proof_path(image).open("rb") as file:
            data = file.read(_LIMIT)
        proof = msgspec.json.decode(data, type=Proof)
    except (OSError, UnicodeError, msgspec.MsgspecError):
        return nothing
    # What is shown comes from a file that anybody may have written.
    plain = all(character in "0123456789-:TZ" for character in proof.hashes + proof.mounts)
    return proof if proof.fingerprint == fingerprint and plain else nothing


def record_result(image: str | Path, fingerprint: str, what: What, good: bool, when: str) -> bool:
    """Write down what was found, whole or not at all; whether that was possible (the folder may be read-only)."""
    path = proof_path(image)
    draft = path.with_name(f".{path.name}.new")  # a name with a dot is no object of the store
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(read_proof(image, fingerprint).with_result(what, good, when)))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True


def remove_proof(image: str | Path) -> None:
    """Remove what is kept beside an image; a file of that name that is something else stays. Raises RescueError."""
    path = proof_path(image)
    try:
        if path.is_symlink():
            return
        with path.open("rb") as file:
            msgspec.json.decode(file.read(_LIMIT), type=Proof)
        path.unlink()
    except (FileNotFoundError, IsADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return
    except OSError as error:
        raise RescueError(f"{path} cannot be removed: {error.strerror}.", "Remove it by hand.") from error
