"""What every face (CLI, TUI, unattended job) is given, as two small interfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

import msgspec

if TYPE_CHECKING:  # what is only named here: a command loads little more than what it uses
    from rescue.filesystems.files.tree import Entry
    from rescue.images.keyslots import SlotKind
    from rescue.images.rekey import Changes
    from rescue.images.secrets import Secrets
    from rescue.model.fit import FitFacts
    from rescue.model.lost import Lost
    from rescue.model.plan import Plan
    from rescue.model.progress import CancelToken, Event, Finished
    from rescue.model.survey import DiskSurvey, ImageSummary, Place
    from rescue.model.volume import Volume
    from rescue.planning.partition_draft import Looks
    from rescue.planning.partition_plan import PartitionRequest
    from rescue.planning.request import BackupRequest, CloneRequest, ExtractRequest, RestoreRequest
    from rescue.planning.retention import PruneRequest
    from rescue.planning.wipe import WipeRequest


class Listing(msgspec.Struct, frozen=True):
    """What is in a folder, folders first, by name. ``problem``: why not all of it could be read, as a sentence."""

    entries: tuple[Entry, ...]
    problem: str = ""


class MountedImage(msgspec.Struct, frozen=True):
    """An image whose file systems are mounted in folders below ``folder``, until somebody ends that or the computer stops.

    ``points``: those folders. ``problems``: sentences on what is not mounted, and on damage; known right after mounting only.
    """

    image: str
    folder: str
    points: tuple[str, ...]
    problems: tuple[str, ...] = ()


class FileBrowser(Protocol):
    """The files of one file system, read only. Any thread may call; while one lists a big folder, others wait."""

    @property
    def owners(self) -> bool:
        """Whether owners and permissions of entries are the file system's own."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for people: what may be out of date in it, what no copy out of it keeps."""
        ...

    def folder(self, path: str) -> Entry:
        """The entry at a path from the root, "" for the root itself. Raises RescueError when there is none."""
        ...

    def children(self, folder: Entry) -> Listing:
        """What is in a folder. Raises RescueError when these files were closed; damage is told in the answer."""
        ...

    def search(self, words: str, limit: int, token: CancelToken, found: Callable[[Sequence[Entry]], None]) -> bool:
        """Call ``found`` with up to ``limit`` entries, some at a time, whose names hold all of the words in any case.

        Whether these are all: not when there are more, or ``token`` was cancelled. Raises RescueError.
        """
        ...

    def link_target(self, entry: Entry) -> str:
        """Where a symbolic link leads; "" when that cannot be read."""
        ...


class Job(Protocol):
    """One run of a plan, in a process of its own; its journal is its interface."""

    @property
    def id(self) -> str:
        """Name of the job, also of its folder."""
        ...

    @property
    def folder(self) -> Path:
        """Where the plan (``plan.json``) and the journal (``events.jsonl``) are."""
        ...

    @property
    def plan(self) -> Plan:
        """What is being run."""
        ...

    def events(self) -> list[Event]:
        """The events since the last call on this object; does not block. The last one of a job is Finished."""
        ...

    def alive(self) -> bool:
        """Whether the job's process still runs; does not block. A job that is not alive and left no Finished event has died."""
        ...

    def cancel(self) -> None:
        """Ask the job to stop; it ends with a Finished event."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait that long, or until the job has ended where that can be told."""
        ...

    def wait(self, timeout: float | None = None) -> Finished | None:
        """Block until the job has ended; None when ``timeout`` (seconds) passed first."""
        ...


