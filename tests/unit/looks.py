"""What is on a disk beside what its survey tells, as tests have it."""

from __future__ import annotations

from collections.abc import Callable

from rescue.model.extents import Extent
from rescue.model.layout import Partition
from rescue.model.volume import Identity, Volume


class RecordedLooks:
    """In every partition that comes back is an ext4; of what is known, ``taken`` bytes are taken. ``blank``: where zeros are."""

    def __init__(self, taken: int = 0, blank: Callable[[Extent], bool] = lambda _: True) -> None:
        self._taken = taken
        self.is_blank = blank

    def volume(self, partition: Partition) -> Volume | None:
        """See Looks."""
        identity = Identity("ext4", "filesystem", label=f"at {partition.start}")
        return Volume(partition.number, partition.start, partition.end, identity, 0)

    def filled(self, volume: Volume) -> int:
        """See Looks."""
        return min(self._taken, volume.size)
