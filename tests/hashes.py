"""The one hash by which tests compare contents: BLAKE3, for disks of many GiB are hashed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3


def digest_of(data: bytes) -> str:
    """The hash of bytes."""
    return blake3(data).hexdigest()


def digest_of_stream(stream: BinaryIO) -> str:
    """The hash of all that is left to read."""
    return hashlib.file_digest(stream, blake3).hexdigest()  # type: ignore[arg-type]


def digest(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return digest_of_stream(file)
