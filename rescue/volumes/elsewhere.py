"""What is on other disks than the one that is looked at: read to understand this one, and no part of what is kept of it."""

from __future__ import annotations

from typing import Final

from rescue.filesystems.btrfs import MANY_DEVICES
from rescue.model.extents import ExtentMap
from rescue.model.nested import whole_parts
from rescue.model.source import Source, check_range
from rescue.model.volume import Volume

MISSING: Final = "The rest of it is on other disks, which are not here."


def needs_others(volume: Volume) -> bool:
    """Whether other disks would tell what is used of a volume that is kept whole."""
    return any(part.because.endswith((MISSING, MANY_DEVICES)) for part in whole_parts(volume))


class Elsewhere:
    """A part of another disk. None of its bytes is on this one."""

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

    def down(self, used: ExtentMap) -> ExtentMap:
        """See Placed: nothing."""
        check_range(self.size, 0, used.end)
        return ExtentMap()
