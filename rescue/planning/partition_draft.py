"""What a queue of operations has come to so far: steps, the table, and what is in the partitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rescue.model.edit import EditStep, SetTable
from rescue.model.extents import Extent
from rescue.model.layout import Layout, Partition
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Volume
from rescue.planning.words import partition_words
from rescue.units import human_size


@dataclass(slots=True)
class Draft:
    """The steps so far. ``written`` is the table that the disk has by then, ``layout`` the one that it is to have."""

    disk: str
    layout: Layout
    written: Layout
    contents: dict[int, Volume]  # by start
    steps: list[EditStep] = field(default_factory=list)
    tables: list[Layout] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changed: list[Extent] = field(default_factory=list)
    bytes: int = 0
    added: list[int] = field(default_factory=list)  # starts of what is on the disk already, and which nobody looked at
    is_blank: Callable[[Extent], bool] = lambda _: True  # whether the disk has zeros there

    @staticmethod
    def of(target: DiskSurvey) -> Draft:
        """Nothing is done yet."""
        contents = {volume.start: volume for volume in target.volumes}
        return Draft(target.disk.path, target.layout, target.layout, contents)

    def will_be_blank(self, place: Extent) -> bool:
        """Whether there are zeros, and nothing in the queue so far writes there."""
        return not any(place.start < e.end and e.start < place.end for e in self.changed) and self.is_blank(place)

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
