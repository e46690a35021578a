"""The steps of a clone: a disk is copied onto another, without an image between them."""

from __future__ import annotations

import msgspec

from rescue.model.disk import Disk


class Placed(msgspec.Struct, frozen=True):
    """Where a volume of the source (the bytes ``[start, end)``, partition 0 for a disk without) goes on the target."""

    partition: int
    start: int
    end: int
    target_start: int


class CloneDisk(msgspec.Struct, frozen=True, tag="clone-disk"):
    """Copy what is in use of the source: everything but its head and partition tables. Writes nothing to the source.

    With ``delta`` only what differs; None: when a sample shows that the target holds some of it.
    """

    title: str
    source: Disk
    target: str
    volumes: tuple[Placed, ...]
    delta: bool | None = None


class CloneTable(msgspec.Struct, frozen=True, tag="clone-table"):
    """Write the head of the disk and the partition tables (the backup GPT at the target's own end), last."""

    title: str
    source: str
    target: str


class CloneReadBack(msgspec.Struct, frozen=True, tag="clone-read-back"):
    """Read from the medium what was written and compare it with the hashes of what was read from the source."""

    title: str
    target: str
