"""The steps of a restore or clone that changes the sizes and places of partitions."""

from __future__ import annotations

from typing import Literal

import msgspec

from rescue.model.disk import Disk
from rescue.model.layout import Layout

FitHow = Literal["copy", "shrink", "refill", "rebuild"]


class FittedInner(msgspec.Struct, frozen=True):
    """A volume in a container, by its way down from the partition, and the bytes that it gets. ``old`` are those that it has."""

    way: tuple[str, ...]
    filesystem: str
    old: int
    size: int
    anew: bool = False  # smaller by being made anew and filled by its files


class FittedVolume(msgspec.Struct, frozen=True):
    """A volume, the bytes ``[start, end)`` of the source, and its partition ``[target_start, target_end)`` on the target.

    ``how`` its content gets there: by its used bytes as they are, made smaller by its own tool on the way, or made anew there
    and filled by files, or (a container: LUKS, LVM) laid out anew with what is ``inside`` at new sizes. ``grows``: it is made
    to fill its partition afterwards. ``sector_size``: the bytes of a sector that it is made anew or changed for; 0: it stays as
    it is.
    """

    partition: int
    target_partition: int
    start: int
    end: int
    target_start: int
    target_end: int
    filesystem: str
    how: FitHow = "copy"
    grows: bool = False
    sector_size: int = 0
    inside: tuple[FittedInner, ...] = ()

    @property
    def is_made_beside(self) -> bool:
        """Whether it is made anew beside the target, and copied: without a table it would pass for whole from the first moment.

        FAT and exFAT are written by this program, with their beginnings last.
        """
        return self.how == "refill" and not self.target_partition and self.filesystem not in ("vfat", "exfat")


class FitDisk(msgspec.Struct, frozen=True, tag="fit-disk"):
    """Erase the target, and copy what is in use of an image (or, when it is "", of the disk ``source``) to new places.

    ``layout`` is the target's. The source is never written: what is made smaller is that over a throw-away overlay in ``folder``.
    """

    title: str
    image: str
    source: Disk
    target: str
    layout: Layout
    volumes: tuple[FittedVolume, ...]
    folder: str = ""  # "": the memory
    delta: bool | None = None


class FitTable(msgspec.Struct, frozen=True, tag="fit-table"):
    """Write the boot gap and the partition tables, the first sector last."""

    title: str
    target: str


class FitReadBack(msgspec.Struct, frozen=True, tag="fit-read-back"):
    """Read from the medium what was written and compare it with the hashes of what was read from the source."""

    title: str
    target: str


class FitVolumes(msgspec.Struct, frozen=True, tag="fit-volumes"):
    """Make file systems fill their partitions, and their boot sectors name their new places; each is checked by its own tool."""

    title: str
    target: str
    sector_size: int
    volumes: tuple[FittedVolume, ...]


class NewId(msgspec.Struct, frozen=True):
    """A file system of the target at the bytes ``[start, end)``, its UUID and the one that it gets ("": it keeps its own)."""

    partition: int
    start: int
    end: int
    filesystem: str
    old: str
    new: str = ""


class FitIds(msgspec.Struct, frozen=True, tag="fit-ids"):
    """Give file systems new UUIDs, and let fstab and boot loaders on them follow: ``references`` are old and new names.

    ``kept``: the partitions of the target of which the content keeps its own.

    It is done before the table is written, which has new identifiers already: cut off, the target has no table.
    """

    title: str
    target: str
    sector_size: int
    volumes: tuple[NewId, ...]
    references: tuple[tuple[str, str], ...]
    kept: tuple[int, ...] = ()
