"""A volume made larger on its way, over a throw-away overlay, by its own tool. What it comes from is never written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rescue.engine.grow import grow_node
from rescue.engine.overlay import MEMORY, SourceBlocks, require_free, volume_overlay
from rescue.engine.resizing import EXT, Check, nothing
from rescue.engine.shrink import Shrunk
from rescue.errors import ProgramError
from rescue.filesystems.ext_superblock import SUPERBLOCK_OFFSET
from rescue.filesystems.ext_superblock import read_superblock as read_ext
from rescue.filesystems.fields import Fields
from rescue.filesystems.maps import used_map
from rescue.model.source import Source
from rescue.model.volume import Identity
from rescue.units import MIB, human_size
from rescue.volumes.composed import Composed

_FIXED: Final = 32 * MIB
_LAZY: Final = 0x10 | 0x400  # uninit_bg, metadata_csum: inode tables of new groups need not be written


@contextmanager
def grown(
    volume: Source, identity: Identity, new_size: int, *, folder: Path = MEMORY, check: Check = nothing
) -> Iterator[Shrunk]:
    """``volume`` made ``new_size`` bytes (a multiple of 512) large, as long as the context lasts.

    What its tool writes is kept in ``folder``. ``check`` is called often, and what it raises ends the work. Raises DamagedError
    when it is damaged, RefusedError when ``folder`` has no room, UnsupportedError, ProgramError. Needs root.
    """
    require_free(_needed(volume, identity, new_size), folder)
    blocks = SourceBlocks(Composed(new_size, [(0, volume)]))
    with volume_overlay(blocks, 0, new_size, folder=folder) as overlay:
        with overlay.explaining():
            grow_node(overlay.path, identity, new_size, check)
            overlay.settle()
            used = used_map(overlay.source, identity, path=overlay.path, offset=0)
            if used.whole_because:
                raise ProgramError(f"The file system was made larger, and is not in order: {used.whole_because}")
        said = f"{identity.type} made larger from {human_size(volume.size)} to {human_size(new_size)}."
        yield Shrunk(overlay.source, used.extents, overlay.path, said)


def _needed(volume: Source, identity: Identity, new_size: int) -> int:
    """Bytes that an overlay takes, about: what is written is a part of the new room, of an old ext also its inode tables."""
    added = new_size - volume.size
    if identity.type not in EXT:
        return _FIXED + added // 2048
    known = read_ext(volume)
    if known.ro_compat & _LAZY:
        return _FIXED + added // 1024
    inodes = Fields(volume.pread(1024, SUPERBLOCK_OFFSET), "ext superblock").u32(0) * known.inode_size
    return _FIXED + added // 1024 + added * inodes // max(volume.size, 1)
