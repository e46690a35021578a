"""What a person has chosen so far on the way to a job, and the places that are mounted for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import msgspec

from rescue.filesystems.files.tree import Entry
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey, ImageSummary, Place
from rescue.model.volume import Volume
from rescue.planning.partition_plan import PartitionRequest
from rescue.planning.retention import PruneRequest
from rescue.planning.wipe import WipeRequest
from rescue.services import BackupRequest, CloneRequest, ExtractRequest, Machine, RestoreRequest

FlowKind = Literal[
    "backup", "restore", "clone", "verify", "files", "partition", "wipe", "images", "prune", "consolidate", "export"
]

FLOW_NAMES: dict[FlowKind, str] = {
    "backup": "Back up",
    "restore": "Restore",
    "clone": "Clone",
    "verify": "Check",
    "files": "Files",
    "partition": "Partitions",
    "wipe": "Wipe",
    "images": "Images",
    "prune": "Remove old images",
    "consolidate": "Make a full image",
    "export": "Export",
}
TableWork = Literal["", "put-back", "repair"]


class OpenedPlace:
    """A place that is mounted as long as this is not closed."""

    def __init__(self, machine: Machine, place: Place, writable: bool) -> None:
        self.place = place
        self._first: list[Callable[[], None]] = []
        self._context: AbstractContextManager[Path] | None = machine.open_place(place, writable)
        self.folder = self._context.__enter__()

    def first(self, end: Callable[[], None]) -> None:
        """Call ``end`` before the place is given back: what is open on it would keep it."""
        self._first.append(end)

    def close(self) -> None:
        """Give the place back. Raises RescueError; closing twice is allowed."""
        context, self._context = self._context, None
        while self._first:
            self._first.pop()()
        if context is not None:
            context.__exit__(None, None, None)


class Flow(msgspec.Struct, frozen=True):
    """One way through the screens. Each screen hands a new value to the next, so going back forgets."""

    kind: FlowKind
    opened: OpenedPlace | None = None
    folder: Path | None = None
    image: ImageSummary | None = None
    source: DiskSurvey | None = None
    target: DiskSurvey | None = None
    request: BackupRequest = msgspec.field(default_factory=BackupRequest)
    restore: RestoreRequest = msgspec.field(default_factory=RestoreRequest)
    clone: CloneRequest = msgspec.field(default_factory=CloneRequest)
    wipe: WipeRequest | None = None
    edit: PartitionRequest | None = None  # the partitions of the target
    table: TableWork = ""  # done to its partition table as a whole instead
    open_filesystems: bool = True  # of a check: not only the hashes
    machine: Machine | None = None  # with the secrets that were given on the way; None: none were
    volume: Volume | None = None  # whose files are looked into
    files: tuple[Entry, ...] = ()  # what is copied out
    extract: ExtractRequest | None = None
    destination: OpenedPlace | None = None  # where they are copied to
    plan: Plan | None = None
    unlocked: tuple[int, ...] = ()  # partitions whose encrypted volumes ``machine`` opens
    inside: str = ""  # of the volumes in ``volume`` this one
    salvage: bool = False  # of an image that is damaged what there is
    prune: PruneRequest | None = None
    into: Path | None = None  # the folder for a full image
    file: Path | None = None  # the new virtual disk
    format: str = ""  # of that

    @property
    def places(self) -> tuple[OpenedPlace, ...]:
        """All that the job needs."""
        return tuple(opened for opened in (self.opened, self.destination) if opened is not None)

    @property
    def name(self) -> str:
        """For the title bar."""
        return FLOW_NAMES[self.kind]

    @property
    def place_title(self) -> str:
        """Where the image is or goes, for people: a place and, below its top, the folder; or the path that was typed."""
        if self.opened is None:
            return str(self.folder or "")
        inside = self.folder.relative_to(self.opened.folder) if self.folder else Path()
        return self.opened.place.title + (f", in {inside}" if inside.parts else "")
