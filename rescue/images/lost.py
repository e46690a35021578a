"""Which files an image lacks, kept beside it as ``NAME.damage.json``. Never of an encrypted image: it holds names of files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from rescue.errors import RescueError
from rescue.images.proofs import SUFFIX as PROOF
from rescue.images.proofs import proof_path
from rescue.model import documents
from rescue.model.damage import VolumeDamage
from rescue.units import MIB

SUFFIX: Final = ".damage.json"
_LIMIT: Final = 64 * MIB


class _Kept(msgspec.Struct, frozen=True):
    fingerprint: str
    damage: tuple[VolumeDamage, ...]


def damage_path(image: str | Path) -> Path:
    """Where it is; ``image`` may be the first of its parts."""
    path = proof_path(image)
    return path.with_name(path.name.removesuffix(PROOF) + SUFFIX)


def read_damage(image: str | Path, fingerprint: str) -> tuple[VolumeDamage, ...]:
    """What is kept of the image with this fingerprint; nothing when there is no such file, or it makes no sense."""
    try:
        with damage_path(image).open("rb") as file:
            kept = documents.decode(file.read(_LIMIT), type=_Kept)
    except (OSError, UnicodeError, msgspec.MsgspecError):
        return ()
    return kept.damage if kept.fingerprint == fingerprint else ()


def keep_damage(image: str | Path, fingerprint: str, damage: tuple[VolumeDamage, ...]) -> bool:
    """Write it down, whole or not at all; whether that was possible (the folder may be read-only)."""
    path = damage_path(image)
    draft = path.with_name(path.name + ".new")
    try:
        with draft.open("wb") as file:
            file.write(documents.encode(_Kept(fingerprint, damage)))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True


def remove_damage(image: str | Path) -> None:
    """Remove what is kept beside an image; a file of that name that is something else stays. Raises RescueError."""
    path = damage_path(image)
    try:
        if path.is_symlink():
            return
        with path.open("rb") as file:
            documents.decode(file.read(_LIMIT), type=_Kept)
        path.unlink()
    except (FileNotFoundError, IsADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return
    except OSError as error:
        raise RescueError(f"{path} cannot be removed: {error.strerror}.", "Remove it by hand.") from error
