"""Whose bytes are damaged: from unreadable ranges of a volume to the names of the files that they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from rescue.errors import RescueError
from rescue.filesystems import btrfs_owners, maps, owners_walk
from rescue.filesystems.lenient import LenientSource
from rescue.filesystems.owned import Owned
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import Identity

MOST_NAMES: Final = 10_000
MORE_FAILED: Final = "More of it could not be read while its files were looked at, so some may be missing here."


class Damage(msgspec.Struct, frozen=True):
    """What unreadable bytes of a volume cost. Sizes in bytes; their sum with those in ``files`` is the damage.

    ``files``: paths from the volume's root with a leading slash, sorted, at most ``MOST_NAMES`` (``unnamed`` more). One that
    ends in "/" is a folder that cannot be read: what is below it is not known. ``metadata``: structures of the file system
    and space that it reserved. ``free``: belongs to nothing, costs nothing. ``unknown``: could not be told. ``notes``:
    sentences for people.
    """

    files: tuple[str, ...] = ()
    unnamed: int = 0
    file_bytes: int = 0
    metadata: int = 0
    free: int = 0
    unknown: int = 0
    notes: tuple[str, ...] = ()


def owners(
    volume: Source,
    identity: Identity,
    bad: ExtentMap,
    *,
    seconds: float = 600.0,
    clock: Callable[[], float] = time.monotonic,
) -> Damage:
    """Name what the ranges ``bad`` of a volume cost; they are never read.

    ``volume`` may be the disk itself, a salvaged one or an image. Takes at most about ``seconds``; what was not looked at by
    then is unknown, and ``notes`` say so. Damage is what this is for: it raises only what is wrong outside of the volume.
    """
    bad = bad.clip(0, volume.size)
    if not bad:
        return Damage()
    lenient = LenientSource(volume, bad)
    used = maps.used_map(lenient, identity, path="", offset=0) if identity.type in _READERS else None
    free = ExtentMap() if used is None or used.whole_because else bad.difference(used.extents)
    taken = bad.difference(free)
    if not taken:
        return Damage(free=free.total)
    found = _read(lenient, identity, taken, clock() + seconds, clock)
    # A used map that was made from a damaged structure may call free what a file says is its own.
    free = free.difference(found.content).difference(found.structures)
    rest = bad.difference(free).difference(found.content).difference(found.structures)
    told = found.complete and not lenient.failed and used is not None and not used.whole_because
    notes = found.notes + ((used.whole_because,) if used is not None and used.whole_because else ())
    notes += (MORE_FAILED,) if lenient.failed else ()
    names = sorted(found.names)
    return Damage(
        files=tuple(names[:MOST_NAMES]),
        unnamed=max(len(names) - MOST_NAMES, 0),
        file_bytes=found.content.total,
        metadata=found.structures.difference(found.content).total + (rest.total if told else 0),
        free=free.total,
        unknown=0 if told else rest.total,
        notes=tuple(dict.fromkeys(notes)),
    )


def _read(volume: LenientSource, identity: Identity, bad: ExtentMap, deadline: float, clock: Callable[[], float]) -> Owned:
    reader = _READERS.get(identity.type)
    if reader is None:
        what = identity.type or "what is on it"
        return Owned(notes=(f"This program cannot tell whose bytes of {what} they are.",))
    try:
        return reader(volume, identity, bad, deadline, clock)
    except RescueError as error:
        note = f"Its files cannot be listed: {error.message}"
        return Owned(notes=(note,))


_Reader = Callable[[LenientSource, Identity, ExtentMap, float, Callable[[], float]], Owned]
_WALKED: Final = ("ext2", "ext3", "ext4", "ext4dev", "xfs", "ntfs", "vfat", "exfat")
_READERS: Final[Mapping[str, _Reader]] = {
    **dict.fromkeys(_WALKED, owners_walk.walk_files),
    "btrfs": btrfs_owners.walk_files,
}
