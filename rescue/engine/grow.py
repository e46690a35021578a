"""A volume that was put into a larger partition fills it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rescue.engine.grow_container import GROWN, grow_container
from rescue.engine.resizing import (
    EXT,
    Check,
    flush,
    grow_btrfs,
    grow_xfs,
    nothing,
    require_sound,
    resize_ext,
    resize_ntfs,
    resize_swap,
    settle_ext,
    work,
)
from rescue.errors import DamagedError, UnsupportedError, UsageError
from rescue.filesystems.ext_superblock import read_superblock
from rescue.filesystems.maps import used_map
from rescue.model.source import SliceSource
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device
from rescue.units import human_size


def grow(path: str, start: int, end: int, identity: Identity, *, check: Check = nothing, in_place: bool = False) -> str:
    """Make the file system at the start of the bytes ``[start, end)`` (multiples of 512) of a disk or file fill them.

    Gives a sentence for the journal, also when it stays as it is because no tool can do that. ``check`` is called often, and
    what it raises ends the work; with ``in_place``, as there is no other copy, not what has begun to write. Needs root. Raises
    UsageError, FormatError, DamagedError when its own check finds it damaged before or after, UnsupportedError when this system
    has no driver for it, ProgramError when a tool fails.
    """
    if start % 512 or end % 512 or end <= start:
        raise UsageError(f"{start} to {end} are no bytes that a partition can have.")
    if identity.type in GROWN:
        with loop_device(path, offset=start, size=end - start, writable=True) as node:
            said = grow_container(node, identity.type, end - start)
            flush(node)
        flush(path)
        return said
    if identity.type not in _GROWERS:
        what = identity.type or "What is on it"
        return f"{what} stays as it is: no program makes it larger in place. The rest of its partition is not used."
    if identity.type in EXT and _has_clusters(path, start, end):
        return f"{identity.type} stays as it is: resize2fs does not make one with clusters (bigalloc) larger."
    with loop_device(path, offset=start, size=end - start, writable=True) as node:
        grow_node(node, identity, end - start, check, in_place=in_place)
    flush(path)
    return f"{identity.type} fills its partition of {human_size(end - start)}."


def _has_clusters(path: str, start: int, end: int) -> bool:
    with FileSource(path) as disk:
        return read_superblock(SliceSource(disk, start, end)).cluster_blocks > 1


def grow_node(node: str, identity: Identity, size: int, check: Check, *, in_place: bool = False) -> None:
    """The same of a device of ``size`` bytes that holds nothing else. Raises as :func:`grow`; UnsupportedError: no tool."""
    how = _GROWERS.get(identity.type)
    if how is None:
        raise UnsupportedError(f"No program makes {identity.type or 'unknown content'} larger in place.")
    how(node, identity, size, check, in_place)
    flush(node)


def _ext(node: str, identity: Identity, size: int, check: Check, in_place: bool) -> None:
    del size
    settle_ext(node, check)
    resize_ext(node, None, check, in_place=in_place)
    require_sound(identity, node)


def _ntfs(node: str, identity: Identity, size: int, check: Check, in_place: bool) -> None:
    del size
    # ntfsfix misses the backup boot sector at the end of a larger partition; ntfsresize checks all else before it begins.
    with FileSource(node) as volume:
        unclean = used_map(volume, identity, path=node, offset=0).whole_because
    if unclean:
        raise DamagedError(f"The ntfs volume stays as it is. {unclean}", "Start Windows, shut it down completely, and try again.")
    resize_ntfs(node, None, check, in_place=in_place)
    require_sound(identity, node)


def _xfs(node: str, identity: Identity, size: int, check: Check, in_place: bool) -> None:
    del size, in_place  # the kernel does it, whole or not at all
    grow_xfs(node, check)
    require_sound(identity, node)


def _btrfs(node: str, identity: Identity, size: int, check: Check, in_place: bool) -> None:
    del size, in_place
    grow_btrfs(node, check)
    require_sound(identity, node)


def _f2fs(node: str, identity: Identity, size: int, check: Check, in_place: bool) -> None:
    del size
    require_sound(identity, node)
    work(["resize.f2fs", node], nothing if in_place else check)
    require_sound(identity, node)


def _swap(node: str, identity: Identity, size: int, check: Check, in_place: bool) -> None:
    del identity, check, in_place
    resize_swap(node, size)


_GROWERS: Final[dict[str, Callable[[str, Identity, int, Check, bool], None]]] = {
    **dict.fromkeys(EXT, _ext),
    "ntfs": _ntfs,
    "xfs": _xfs,
    "btrfs": _btrfs,
    "f2fs": _f2fs,
    "swap": _swap,
}
