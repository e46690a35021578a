"""What a queue of operations has come to so far: steps, the table, and what is in the partitions."""

from __future__ import annotations

from typing import Protocol

import msgspec

from rescue.model.edit import EditStep, SetTable
from rescue.model.extents import Extent
from rescue.model.layout import Layout, Partition
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Volume
from rescue.planning.words import partition_words
from rescue.units import human_size


class Looks(Protocol):
    """Looks at what a disk holds, where its survey does not tell."""

    def volume(self, partition: Partition) -> Volume | None:
        """What is in the bytes of a partition that the disk's table does not have; None where nobody can look."""

    def filled(self, volume: Volume) -> int:
        """The bytes that the file system in a volume of the disk takes by its own account; 0 where it does not tell."""

    def is_blank(self, place: Extent) -> bool:
        """Whether the disk has zeros there."""


class NoLooks:
    """Where nobody can look."""

    def volume(self, partition: Partition) -> Volume | None:
        """Nobody knows."""
        del partition
        return None

    def filled(self, volume: Volume) -> int:
        """Nobody knows."""
        del volume
        return 0

    def is_blank(self, place: Extent) -> bool:
        """Nobody knows better."""
        del place
        return True


NO_LOOKS: Looks = NoLooks()


class Draft(msgspec.Struct):
    """The steps so far. ``written`` is the table that the disk has by then, ``layout`` the one that it is to have."""

    disk: str
    layout: Layout
    written: Layout
    contents: dict[int, Volume]  # by start
    looks: Looks = NO_LOOKS
    steps: list[EditStep] = msgspec.field(default_factory=list)
    tables: list[Layout] = msgspec.field(default_factory=list)
    sentences: list[str] = msgspec.field(default_factory=list)
    losses: list[str] = msgspec.field(default_factory=list)
    warnings: list[str] = msgspec.field(default_factory=list)
    changed: list[Extent] = msgspec.field(default_factory=list)
    bytes: int = 0
    replaced: bool = False  # a person asked for another table
    added: list[int] = msgspec.field(default_factory=list)  # starts of what is on the disk already, and which nobody looked at
    surveyed: list[Volume] = msgspec.field(default_factory=list)  # what is on the disk, where it is

    @staticmethod
    def of(target: DiskSurvey, looks: Looks = NO_LOOKS) -> Draft:
        """Nothing is done yet."""
        contents = {volume.start: volume for volume in target.volumes}
        return Draft(target.disk.path, target.layout, target.layout, contents, looks, surveyed=list(target.volumes))

    def add(self, partition: Partition) -> None:
        """A partition of the layout is around what is on the disk already."""
        volume = self.looks.volume(partition)
        if volume is None:
            self.added.append(partition.start)
        else:
            self.contents[partition.start] = volume
            self.surveyed.append(volume)

    def filled(self, volume: Volume | None) -> int:
        """The bytes that the file system in a volume takes; 0 where that is not known, or changed by an operation."""
        return self.looks.filled(volume) if volume and any(volume is one for one in self.surveyed) else 0

    def will_be_blank(self, place: Extent) -> bool:
        """Whether there are zeros, and nothing in the queue so far writes there."""
        return not any(place.start < e.end and e.start < place.end for e in self.changed) and self.looks.is_blank(place)

    def forget(self, start: int, end: int) -> None:
        """What lies in these bytes, or partly, is no content any more."""
        self.contents = {place: v for place, v in self.contents.items() if v.end <= start or v.start >= end}

    def flush(self) -> None:
        """Write the table that operations were made on so far."""
        if self.layout != self.written:
            title = f"Write the partition table of {self.disk}"
            self.steps.append(SetTable(title=title, target=self.disk, before=self.written, after=self.layout))
            self.tables.append(self.layout)
            self.written = self.layout


def is_new(partition: Partition, before: Layout) -> bool:
    return all((p.start, p.end, p.kind) != (partition.start, partition.end, partition.kind) for p in before.partitions)


def what_of(draft: Draft, partition: Partition) -> str:
    volume = draft.contents.get(partition.start) if partition.kind != "extended" else None
    return partition_words(partition, volume)


def place_words(partition: Partition) -> str:
    return f"{human_size(partition.size)} at {human_size(partition.start)}"
