"""Fit: what a partition table becomes on a disk of another size, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from rescue.errors import RefusedError
from rescue.model.container import Bears
from rescue.model.layout import Layout

FitMode: TypeAlias = Literal["auto", "same", "keep"]
WishKind: TypeAlias = Literal["keep", "exactly", "at-least", "leave-out", "min", "max"]


class FitVolume(msgspec.Struct, frozen=True):
    """How the content of one partition bears another size.

    ``minimum`` are the bytes that it may be shrunk to; its size when it cannot shrink. ``fixed``: it keeps its size unless a
    wish says otherwise. ``partition`` is 0 for what fills a disk without a table.
    """

    partition: int
    minimum: int
    can_grow: bool = False
    fixed: bool = False


class FitWish(msgspec.Struct, frozen=True):
    """What a person asks for one partition. ``size`` in bytes counts for "exactly" and "at-least".

    "min": as small as its content allows. "max": all the room that the others leave, which then keep their sizes.
    """

    partition: int
    kind: WishKind
    size: int = 0


class FitWishes(msgspec.Struct, frozen=True):
    """Everything that a person asks of a fit beside its mode.

    ``order``: all partitions that are kept, by number, as they shall follow each other. ``overlay``: an existing folder for what
    is moved while file systems are made smaller on their way; "": the memory. ``sector_size``: the sectors, 512 or 4096 bytes,
    that a target which is a file is written for; 0: those of the source. ``table``: the kind that the table becomes; "": it keeps
    its own. ``new_ids``: disk, partitions and file systems get identifiers of their own.
    """

    volumes: tuple[FitWish, ...] = ()
    order: tuple[int, ...] = ()
    overlay: str = ""
    sector_size: int = 0
    table: Literal["", "gpt", "dos"] = ""
    new_ids: bool = False

    @property
    def changes(self) -> bool:
        """Whether the table of the target may have to be another one because of them."""
        return bool(self.volumes or self.order)


class SectorFit(msgspec.Struct, frozen=True):
    """What a disk with sectors of another size asks of a volume.

    "copy": nothing. "refill": it is made anew and filled by its files. "patch": its boot sector is changed afterwards.
    "refuse": it cannot be there; ``because`` is a sentence for people. ``needed``: the bytes that it takes there at least, where
    those may be more than it has.
    """

    how: Literal["copy", "refill", "patch", "refuse"]
    because: str = ""
    needed: int = 0


class FitFacts(msgspec.Struct, frozen=True):
    """What the content of the volumes allows, by partition.

    ``minimums``: bytes that it can be made as small as; one that is missing keeps its size. ``refillable``: those that can be
    made anew in a larger partition. ``sectors``: what the target's sectors ask of them; None where they are as the source's.
    ``containers``: what LUKS and LVM with all that is in them bear.
    """

    minimums: Mapping[int, int]
    refillable: frozenset[int] = frozenset()
    sectors: Mapping[int, SectorFit] | None = None
    containers: Mapping[int, Bears] = msgspec.field(default_factory=dict)


NO_WISHES: Final = FitWishes()


class Placement(msgspec.Struct, frozen=True):
    """Where the bytes of one partition go. ``target_number`` differs where a logical partition before it was left out."""

    number: int
    target_number: int
    source_start: int
    source_end: int
    target_start: int
    target_end: int

    @property
    def moves(self) -> bool:
        """Whether the partition starts elsewhere than on the source."""
        return self.target_start != self.source_start

    @property
    def shrinks(self) -> bool:
        """Whether the partition is smaller than on the source."""
        return self.target_end - self.target_start < self.source_end - self.source_start

    @property
    def grows(self) -> bool:
        """Whether the partition is larger than on the source."""
        return self.target_end - self.target_start > self.source_end - self.source_start


class Fitted(msgspec.Struct, frozen=True):
    """The table for the target, and where each partition that is kept goes, in the target's order.

    ``notes`` are sentences for people: "An MBR describes only the first 2.0 TiB of this disk."
    """

    layout: Layout
    placements: tuple[Placement, ...]
    notes: tuple[str, ...] = ()


class DoesNotFitError(RefusedError):
    """The partitions do not fit. ``short``: bytes that the target lacks; ``partition``: the number of the one that is the reason.

    ``needed`` is the size of the smallest target that would do, 0 when the kind of the table forbids it whatever the size.
    """

    def __init__(self, message: str, hint: str, *, short: int, partition: int, needed: int) -> None:
        super().__init__(message, hint)
        self.short = short
        self.partition = partition
        self.needed = needed
