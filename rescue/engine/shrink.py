"""A volume made smaller on its way, over a throw-away overlay, by its own tool. What it comes from is never written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rescue.engine.minimum import require_clean, tool_minimum
from rescue.engine.overlay import MEMORY, Overlay, require_room, volume_overlay
from rescue.engine.resizing import (
    EXT,
    Check,
    nothing,
    require_sound,
    resize_ext,
    resize_ntfs,
    resize_swap,
    settle_ext,
    shrink_btrfs,
)
from rescue.errors import DamagedError, ProgramError, RefusedError, UnsupportedError, UsageError
from rescue.filesystems.maps import used_map
from rescue.images.nbd.session import Blocks
from rescue.model.extents import ExtentMap
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Identity, UsedMap
from rescue.units import KIB, align_down, human_size

SHRINKABLE = frozenset({*EXT, "ntfs", "btrfs", "swap"})
# Every size of a block or cluster that the tools round down to.
_UNIT = 64 * KIB


class NotSmallerError(ProgramError):
    """The file system's own tool did not make it as small as it should be."""


class Shrunk(msgspec.Struct, frozen=True):
    """A volume that was made smaller: ``source`` has exactly the wanted size, ``used`` is what of it must be copied.

    ``path`` is the device that it is on, larger than the volume. ``said`` is a sentence for the journal.
    """

    source: Source
    used: ExtentMap
    path: str
    said: str


@contextmanager
def shrunk(
    blocks: Blocks,
    start: int,
    end: int,
    identity: Identity,
    new_size: int,
    *,
    folder: Path = MEMORY,
    check: Check = nothing,
) -> Iterator[Shrunk]:
    """The volume ``[start, end)`` of a disk or image made ``new_size`` bytes large, as long as the context lasts.

    What moves is kept in ``folder`` and forgotten at the end. ``check`` is called often, and what it raises ends the work.
    Raises before any work UsageError, UnsupportedError for a file system that cannot shrink, RefusedError when it does not
    fit or ``folder`` has no room; DamagedError when it is damaged; ProgramError when a tool fails. Needs root.
    """
    size = end - start
    if identity.type not in SHRINKABLE:
        raise UnsupportedError(f"No program makes {identity.type or 'unknown content'} smaller.")
    if not 0 < new_size <= size or new_size % 512:
        raise UsageError(f"A volume of {size} bytes cannot be made {new_size} bytes large.")
    with volume_overlay(blocks, start, end, folder=folder) as overlay:
        with overlay.explaining():
            _prepare(overlay, identity, new_size, check)
            _shrink(overlay, identity, align_down(new_size, _UNIT), check)
            try:
                require_swap_or_sound(identity, overlay.path)
            except DamagedError as error:
                # It was sound before.
                raise _not_in_order(identity, error.message) from error
            overlay.settle()
            volume = SliceSource(overlay.source, 0, new_size)
            used = used_map(volume, identity, path=overlay.path, offset=0)
            if used.whole_because:
                raise _not_in_order(identity, used.whole_because)
        said = f"{identity.type} made smaller from {human_size(size)} to {human_size(new_size)}."
        yield Shrunk(volume, used.extents, overlay.path, said)


def _not_in_order(identity: Identity, why: str) -> NotSmallerError:
    return NotSmallerError(
        f"The copy of the {identity.type} file system is not in order after its own program made it smaller. {why.rstrip('.')}.",
        "Nothing was written, and the original is not changed. Keep its size.",
    )


def require_swap_or_sound(identity: Identity, path: str) -> None:
    """The file system's own check, where it has one. Raises DamagedError, ProgramError."""
    if identity.type != "swap":
        require_sound(identity, path)


def _prepare(overlay: Overlay, identity: Identity, new_size: int, check: Check) -> None:
    """Refuse what is damaged, too large or would take too much room. A journal is replayed, over the overlay."""
    if identity.type in EXT:
        settle_ext(overlay.path, check)
        overlay.settle()
    used = _clean_map(overlay, identity)
    if identity.type == "swap":
        return
    if identity.type not in EXT:
        require_sound(identity, overlay.path)
    least = min(tool_minimum(identity, overlay.path), overlay.source.size)
    if new_size < least:
        raise RefusedError(
            f"The {identity.type} file system cannot be made smaller than {least} bytes ({human_size(least)}); "
            f"{new_size} bytes ({human_size(new_size)}) were asked for.",
            "Give it more room.",
        )
    require_room(used.extents, new_size, overlay.folder)


def _clean_map(overlay: Overlay, identity: Identity) -> UsedMap:
    used = used_map(overlay.source, identity, path=overlay.path, offset=0)
    try:
        require_clean(used)
    except DamagedError as error:
        hint = "Start the system that it belongs to, shut it down completely, and try again."
        raise DamagedError(f"The {identity.type} volume cannot be made smaller. {error.message}", hint) from error
    return used


def _shrink(overlay: Overlay, identity: Identity, size: int, check: Check) -> None:
    path = overlay.path
    match identity.type:
        case "btrfs":
            shrink_btrfs(path, size, check, overlay.folder)
        case "swap":
            resize_swap(path, size)
        case _:
            try:
                (resize_ntfs if identity.type == "ntfs" else resize_ext)(path, size, check)
            except ProgramError as error:
                hint = f"Nothing was written. Give it more room. {error.hint}"
                said = f"The {identity.type} file system did not get as small as {size} bytes. {error.message.rstrip('.')}."
                raise NotSmallerError(said, hint) from error
