"""A volume that programs may write to, over a throw-away overlay: what lies below, an image or a disk, is never written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from rescue.engine.exports import Export, exported
from rescue.errors import RefusedError, RescueError
from rescue.images.format import RowKind
from rescue.images.nbd.changed import GRAIN, Changed
from rescue.images.nbd.session import Blocks
from rescue.images.view import Held
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.units import KIB, MIB, align_down, align_up, human_size

MEMORY: Final = Path("/dev/shm")
_MEMORY_LEFT: Final = 256 * MIB  # for the programs that work on it
_FIXED: Final = 16 * MIB


class SourceBlocks:
    """Any Source, a disk for one, as something that can be exported."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def size(self) -> int:
        """Bytes."""
        return self._source.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        return self._source.pread(length, offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        self._source.pread_into(buffer, offset)

    def extents(self, start: int = 0, end: int | None = None) -> Iterator[Held]:
        """One extent of data: nobody knows better."""
        yield Held(start, self.size if end is None else end, RowKind.DATA)


class Overlay(msgspec.Struct, frozen=True):
    """A volume at ``path``: a block device, without root a file. It is writable, and forgotten at the end.

    ``source`` is the same without a way through the kernel: a copy of it is read at the speed of what lies below. It shows
    what was written to ``path`` when that was settled.
    """

    path: str
    source: Changed
    folder: Path
    _export: Export

    def settle(self) -> None:
        """Write out what the kernel has in memory of it: then nothing of it can be lost for want of room. Raises RescueError.

        The kernel tells one program of an error, and goes on with what was lost in memory only: that counts as well.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            raise self.explain(RescueError(f"What was changed on the way could not be kept: {error.strerror}.")) from error
        finally:
            os.close(fd)
        try:
            self.source.flush()
            if self.source.lost is not None:
                raise self.source.lost
        except RescueError as error:
            raise self.explain(error) from error

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Raise what goes wrong in the context as :meth:`explain` has it."""
        try:
            yield
        except RescueError as error:
            raised = self.explain(error)
            if raised is error:
                raise
            raise raised from error

    def explain(self, error: RescueError) -> RescueError:
        """The same error, with what was behind it: what is below cannot be read, or the overlay is full."""
        if self.source.is_full:
            return RefusedError(
                f"{where(self.folder)} has no room left for what is moved while the volume is made smaller.",
                "Name a folder on a disk with more free space. Nothing was changed.",
            )
        return self.source.unread or self._export.error or self.source.lost or error


def where(folder: Path) -> str:
    """A folder as people call it."""
    return "The memory" if folder == MEMORY else str(folder)


@contextmanager
def volume_overlay(blocks: Blocks, start: int, end: int, *, folder: Path = MEMORY) -> Iterator[Overlay]:
    """The bytes ``[start, end)`` (multiples of 512) of a disk as a volume that may be written to.

    What is written goes to ``folder``. Raises ProgramError, RescueError.
    """
    with ExitStack() as stack:
        export = stack.enter_context(exported(blocks))
        layer = stack.enter_context(export.overlay(start, end, folder=folder))
        yield Overlay(stack.enter_context(export.as_volume(layer)), layer.blocks, folder, export)


def room(folder: Path) -> int:
    """Bytes that an overlay in ``folder`` can have. Raises RescueError."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise RescueError(f"{folder} cannot be used: {error.strerror}.", "Name another folder.") from error
    free = found.f_bavail * found.f_frsize
    if folder != MEMORY:
        return free
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return max(min(free, int(line.split()[1]) * KIB - _MEMORY_LEFT), 0)
    return free


def overlay_estimate(used: ExtentMap, new_size: int) -> int:
    """Bytes that an overlay takes while a volume with these used bytes is shrunk to ``new_size``.

    What lies behind the new end moves into the free places in front of it, and each of them takes whole grains of the
    overlay; the trees that point to what moved are written as well.
    """
    left = sum(extent.length for extent in used.overlapping(new_size, max(used.end, new_size)))
    taken = 0
    last = -1  # end of the last overlay block that is counted
    for start, end in used.clip(0, new_size).complement(new_size):
        if left <= 0:
            break
        end = min(end, start + left)
        left -= end - start
        low, high = max(align_down(start, GRAIN), last), align_up(end, GRAIN)
        taken += max(high - low, 0)
        last = max(high, last)
    return taken + max(left, 0) + used.total // 50 + _FIXED


def require_room(used: ExtentMap, new_size: int, folder: Path) -> int:
    """The estimate for an overlay in ``folder``. Raises RefusedError with both numbers when it has no room for that."""
    needed = overlay_estimate(used, new_size)
    require_free(needed, folder)
    return needed


def require_free(needed: int, folder: Path) -> None:
    """Raise RefusedError with both numbers when an overlay in ``folder`` cannot have ``needed`` bytes."""
    free = room(folder)
    if needed > free:
        raise RefusedError(
            f"Giving it another size takes about {human_size(needed)} for a time; {where(folder)} has {human_size(free)} free.",
            "Name a folder on a disk with more free space.",
        )
