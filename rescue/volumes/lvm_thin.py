"""The thin volumes of a volume group, and their pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from rescue.errors import FormatError, UnsupportedError
from rescue.model.extents import ExtentMap
from rescue.volumes.lvm_group import Group, LogicalVolume, Segment
from rescue.volumes.overlaid import Overlaid
from rescue.volumes.placed import Placed, joined
from rescue.volumes.runs import Runs
from rescue.volumes.thin_metadata import ThinPool, read_thin_pool

POOL: Final = "thin-pool"
VOLUME: Final = "thin"
_CHANGING: Final = "It is in a thin pool that is in the middle of a change, or needs a repair (lvconvert --repair)."

Compose = Callable[[str], tuple[Placed, set[str]]]  # a volume by its name, and those whose extents it takes


class Pool(msgspec.Struct, frozen=True):
    """A pool that was read. ``mapped`` are the volumes whose extents its ``data`` take."""

    thin: ThinPool
    data: Placed
    mapped: set[str]


class Pools:
    """The pools of one group. ``compose`` puts the volumes together that they are made of; it raises UnsupportedError."""

    def __init__(self, group: Group, compose: Compose) -> None:
        self._group = group
        self._compose = compose
        self._known: dict[str, Pool | UnsupportedError | FormatError] = {}
        self._told: dict[str, set[int]] = {}  # by pool the numbers of volumes whose use is known

    def pool(self, name: str) -> Pool:
        """A pool by its name. Raises UnsupportedError, FormatError, SourceReadError."""
        found = self._known.get(name)
        if found is None:
            try:
                found = self._read(name)
            except (UnsupportedError, FormatError) as error:
                found = error
            self._known[name] = found
        if not isinstance(found, Pool):
            raise found
        return found

    def volume(self, volume: LogicalVolume) -> Placed:
        """A thin volume. Raises as :meth:`pool`."""
        segment = _only_segment(volume)
        pool, number = segment.said.get("thin_pool"), segment.said.get("device_id")
        if "external_origin" in segment.said:
            raise UnsupportedError("It is a thin volume whose origin is outside of its pool.")
        if not isinstance(pool, str) or not isinstance(number, int):
            raise FormatError(f"LVM metadata: {volume.name} does not say in which pool it is.")
        read = self.pool(pool)
        runs = read.thin.volumes.get(number, Runs(read.thin.block, ()))
        return Overlaid(segment.extents * self._group.extent_size, runs, read.data, None)

    def tell(self, volume: LogicalVolume) -> None:
        """What is used of a thin volume will be told by what is in it."""
        said = _only_segment(volume).said
        self._told.setdefault(str(said.get("thin_pool")), set()).add(int(str(said.get("device_id"))))

    def others(self, name: str) -> ExtentMap:
        """The bytes of a pool's data that volumes take of which nothing was told. Raises as :meth:`pool`."""
        told = self._told.get(name, set())
        return joined(runs.targets() for number, runs in self.pool(name).thin.volumes.items() if number not in told)

    def _read(self, name: str) -> Pool:
        volume = self._group.volumes.get(name)
        if volume is None:
            raise FormatError(f"LVM metadata: there is no pool {name}.")
        segment = _only_segment(volume)
        meta, data = segment.said.get("metadata"), segment.said.get("pool")
        if not isinstance(meta, str) or not isinstance(data, str) or segment.type != POOL:
            raise FormatError(f"LVM metadata: {name} is no thin pool.")
        source, _ = self._compose(meta)
        content, mapped = self._compose(data)
        thin = read_thin_pool(source)
        # Messages in braces are changes that the kernel was to make.
        waiting = any(isinstance(value, dict) for value in segment.said.values())
        if waiting or thin.transaction != segment.said.get("transaction_id"):
            raise UnsupportedError(_CHANGING)
        if any(runs.highest > content.size for runs in thin.volumes.values()):
            raise FormatError("metadata of a thin pool: it tells of blocks behind the end of the pool.")
        return Pool(thin, content, mapped)


def _only_segment(volume: LogicalVolume) -> Segment:
    if len(volume.segments) != 1:
        raise FormatError(f"LVM metadata: {volume.name} has {len(volume.segments)} segments.")
    return volume.segments[0]
