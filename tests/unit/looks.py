"""What is on a disk beside what its survey tells, as tests have it."""

from __future__ import annotations

from rescue.model.layout import Partition
from rescue.model.volume import Identity, Volume


class RecordedLooks:
    """In every partition that comes back is an ext4; of all that is known, ``taken`` bytes are taken."""

    def __init__(self, taken: int = 0, kind: str = "ext4") -> None:
        self._taken = taken
        self._kind = kind

    def volume(self, partition: Partition) -> Volume | None:
        """See Looks."""
        identity = Identity(self._kind, "filesystem", label=f"at {partition.start}")
        return Volume(partition.number, partition.start, partition.end, identity, 0)

    def filled(self, volume: Volume) -> int:
        """See Looks."""
        return min(self._taken, volume.size)
