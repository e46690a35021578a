"""The file systems in an image, also those inside of containers: what the proof by mounting is to open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from rescue.engine.checkers import CHECKED
from rescue.engine.containers import stacks
from rescue.engine.overlay import SourceBlocks
from rescue.errors import FormatError, SourceReadError
from rescue.filesystems.btrfs_devices import device_count
from rescue.images.nbd.session import Blocks
from rescue.images.view import ImageView
from rescue.model.extents import ExtentMap
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Identity, Nested, Volume
from rescue.volumes.elsewhere import MISSING
from rescue.volumes.stack import Stacked

_SPREAD: Final = "What is on several disks or devices in it was not checked: that takes all of them."

Way: TypeAlias = tuple[str, ...]  # from a partition down: the names of the volumes in each other


class Opened(msgspec.Struct, frozen=True):
    """A volume in a disk or an image: ``[start, end)`` of what can be exported."""

    blocks: Blocks
    start: int
    end: int


class ToProve(msgspec.Struct, frozen=True):
    """A file system. ``used_bytes`` are those that were backed up, None when the image was made without looking into it."""

    volume: Volume  # the partition that it is in
    way: Way
    identity: Identity
    whole_because: str
    used_bytes: int | None
    opened: Opened
    stacked: Stacked | None = None
    keys: Mapping[str, bytes] | None = None

    @property
    def partition(self) -> int:
        """Its number."""
        return self.volume.partition

    @property
    def name(self) -> str:
        """How it is named to people."""
        first = f"Partition {self.partition}" if self.partition else "The file system"
        return ", ".join((first, *(name for name in self.way if name)))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.opened.end - self.opened.start

    @property
    def source(self) -> Source:
        """Its bytes."""
        return self.stacked.source if self.stacked else SliceSource(self.opened.blocks, self.volume.start, self.volume.end)

    def down(self, used: ExtentMap) -> ExtentMap:
        """The bytes of the disk that bytes of it are."""
        return self.stacked.source.down(used) if self.stacked else used.shift(self.volume.start)

    def on(self, disk: Source, volumes: Sequence[Volume]) -> Opened | None:
        """The same on the disk that was imaged; None when it is not there any more. Raises ProgramError."""
        if self.stacked is None:
            return Opened(SourceBlocks(disk), self.volume.start, self.volume.end)
        found = stacks(disk, volumes, self.keys or {}).get(self.partition)
        same = dict(_ways(found)).get(self.way) if found else None
        return Opened(SourceBlocks(same.source), 0, same.source.size) if same else None


def file_systems(
    view: ImageView, volumes: Sequence[Volume], keys: Mapping[str, bytes]
) -> tuple[list[ToProve], list[tuple[str, str]]]:
    """All that can be checked, in order of the disk; and what cannot: names of partitions, and why. Raises ProgramError."""
    found: list[ToProve] = []
    locked: list[tuple[str, str]] = []
    opened = stacks(view, volumes, keys)
    for volume in volumes:
        name = f"Partition {volume.partition}" if volume.partition else "The disk"
        if volume.identity.type in CHECKED:
            if _is_spread(volume.identity, SliceSource(view, volume.start, volume.end)):
                locked.append((name, _SPREAD))
                continue
            place = Opened(view, volume.start, volume.end)
            found.append(ToProve(volume, (), volume.identity, volume.whole_because, volume.used_bytes, place))
        elif stack := opened.get(volume.partition):
            found += _inside(volume, stack, keys)
            if any(inner.whole_because.endswith(MISSING) or _is_spread(inner.identity, inner.source) for inner in stack.walk()):
                locked.append((name, _SPREAD))
            if any(inner.is_locked for inner in stack.walk()):
                locked.append((name, "What is encrypted in it was not checked: its passphrase was not given."))
    return found, locked


def _is_spread(identity: Identity, source: Source) -> bool:
    """Whether it is a part of a file system on several devices, which no tool opens alone."""
    if identity.type != "btrfs":
        return False
    try:
        return device_count(source) > 1
    except (FormatError, SourceReadError):
        return False  # the check will say so


def _inside(volume: Volume, stack: Stacked, keys: Mapping[str, bytes]) -> Iterator[ToProve]:
    told = dict(_told(volume.inside, ()))
    for way, inner in _ways(stack):
        if inner.identity.type not in CHECKED or not way or _is_spread(inner.identity, inner.source):
            continue
        nested = told.get(way)
        place = Opened(SourceBlocks(inner.source), 0, inner.source.size)
        # Nothing is told of what was locked when the image was made: it was kept whole.
        because = nested.whole_because if nested else "It was kept whole."
        used = nested.used_bytes if nested and nested.identity.type == inner.identity.type else None
        yield ToProve(volume, way, inner.identity, because, used, place, inner, keys)


def _ways(stack: Stacked, above: Way = ()) -> Iterator[tuple[Way, Stacked]]:
    yield above, stack
    for inner in stack.inside:
        yield from _ways(inner, (*above, inner.name))


def _told(inside: Sequence[Nested], above: Way) -> Iterator[tuple[Way, Nested]]:
    for nested in inside:
        way = (*above, nested.name)
        yield way, nested
        yield from _told(nested.inside, way)
