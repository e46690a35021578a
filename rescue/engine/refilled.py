"""A volume made anew and filled by its files on its way, in a nameless file: for where programs cannot write on the target."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rescue.engine.overlay import MEMORY, SourceBlocks, require_free
from rescue.engine.refill import refill
from rescue.engine.resizing import Check, nothing
from rescue.engine.shrink import Shrunk
from rescue.engine.xfs_shared import shared_bytes
from rescue.errors import ProgramError, RescueError
from rescue.filesystems.maps import used_map
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.units import MIB

_FIXED: Final = 64 * MIB


def room_for(volume: Source, identity: Identity) -> int:
    """How many bytes of a folder it takes at most."""
    total = used_map(volume, identity, path="", offset=0).extents.total
    if identity.type == "xfs":
        total += shared_bytes(volume)  # each file gets its own
    return total + total // 16 + _FIXED


@contextmanager
def refilled(
    volume: Source, identity: Identity, new_size: int, *, sector_size: int = 0, folder: Path = MEMORY, check: Check = nothing
) -> Iterator[Shrunk]:
    """``volume`` made anew with ``new_size`` bytes (a multiple of 512), as long as the context lasts. It is only read.

    It takes as much of ``folder`` as its files have bytes. ``sector_size`` as in :func:`~rescue.engine.refill.refill`. Raises
    RefusedError when there is no room for that, and what that raises. Needs root.
    """
    require_free(room_for(volume, identity), folder)
    file = _nameless(folder)
    try:
        os.ftruncate(file, new_size)
        path = f"/proc/{os.getpid()}/fd/{file}"
        said = refill(
            SourceBlocks(volume), 0, volume.size, identity, path, 0, new_size,
            sector_size=sector_size, folder=folder, check=check,
        )  # fmt: skip
        with FileSource(path) as source:
            smaller = SliceSource(source, 0, new_size)
            used = used_map(smaller, identity, path=path, offset=0)
            if used.whole_because:
                raise ProgramError(f"The file system was made anew, and is not in order: {used.whole_because}")
            yield Shrunk(smaller, used.extents, path, said)
    finally:
        os.close(file)


def _nameless(folder: Path) -> int:
    """A file that is gone with this process, however that ends."""
    try:
        if folder == MEMORY:
            return os.memfd_create("rescue")
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RescueError(f"{folder} cannot take a file: {error.strerror}.", "Name another folder.") from error
