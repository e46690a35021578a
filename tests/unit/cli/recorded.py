"""A machine out of recorded values, for the command line."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, Self

from rescue.devices.sanitize import Sanitizing
from rescue.engine.counting import Amount
from rescue.errors import UsageError
from rescue.filesystems.files.tree import Entry, Kind
from rescue.images.keyslots import SlotKind
from rescue.images.rekey import Changes
from rescue.images.secrets import Secrets
from rescue.model.disk import Protection
from rescue.model.fit import FitFacts
from rescue.model.lost import Lost
from rescue.model.plan import Plan
from rescue.model.progress import CancelToken, Event, Finished
from rescue.model.survey import ChainLink, DiskSurvey, ImageSummary, Place
from rescue.model.volume import Volume
from rescue.planning.backup import StoreFacts, plan_backup
from rescue.planning.clone import plan_clone
from rescue.planning.consolidate import plan_consolidate
from rescue.planning.export import FileFacts, plan_export
from rescue.planning.extract import FolderFacts, plan_extract
from rescue.planning.partition_draft import Looks
from rescue.planning.partition_plan import PartitionRequest
from rescue.planning.prune import StoreState, plan_prune
from rescue.planning.restore import plan_restore
from rescue.planning.retention import PruneRequest
from rescue.planning.verify import plan_verify, plan_verify_store
from rescue.planning.wipe import WipeRequest, plan_wipe
from rescue.records import replace
from rescue.services import BackupRequest, CloneRequest, ExtractRequest, FileBrowser, Job, MountedImage, RestoreRequest
from rescue.units import GIB
from tests.unit.looks import RecordedLooks
from tests.unit.planning.machines import BLANK_SURVEY, IMAGE, LAPTOP_SURVEY, STICK, fingerprint

STICK_SURVEY = DiskSurvey(
    STICK,
    replace(BLANK_SURVEY.layout, size=STICK.size),
    (),
    fingerprint(STICK),
    (Protection("the rescue system runs from it", "Choose another disk."),),
    is_rescue_medium=True,
)


class RecordedJob:
    """A job that says what it was told to, a few events at a time."""

    def __init__(self, plan: Plan, events: list[Event], on_cancel: list[Event]) -> None:
        self.plan = plan
        self.id = "recorded"
        self.folder = Path("/run/rescue/jobs/recorded")
        self._events = events
        self._on_cancel = on_cancel
        self.cancelled = 0

    def events(self) -> list[Event]:
        """One event at a time."""
        return [self._events.pop(0)] if self._events else []

    def alive(self) -> bool:
        """As long as there is something to say."""
        return bool(self._events)

    def cancel(self) -> None:
        """Say what was recorded for this case."""
        self.cancelled += 1
        self._events[:] = self._on_cancel

    def pause(self, seconds: float) -> None:
        """There is nothing to wait for."""

    def wait(self, timeout: float | None = None) -> Finished | None:
        """Not used by the command line."""
        raise AssertionError(timeout)


class RecordedMachine:
    """Disks and one image; jobs say what ``events`` holds."""

    def __init__(self, events: list[Event] | None = None, on_cancel: list[Event] | None = None) -> None:
        self.surveys = [LAPTOP_SURVEY, STICK_SURVEY, BLANK_SURVEY]
        self.events: list[Event] = events or [Finished("succeeded", 0, "It is done.")]
        self.on_cancel: list[Event] = on_cancel or []
        self.started: list[RecordedJob] = []
        self.lost: list[Lost] = []
        self.store = StoreFacts("/mnt/usb", 500 * GIB)
        self.state = StoreState("/mnt/usb", (), ())

    def survey(self) -> list[DiskSurvey]:
        """See Machine."""
        return self.surveys

    def survey_one(self, name: str, beside: Sequence[str] = ()) -> DiskSurvey:
        """See Machine."""
        for survey in self.surveys:
            if survey.disk.path == name:
                return survey
        raise UsageError(f"There is no disk {name}.")

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See Machine."""
        return lambda: None

    def places(self) -> list[Place]:
        """See Machine."""
        return []

    def open_place(self, place: Place, writable: bool) -> AbstractContextManager[Path]:
        """See Machine."""
        return nullcontext(Path(place.folder))

    def images(self, folder: Path) -> list[ImageSummary]:
        """See Machine."""
        damaged = ImageSummary(f"{folder}/old.img.zst", "old.img.zst", 7, problem="It is not complete.", problem_exit_code=4)
        return [IMAGE, damaged]

    def image(self, path: str, *, salvage: bool = False) -> ImageSummary:
        """See Machine."""
        return replace(IMAGE, path=path)

    def plan_backup(self, source: DiskSurvey, store: str, request: BackupRequest) -> Plan:
        """See Machine."""
        return plan_backup(source, replace(self.store, folder=store), request, host="h", today=datetime.date(2026, 11, 22))

    def plan_restore(self, image: str, target: DiskSurvey, request: RestoreRequest) -> Plan:
        """See Machine."""
        return plan_restore(self.image(image), target, request)

    def plan_clone(self, source: DiskSurvey, target: DiskSurvey, request: CloneRequest) -> Plan:
        """See Machine."""
        return plan_clone(source, target, request)

    def fit_facts(self, source: ImageSummary | DiskSurvey, target: DiskSurvey) -> FitFacts:
        """Not used here."""
        raise AssertionError(source)

    def plan_verify(self, image: str, against: DiskSurvey | None = None, *, mount: bool = False) -> Plan:
        """See Machine."""
        return plan_verify(self.image(image), against, mount=mount)

    def plan_verify_store(self, folder: str) -> Plan:
        """See Machine."""
        return plan_verify_store(folder, self.images(Path(folder)))

    def plan_partition(self, target: DiskSurvey, request: PartitionRequest) -> Plan:
        """Not used here."""
        raise AssertionError(request)

    def plan_undo(self, target: DiskSurvey, file: str) -> Plan:
        """Not used here."""
        raise AssertionError(file)

    def plan_repair(self, target: DiskSurvey, save: str) -> Plan:
        """Not used here."""
        raise AssertionError(save)

    def find_lost(self, survey: DiskSurvey, deep: bool, token: CancelToken, progress: Callable[[int, int], None]) -> list[Lost]:
        """See Machine."""
        progress(survey.disk.size, survey.disk.size)
        return self.lost

    def looks(self, survey: DiskSurvey) -> Looks:
        """See Machine."""
        return RecordedLooks()

    def plan_wipe(self, target: DiskSurvey, request: WipeRequest) -> Plan:
        """See Machine."""
        return plan_wipe(target, request, Sanitizing("nvme-block"))

    def plan_prune(self, folder: str, request: PruneRequest) -> Plan:
        """See Machine."""
        now = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
        return plan_prune(replace(self.state, folder=folder), request, now=now, zone=datetime.UTC)

    def plan_consolidate(self, image: str, store: str, name: str = "", split: int = 0) -> Plan:
        """See Machine."""
        above = ImageSummary("/mnt/usb/full.img.zst", "full.img.zst", 7, uuid="aa", fingerprint="ab" * 32)
        link = ChainLink(above.uuid, above.fingerprint, above.name, 1000)
        made = replace(IMAGE, path=image, name=Path(image).name, kind="incremental", chain=(link,))
        return plan_consolidate(made, replace(self.store, folder=store), name, split)

    def plan_export(self, image: str, file: str, format_: str = "") -> Plan:
        """See Machine."""
        return plan_export(self.image(image), FileFacts(file, Path(file).suffix, False, "/", 1 << 50), format_)

    def volumes_in(self, source: ImageSummary | DiskSurvey, partition: int, *, salvage: bool = False) -> list[tuple[str, Volume]]:
        """Not used by the command line."""
        raise AssertionError(source)

    def open_files(
        self, source: ImageSummary | DiskSurvey, partition: int, inside: str = "", *, salvage: bool = False
    ) -> AbstractContextManager[FileBrowser]:
        """Not used by the command line."""
        raise AssertionError(source)

    def mount_image(self, image: str, folder: str, *, salvage: bool = False) -> MountedImage:
        """Not used by the command line."""
        raise AssertionError(image)

    def mounted_images(self) -> list[MountedImage]:
        """Not used by the command line."""
        raise AssertionError

    def unmount_image(self, folder: str) -> None:
        """Not used by the command line."""
        raise AssertionError(folder)

    def opens_with(self, image: str) -> tuple[SlotKind, ...]:
        """Not used by the command line."""
        raise AssertionError(image)

    def change_keys(self, image: str, changes: Changes) -> tuple[SlotKind, ...]:
        """Not used by the command line."""
        raise AssertionError(image)

    def plan_extract(self, source: ImageSummary | DiskSurvey, partition: int, request: ExtractRequest) -> Plan:
        """See Machine."""
        volume = next(volume for volume in source.volumes if volume.partition == partition)
        entries = [Entry(path.rpartition("/")[2], path, Kind.FILE, 1 << 20) for path in request.paths]
        return plan_extract(source, volume, entries, Amount(1, 0, 1 << 20), FolderFacts(request.folder, 1 << 30), request)

    def is_encrypted(self, path: str) -> bool:
        """See Machine."""
        return False

    def with_secrets(self, secrets: Secrets) -> Self:
        """See Machine."""
        return self

    def with_unlocked(self, source: ImageSummary | DiskSurvey, partition: int, secret: bytes) -> Self:
        """See Machine."""
        return self

    def start(self, plan: Plan) -> Job:
        """See Machine."""
        job = RecordedJob(plan, list(self.events), list(self.on_cancel))
        self.started.append(job)
        return job

    def jobs(self) -> list[Job]:
        """See Machine."""
        return list(self.started)

    def power(self, action: Literal["poweroff", "reboot"]) -> None:
        """See Machine."""
        raise AssertionError(action)