class Machine(Protocol):
    """This machine: its disks, its places for images, and the jobs on it. Methods may take seconds; none of them asks."""

    def survey(self) -> list[DiskSurvey]:
        """The disks, the rescue medium included, sorted by path."""
        ...

    def survey_one(self, name: str, beside: Sequence[str] = ()) -> DiskSurvey:
        """The disk that a person named (node, by-id name, ``serial:…``, file). Raises UsageError, RefusedError.

        ``beside`` name other disks that hold the rest of what is on it; without any a device is looked at with those here.
        """
        ...

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` (from another thread) whenever a disk appears, goes or changes. Returns what ends it."""
        ...

    def places(self) -> list[Place]:
        """Local file systems that may hold images, the rescue medium's own left out."""
        ...

    def open_place(self, place: Place, writable: bool) -> AbstractContextManager[Path]:
        """Mount it (read-only unless ``writable``) as long as the context lasts. Raises RescueError."""
        ...

    def images(self, folder: Path) -> list[ImageSummary]:
        """The images in a folder and, damaged or foreign, what looks like one; newest first. Raises RescueError."""
        ...

    def image(self, path: str, *, salvage: bool = False) -> ImageSummary:
        """One image; with ``salvage`` also a damaged one, with what could be had of it.

        Raises DamagedError, UnsupportedError, FormatError, UsageError.
        """
        ...

    def plan_backup(self, source: DiskSurvey, store: str, request: BackupRequest) -> Plan:
        """Raises RefusedError (no room is not known before; DEST on the source, DEST read-only, name taken)."""
        ...

    def plan_restore(self, image: str, target: DiskSurvey, request: RestoreRequest) -> Plan:
        """Raises RefusedError: protected, too small by N bytes, sector size differs, holds the image."""
        ...

    def plan_clone(self, source: DiskSurvey, target: DiskSurvey, request: CloneRequest) -> Plan:
        """Raises RefusedError: they are one disk, protected, too small by N bytes, sector size differs."""
        ...

    def fit_facts(self, source: ImageSummary | DiskSurvey, target: DiskSurvey) -> FitFacts:
        """What the volumes of an image or a disk allow when they are fitted to the target.

        Their own programs are asked how small they can be made, over a throw-away overlay. Raises RescueError.
        """
        ...

    def plan_verify(self, image: str, against: DiskSurvey | None = None, *, mount: bool = False) -> Plan:
        """Raises as :meth:`image`; RefusedError when ``against`` cannot hold the same."""
        ...

    def plan_verify_store(self, folder: str) -> Plan:
        """Raises UsageError when there is no folder, or no image in it; RescueError."""
        ...

    def plan_partition(self, target: DiskSurvey, request: PartitionRequest) -> Plan:
        """Change the partitions of a disk by a queue of operations. Raises UsageError, RefusedError."""
        ...

    def plan_undo(self, target: DiskSurvey, file: str) -> Plan:
        """Put a partition table back that is kept in ``file``; "": the one that was kept last. Raises RescueError."""
        ...

    def plan_repair(self, target: DiskSurvey, save: str) -> Plan:
        """Write a damaged GPT anew; the old bytes are kept in the file ``save``, "" for a usual one. Raises RefusedError."""
        ...

    def find_lost(self, survey: DiskSurvey, deep: bool, token: CancelToken, progress: Callable[[int, int], None]) -> list[Lost]:
        """Search the free space of a disk for partitions that its table does not name. Raises CancelledError, RescueError."""
        ...

    def looks(self, survey: DiskSurvey) -> Looks:
        """Who looks at what a disk holds, whatever its table says."""
        ...

    def plan_wipe(self, target: DiskSurvey, request: WipeRequest) -> Plan:
        """Erase a disk. Raises RefusedError."""
        ...

    def plan_prune(self, folder: str, request: PruneRequest) -> Plan:
        """A plan without steps when nothing is to be removed. Raises UsageError, RefusedError (read-only), RescueError."""
        ...

    def plan_consolidate(self, image: str, store: str, name: str = "", split: int = 0) -> Plan:
        """Raises as :meth:`image`; RefusedError (it is full already, name taken, read-only), CredentialError, UsageError."""
        ...

    def plan_export(self, image: str, file: str, format_: str = "") -> Plan:
        """Raises as :meth:`image`; UsageError when the format is not known, RefusedError when the file exists."""
        ...

    def volumes_in(self, source: ImageSummary | DiskSurvey, partition: int, *, salvage: bool = False) -> list[tuple[str, Volume]]:
        """The volumes in a partition, as far as they can be opened, by name: "vg0/root", "" where there is one.

        What is still locked is among them. Raises as :meth:`open_files`, ProgramError.
        """
        ...

    def open_files(
        self, source: ImageSummary | DiskSurvey, partition: int, inside: str = "", *, salvage: bool = False
    ) -> AbstractContextManager[FileBrowser]:
        """Look into a partition of an image or a disk (0: no partitions) as long as the context lasts.

        ``inside``: into this one of the volumes in it. With ``salvage`` also into an image that is damaged or lacks files.
        Raises UsageError (no such partition), UnsupportedError (its files cannot be shown), FormatError, SourceReadError,
        CredentialError, DamagedError.
        """
        ...

    def plan_extract(self, source: ImageSummary | DiskSurvey, partition: int, request: ExtractRequest) -> Plan:
        """Copy files out. Raises as :meth:`open_files`; UsageError; AlreadyThereError (planning/extract.py)."""
        ...

    def mount_image(self, image: str, folder: str, *, salvage: bool = False) -> MountedImage:
        """Mount what an image holds in an empty or a new folder, in a process that stays. Raises RescueError."""
        ...

    def mounted_images(self) -> list[MountedImage]:
        """Those that were mounted, by anybody, and not unmounted since."""
        ...

    def unmount_image(self, folder: str) -> None:
        """End what :meth:`mount_image` began. Raises RefusedError when it is in use, or nothing is mounted there."""
        ...

    def opens_with(self, image: str) -> tuple[SlotKind, ...]:
        """What opens an encrypted image. Raises UsageError (it is not encrypted), RescueError."""
        ...

    def change_keys(self, image: str, changes: Changes) -> tuple[SlotKind, ...]:
        """Change what opens an image that this machine's secrets open; its data are not rewritten. What opens it then.

        Raises CredentialError, UsageError (nothing would open it), RefusedError (no place for another key), DamagedError.
        """
        ...

    def is_encrypted(self, path: str) -> bool:
        """Whether this is an image that a passphrase or key opens. Anything else, a missing file included, is not."""
        ...

    def with_secrets(self, secrets: Secrets) -> Self:
        """The same machine, with what opens encrypted images; without it, they raise CredentialError. Volumes stay unlocked."""
        ...

    def with_unlocked(self, source: ImageSummary | DiskSurvey, partition: int, secret: bytes) -> Self:
        """The same machine, with what opens the LUKS volumes in a partition of a disk, or of the disk in an image.

        ``secret`` is a passphrase or what a key file holds. Takes seconds. Raises CredentialError when it opens nothing,
        UsageError when nothing there is locked.
        """
        ...

    def start(self, plan: Plan) -> Job:
        """Run the plan in a process of its own, which outlives this one; it is given the secrets."""
        ...

    def jobs(self) -> list[Job]:
        """The jobs whose journals are still there, newest first."""
        ...

    def power(self, action: Literal["poweroff", "reboot"]) -> None:
        """Switch this computer off or start it again. Raises RefusedError when it does not run from the rescue medium."""
        ...
