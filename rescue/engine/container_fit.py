"""How what is in a container bears another size: which file systems in it can be made smaller or larger, and by how much."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from rescue.engine.minimum import minimum_size
from rescue.engine.overlay import MEMORY, SourceBlocks
from rescue.engine.shrink import SHRINKABLE
from rescue.errors import FormatError, SourceReadError, UnsupportedError
from rescue.model.container import Bears, Way
from rescue.volumes.lvm_own import own_group
from rescue.volumes.stack import CONTAINERS, LUKS, LVM, Stacked

GROWABLE: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs"})
ANEW: Final = frozenset({"xfs"})
_NO_ROOT: Final = "File systems in it are given another size as root only."


def bears(volume: Stacked, *, smaller: bool, anew: frozenset[str] = ANEW, folder: Path = MEMORY, way: Way = ()) -> Bears:
    """What a volume, opened as far as it can be, bears. How small it can get is found out with ``smaller`` only.

    ``anew``: the file systems that this system can make anew. ``folder`` takes overlays. Raises RescueError for what is wrong
    with this program's surroundings.
    """
    size, kind = volume.source.size, volume.identity.type
    if os.geteuid() != 0:
        return Bears(way, kind, size, size, because=_NO_ROOT)
    if kind not in CONTAINERS and not volume.inside:
        return _file_system(volume, smaller, anew, folder, way)
    try:
        if kind == LUKS and volume.inside:
            return _luks(volume, way, bears(volume.inside[0], smaller=smaller, anew=anew, folder=folder, way=(*way, "")))
        if kind == LVM:
            return _lvm(volume, smaller, anew, folder, way)
        why = volume.whole_because or "What it holds is not laid out anew by this program."
    except (UnsupportedError, FormatError, SourceReadError) as error:
        why = error.message
    return Bears(way, kind, size, size, because=why)


def _file_system(volume: Stacked, smaller: bool, anew: frozenset[str], folder: Path, way: Way) -> Bears:
    size, identity = volume.source.size, volume.identity
    if volume.whole_because:
        return Bears(way, identity.type, size, size)
    least, is_anew = size, identity.type in anew
    if smaller and (identity.type in SHRINKABLE or is_anew):
        least = minimum_size(SourceBlocks(volume.source), 0, size, identity, folder=folder).bytes
    return Bears(way, identity.type, size, least, can_grow=identity.type in GROWABLE, anew=is_anew)


def _luks(volume: Stacked, way: Way, inner: Bears) -> Bears:
    header = volume.luks
    if header is None or header.is_fixed:
        raise UnsupportedError("Its header says how long its content is.")
    return Bears(
        way, LUKS, volume.source.size, volume.source.size, overhead=header.start, grain=header.sector_size, inside=(inner,)
    )


def _lvm(volume: Stacked, smaller: bool, anew: frozenset[str], folder: Path, way: Way) -> Bears:
    own = own_group(volume.source)
    by_name = {inner.name: inner for inner in volume.inside}
    names = [f"{own.group.name}/{name}" for name in own.order]
    if set(names) != set(by_name) or any(inner.source.size % own.extent_size for inner in volume.inside):
        raise UnsupportedError("Not all of its volumes could be opened.")
    inside = [bears(by_name[name], smaller=smaller, anew=anew, folder=folder, way=(*way, name)) for name in names]
    size = volume.source.size
    return Bears(way, LVM, size, size, overhead=own.start, grain=own.extent_size, inside=tuple(inside))
