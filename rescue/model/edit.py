"""The steps that change a disk without an image: wiping it, and editing its partitions."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from rescue.model.extents import Extent
from rescue.model.layout import Layout
from rescue.model.operation import FileSystem
from rescue.model.volume import Identity

WipeMethod: TypeAlias = Literal["quick", "zeros", "sanitize"]
SanitizeWay: TypeAlias = Literal[
    "nvme-block", "nvme-crypto", "nvme-overwrite", "nvme-format", "nvme-format-crypto", "ata", "ata-enhanced", "discard"
]


class EraseExtents(msgspec.Struct, frozen=True, tag="erase-extents"):
    """Write zeros over these bytes of the target."""

    title: str
    target: str
    extents: tuple[Extent, ...]


class ProveErased(msgspec.Struct, frozen=True, tag="prove-erased"):
    """Read from the medium what was erased: zeros, and nothing on the target that a system would take for content."""

    title: str
    target: str
    extents: tuple[Extent, ...]


class SanitizeDisk(msgspec.Struct, frozen=True, tag="sanitize-disk"):
    """Have the target's own controller erase all of it; with ``prove`` see that samples of its content are gone."""

    title: str
    target: str
    way: SanitizeWay
    prove: bool = True


class SaveTables(msgspec.Struct, frozen=True, tag="save-tables"):
    """Keep in ``file`` what of the target's tables and headers is about to change.

    ``layouts`` are those that will be written, in this order; ``changed`` the bytes outside of tables that will be written.
    """

    title: str
    target: str
    file: str
    before: Layout
    layouts: tuple[Layout, ...]
    changed: tuple[Extent, ...]


class SetTable(msgspec.Struct, frozen=True, tag="set-table"):
    """Write another partition table, and read it back."""

    title: str
    target: str
    before: Layout
    after: Layout


class FormatVolume(msgspec.Struct, frozen=True, tag="format-volume"):
    """Make an empty file system in the bytes ``[start, end)`` of the target, which are its partition ``number``."""

    title: str
    target: str
    number: int
    start: int
    end: int
    sector_size: int
    filesystem: FileSystem
    label: str = ""


class ResizeVolume(msgspec.Struct, frozen=True, tag="resize-volume"):
    """Give the file system that begins at ``start`` the bytes up to ``new_end`` instead of ``old_end``."""

    title: str
    target: str
    start: int
    old_end: int
    new_end: int
    identity: Identity


class MoveVolume(msgspec.Struct, frozen=True, tag="move-volume"):
    """Copy what is in partition ``number`` of ``before`` to where it is in ``after``, then write that table.

    How far it got is kept in the unallocated bytes ``journal`` of the target, from where it goes on after a power cut;
    ``queue`` are the operations of the command from this one on, as they were written.
    """

    title: str
    target: str
    number: int
    before: Layout
    after: Layout
    identity: Identity
    journal: Extent
    queue: tuple[str, ...] = ()


class CopyVolume(msgspec.Struct, frozen=True, tag="copy-volume"):
    """Copy what is in the bytes ``[start, end)`` of the target to those that begin at ``to``, in free space.

    The copy gets the UUID ``new_uuid``, "" where that cannot be done.
    """

    title: str
    target: str
    start: int
    end: int
    to: int
    sector_size: int
    identity: Identity
    new_uuid: str = ""


class LabelVolume(msgspec.Struct, frozen=True, tag="label-volume"):
    """Give the file system in the bytes ``[start, end)`` of the target another label."""

    title: str
    target: str
    start: int
    end: int
    identity: Identity
    label: str


class PutTableBack(msgspec.Struct, frozen=True, tag="put-table-back"):
    """Write the tables that are kept in ``file``."""

    title: str
    target: str
    file: str


EditStep: TypeAlias = (
    EraseExtents
    | ProveErased
    | SanitizeDisk
    | SaveTables
    | SetTable
    | FormatVolume
    | LabelVolume
    | ResizeVolume
    | MoveVolume
    | CopyVolume
    | PutTableBack
)
