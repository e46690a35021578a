"""A Machine that is a recording: nothing is read, nothing is written, jobs play events by a clock that is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from rescue.engine.counting import count
from rescue.errors import CredentialError, RefusedError, RescueError, UsageError
from rescue.images.keyslots import SlotKind, key_material
from rescue.images.rekey import Changes
from rescue.images.secrets import NO_SECRETS, Secrets, recovery_bytes
from rescue.model.clone import CloneReadBack, CloneTable
from rescue.model.edit import ProveErased, PutTableBack, SaveTables, SetTable
from rescue.model.fit import FitFacts, SectorFit
from rescue.model.fitting import FitReadBack, FitTable, FitVolumes
from rescue.model.lost import Lost
from rescue.model.plan import (
    CaptureDisk,
    DeployImage,
    ImageKind,
    MountImage,
    Plan,
    ReadBack,
    Step,
    VerifyImage,
    VerifyStore,
    WipeTarget,
    WriteTable,
)
from rescue.model.progress import CancelToken, Event, Finished, Message, Progress
from rescue.model.survey import BegunImage, DiskSurvey, ImageSummary, Place
from rescue.model.volume import Volume
from rescue.planning.extract import FolderFacts, plan_extract, without_nested
from rescue.planning.partition_draft import Looks
from rescue.planning.partition_plan import PartitionRequest
from rescue.planning.retention import PruneRequest
from rescue.planning.verify import OPEN, OPENING, image_words, plan_verify_store
from rescue.planning.wipe import WipeRequest
from rescue.planning.words import disk_words
from rescue.services import BackupRequest, CloneRequest, ExtractRequest, FileBrowser, Job, MountedImage, RestoreRequest
from rescue.services.files import TreeBrowser
from rescue.units import GIB, MIB, human_size
from tests.unit.looks import RecordedLooks
from tests.unit.tui.recorded_disks import PASSPHRASE, RECOVERY, all_disks, all_images, all_places
from tests.unit.tui.recorded_files import RecordedTree, windows_files
from tests.unit.tui.recorded_images import (
    DISK_PASSPHRASE,
    recorded_consolidate,
    recorded_export,
    recorded_prune,
    recorded_salvage,
    unlocked,
    volumes_in_luks,
    whole_of,
)
from tests.unit.tui.recorded_plans import (
    minimums_of,
    recorded_clone,
    recorded_edit,
    recorded_fit,
    recorded_repair,
    recorded_undo,
    recorded_wipe,
)


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@dataclass
class RecordedJob:
    """Plays ``script``: (seconds after its start, event)."""

    id: str
    folder: Path
    plan: Plan
    script: list[tuple[float, Event]]
    clock: Callable[[], float]
    started: float = 0.0
    dies_at: float | None = None  # seconds after the start at which the process is gone without a verdict
    cancelled: bool = False
    _next: int = 0
    _finished: bool = False

    def events(self) -> list[Event]:
        """Those whose time has come."""
        due: list[Event] = []
        if self.cancelled and not self._finished:
            self._finished = True
            return [Finished("cancelled", 130, "Stopped when told to.", "Run the same again to continue.")]
        elapsed = self.clock() - self.started
        while not self._finished and self._next < len(self.script) and self.script[self._next][0] <= elapsed:
            if self.dies_at is not None and self.script[self._next][0] > self.dies_at:
                break
            due.append(self.script[self._next][1])
            self._finished = isinstance(due[-1], Finished)
            self._next += 1
        return due

    def alive(self) -> bool:
        """Until its time has come."""
        return not self._finished and (self.dies_at is None or self.clock() - self.started < self.dies_at)

    def cancel(self) -> None:
        """The next events are its end."""
        self.cancelled = True

    def pause(self, seconds: float) -> None:
        """Not used by the interface."""
        raise AssertionError(seconds)

    def wait(self, timeout: float | None = None) -> Finished | None:
        """The verdict, if it is in the script's past."""
        ends = [event for _, event in self.script if isinstance(event, Finished)]
        return ends[-1] if self._finished and ends else None


def play(
    plan: Plan, rate: float, facts: dict[str, str | int | float | bool | list[str]], message: str
) -> list[tuple[float, Event]]:
    """A script: each step that moves data takes its bytes at about ``rate`` a second, then a good end."""
    script: list[tuple[float, Event]] = []
    time = 0.0
    moving = sum(not isinstance(step, _SHORT) for step in plan.steps)
    for index, step in enumerate(plan.steps):
        total = 1 * MIB if isinstance(step, _SHORT) else plan.estimated_bytes // moving
        done = 0
        script.append((time, Progress(step.title, index, 0, total)))
        script.append((time, Message("info", f"{step.title}.")))
        while done < total:
            now = rate * (0.7 + 0.3 * ((int(time) * 7919) % 13) / 12)
            time += 1.0 if total > rate else 0.2
            done = min(int(done + now), total)
            script.append((time, Progress(step.title, index, done, total, now, (total - done) / rate)))
    script.append((time + 0.5, Finished("succeeded", 0, message, "", facts)))
    return script


_VERDICTS = {
    "backup": "The disk is backed up. The image was read again and every hash in it is right.",
    "restore": "The image is restored. Everything was read back from the disk and is right.",
    "verify": "The image is whole: every hash in it is right.",
    "prune": "2 images removed from backups, 8.9 GiB are free again.",
    "consolidate": "The image is a full image of its own now. It was read again and every hash in it is right.",
    "export": "The image is exported, and the file was compared with it.",
    "extract": "41 files, 2 folders, 515.7 MiB, copied into /mnt/usb/anna.",
    "clone": "The disk is cloned. Everything was read back and is right.",
    "wipe": "The disk is overwritten with zeros. What was erased was read back from the disk and is zeros.",
    "partition": "The partition table is written and was read back.",
}
_SHORT = (WipeTarget, WriteTable, CloneTable, FitTable, FitVolumes, SaveTables, SetTable, PutTableBack)


@dataclass
class RecordedMachine:
    """See Machine."""

    clock: Callable[[], float]
    disks: list[DiskSurvey] = field(default_factory=all_disks)
    place_list: list[Place] = field(default_factory=all_places)
    folder: Path = Path("/nowhere")  # what a mounted place looks like
    image_list: list[ImageSummary] | None = None
    refuse: RescueError | None = None  # raised by open_place and the plans
    refuse_minimums: RescueError | None = None
    begun_move: Plan | None = None  # completes a move that was interrupted on every disk
    table_kept: bool = False
    lost: list[Lost] = field(default_factory=list)
    die_at: float | None = None
    stop_events_at: float | None = None
    rate: float = 400.0 * MIB
    mounted: list[tuple[str, bool]] = field(default_factory=list)
    started: list[RecordedJob] = field(default_factory=list)
    secrets: Secrets = NO_SECRETS
    given: list[Secrets] = field(default_factory=list)
    begun: BegunImage | None = None  # an interrupted backup, wherever one is planned
    powered: list[str] = field(default_factory=list)
    tree: RecordedTree = field(default_factory=windows_files)
    browsed: list[tuple[str, int]] = field(default_factory=list)  # the partitions that are looked into now
    present: dict[str, bool] = field(default_factory=dict)  # what the folder that is copied into holds of it
    filesystem: str = "ext4"  # of that folder
    changed: Callable[[], None] | None = None
    unlocked: tuple[int, ...] = ()  # partitions of the encrypted disk, or of an image of it
    tried: list[bytes] = field(default_factory=list)  # what was typed to unlock them
    looked_into: list[tuple[int, str, bool]] = field(default_factory=list)  # partition, volume in it, with salvage
    mounted_list: list[MountedImage] = field(default_factory=list)
    slots: set[SlotKind] = field(default_factory=lambda: {SlotKind.PASSPHRASE, SlotKind.RECOVERY})
    changes: list[Changes] = field(default_factory=list)
    no_room_for_keys: bool = False
    files_there: set[str] = field(default_factory=set)
    deep: list[bool] = field(default_factory=list)  # of each search for lost partitions
    read_only: bool = False  # no place can be written to
    asked: list[BackupRequest | RestoreRequest] = field(default_factory=list)  # what plans were asked for

    def survey(self) -> list[DiskSurvey]:
        """See Machine."""
        return list(self.disks)

    def survey_one(self, name: str, beside: Sequence[str] = ()) -> DiskSurvey:
        """See Machine."""
        for disk in self.disks:
            if disk.disk.path == name:
                return unlocked(disk) if self.unlocked else disk
        raise UsageError(f"There is no disk {name}.")

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See Machine."""
        self.changed = changed

        def end() -> None:
            self.changed = None

        return end

    def places(self) -> list[Place]:
        """See Machine."""
        return list(self.place_list)

    def open_place(self, place: Place, writable: bool) -> AbstractContextManager[Path]:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        if writable and self.read_only:
            raise RescueError(f"{place.title} cannot be written to.")
        return self._mount(place, writable)

    @contextmanager
    def _mount(self, place: Place, writable: bool) -> Iterator[Path]:
        self.mounted.append((place.device, writable))
        try:
            yield self.folder
        finally:
            self.mounted.remove((place.device, writable))

    def images(self, folder: Path) -> list[ImageSummary]:
        """See Machine."""
        return all_images(str(folder), self._is_open()) if self.image_list is None else self.image_list

    def _is_open(self) -> bool:
        recovery = self.secrets.recovery
        return self.secrets.passphrase == PASSPHRASE or (
            recovery is not None and recovery_bytes(recovery) == recovery_bytes(RECOVERY)
        )

    def image(self, path: str, *, salvage: bool = False) -> ImageSummary:
        """See Machine."""
        for image in self.images(Path(path).parent):
            if image.path == path:
                if image.locked:
                    raise CredentialError(f"What was given does not open {image.name}.")
                return whole_of(image) if salvage and image.disk is None else image
        raise UsageError(f"There is no image {path}.")

    def plan_backup(self, source: DiskSurvey, store: str, request: BackupRequest) -> Plan:
        """See Machine."""
        self.asked.append(request)
        if self.refuse is not None:
            raise self.refuse
        if request.salvage:
            return recorded_salvage(source, store, self.images(Path(store)), request)
        parent, above = (None, ()) if request.kind == "full" else self._newest(source, store, request)
        kind: ImageKind = "full" if parent is None else "differential" if request.kind == "differential" else "incremental"
        begun = self.begun if self.begun and self.begun.encrypted == request.encrypt else None
        suffix = ".img.zst" if kind == "full" and not request.encrypt else ".rimg"
        name = begun.name if begun and not request.name else f"{request.name or 'laptop-2026-11-23'}{suffix}"
        goes_on = begun.stored if begun and not request.anew else 0
        steps: list[Step] = [
            CaptureDisk(
                f"Back up {source.disk.path}", source.disk, store, name, request.level, request.comment, kind,
                parent.path if parent else "", above, request.encrypt, begun=goes_on, anew=request.anew,
            )
        ]  # fmt: skip
        sentences = [
            f"Read {disk_words(source.disk)}: {human_size(source.used_bytes)} to keep. Nothing on it is changed.",
            f"Write the {'encrypted ' if request.encrypt else ''}{kind} image {name} into {store} (612.0 GiB free).",
        ]
        if goes_on:
            words = f"{human_size(goes_on)} are written; they are compared first."
            sentences.append(f"Go on with it where it was interrupted. {words}")
        if parent is not None:
            sentences.append(
                f"Store only what has changed since {parent.name} (2026-11-22 08:05 UTC), which it needs from then on."
            )
        if request.verify:
            steps += [
                VerifyImage("Check the image", f"{store}/{name}", own_only=parent is not None),
                MountImage(OPEN, f"{store}/{name}", source.disk),
            ]
            sentences += ["Read the image again and check every hash in it.", OPENING]
        command = ["rescue", "backup", source.disk.path, store]
        for number in request.unlock:
            command += ["--unlock", str(number)]
        command += [option for option, given in (("--encrypt", request.encrypt), ("--anew", request.anew)) if given]
        return Plan(
            "backup",
            tuple(steps),
            tuple(sentences),
            command=tuple(command),
            source=source.disk,
            estimated_bytes=source.used_bytes * (2 if request.verify else 1),
        )

    def _newest(self, source: DiskSurvey, store: str, request: BackupRequest) -> tuple[ImageSummary | None, tuple[str, ...]]:
        whole = [image for image in self.images(Path(store)) if image.disk == source.disk and not image.problem]
        whole = [image for image in whole if image.encrypted == request.encrypt]
        if request.kind == "differential":
            whole = [image for image in whole if image.kind == "full"]
        if not whole and request.kind:
            raise RefusedError(
                f"{store} holds no whole image of {source.disk.title} that a new one could be made upon.",
                "Make a full backup first.",
            )
        newest = max(whole, key=lambda image: image.created, default=None)
        return newest, (newest.name, *(link.name for link in newest.chain)) if newest else ()

    def plan_restore(self, image: str, target: DiskSurvey, request: RestoreRequest) -> Plan:
        """See Machine."""
        self.asked.append(request)
        if self.refuse is not None:
            raise self.refuse
        found = self.image(image)
        fitted = recorded_fit(found, target, request)
        if fitted is not None:
            return fitted
        if found.disk is not None and found.disk.size > target.disk.size:
            raise RefusedError(f"{target.disk.title} is too small.")
        losses = tuple(
            f"Partition {volume.partition}, {volume.identity.type}, {human_size(volume.used_bytes)} used"
            for volume in target.volumes
        )
        path = target.disk.path
        return Plan(
            "restore",
            (
                WipeTarget("Remove old signatures", path),
                DeployImage("Write the data", image, path, request.delta, request.salvage),
                WriteTable("Write the partition table", image, path),
                ReadBack("Read back and compare", image, path),
            ),
            (
                f"Restore {found.name} onto {target.disk.title}.",
                "Remove the partition tables and signatures that are on the target now.",
                f"Write {human_size(found.used_bytes)} of data."
                + (" What the disk holds of it already is left as it is." if request.delta else ""),
                "Write the partition table last, its second copy at the end of this bigger disk.",
                "Read everything back from the disk and compare its hashes.",
            ),
            losses,
            ("The target is bigger than the original: 465.8 GiB of it stay without a partition.",),
            ("rescue", "restore", image, path),
            target.fingerprint,
            target.disk,
            estimated_bytes=found.used_bytes * 2,
        )

    def plan_clone(self, source: DiskSurvey, target: DiskSurvey, request: CloneRequest) -> Plan:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        return recorded_clone(source, target, request)

    def fit_facts(self, source: ImageSummary | DiskSurvey, target: DiskSurvey) -> FitFacts:
        """See Machine."""
        if self.refuse_minimums is not None:
            raise self.refuse_minimums
        own, sectors = source.layout.sector_size if source.layout else 512, target.disk.logical_sector_size
        asked = {v.partition: SectorFit("copy") for v in source.volumes} if sectors != own else None
        return FitFacts(minimums_of(source), sectors=asked)

    def plan_verify(self, image: str, against: DiskSurvey | None = None, *, mount: bool = False) -> Plan:
        """See Machine."""
        found = self.image(image)
        steps: tuple[Step, ...] = (VerifyImage("Check the image", image),)
        sentences: tuple[str, ...] = (f"Read {image_words(found)} and check every hash in it. Nothing is changed.",)
        if mount:
            steps, sentences = (*steps, MountImage(OPEN, image)), (*sentences, OPENING)
        return Plan(
            "verify",
            steps,
            sentences,
            command=("rescue", "verify", image, *(("--mount",) if mount else ())),
            estimated_bytes=found.used_bytes * len(steps),
        )

    def plan_verify_store(self, folder: str) -> Plan:
        """See Machine."""
        return plan_verify_store(folder, self.images(Path(folder)))

    def plan_partition(self, target: DiskSurvey, request: PartitionRequest) -> Plan:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        if request.go_on and self.begun_move is not None:
            return self.begun_move
        return recorded_edit(target, request)

    def plan_undo(self, target: DiskSurvey, file: str) -> Plan:
        """See Machine."""
        return recorded_undo(target, self.table_kept)

    def plan_repair(self, target: DiskSurvey, save: str) -> Plan:
        """See Machine."""
        return recorded_repair(target)

    def find_lost(self, survey: DiskSurvey, deep: bool, token: CancelToken, progress: Callable[[int, int], None]) -> list[Lost]:
        """See Machine."""
        self.deep.append(deep)
        progress(survey.disk.size, survey.disk.size)
        return self.lost

    def looks(self, survey: DiskSurvey) -> Looks:
        """See Machine."""
        return RecordedLooks()

    def plan_wipe(self, target: DiskSurvey, request: WipeRequest) -> Plan:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        return recorded_wipe(target, request)

    def plan_prune(self, folder: str, request: PruneRequest) -> Plan:
        """See Machine."""
        return recorded_prune(folder, self.images(Path(folder)), request)

    def plan_consolidate(self, image: str, store: str, name: str = "", split: int = 0) -> Plan:
        """See Machine."""
        return recorded_consolidate(self.image(image), store, name)

    def plan_export(self, image: str, file: str, format_: str = "") -> Plan:
        """See Machine."""
        return recorded_export(self.image(image), file, format_, self.files_there)

    def volumes_in(self, source: ImageSummary | DiskSurvey, partition: int, *, salvage: bool = False) -> list[tuple[str, Volume]]:
        """See Machine."""
        assert self.unlocked, "it is locked"
        return volumes_in_luks(partition)

    def mount_image(self, image: str, folder: str, *, salvage: bool = False) -> MountedImage:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        mounted = MountedImage(image, folder, (f"{folder}/1", f"{folder}/3"), ("Partition 4 is not mounted: it is damaged.",))
        self.mounted_list.append(mounted)
        return mounted

    def mounted_images(self) -> list[MountedImage]:
        """See Machine."""
        return list(self.mounted_list)

    def unmount_image(self, folder: str) -> None:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        self.mounted_list[:] = [mounted for mounted in self.mounted_list if mounted.folder != folder]

    def opens_with(self, image: str) -> tuple[SlotKind, ...]:
        """See Machine."""
        return tuple(sorted(self.slots))

    def change_keys(self, image: str, changes: Changes) -> tuple[SlotKind, ...]:
        """See Machine."""
        if self.no_room_for_keys:
            raise RefusedError("There is no place for another key.", "Take one away first.")
        self.changes.append(changes)
        new = {kind for kind in SlotKind if key_material(kind, changes.new) is not None}
        self.slots.difference_update(changes.drop)
        self.slots.update(new)
        return tuple(sorted(self.slots))

    def open_files(
        self, source: ImageSummary | DiskSurvey, partition: int, inside: str = "", *, salvage: bool = False
    ) -> AbstractContextManager[FileBrowser]:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        self.looked_into.append((partition, inside, salvage))
        return self._browse((source.path if isinstance(source, ImageSummary) else source.disk.path, partition))

    @contextmanager
    def _browse(self, what: tuple[str, int]) -> Iterator[FileBrowser]:
        self.browsed.append(what)
        browser = TreeBrowser(self.tree)
        try:
            yield browser
        finally:
            browser.end()
            self.browsed.remove(what)

    def plan_extract(self, source: ImageSummary | DiskSurvey, partition: int, request: ExtractRequest) -> Plan:
        """See Machine."""
        if self.refuse is not None:
            raise self.refuse
        entries = [self.tree.entry(path) for path in without_nested(request.paths)]
        volume = next(volume for volume in source.volumes if volume.partition == partition)
        facts = FolderFacts(request.folder, 200 * GIB, self.filesystem, dict(self.present))
        return plan_extract(source, volume, entries, count(self.tree, entries, CancelToken()), facts, request)

    def is_encrypted(self, path: str) -> bool:
        """See Machine."""
        return any(image.path == path and image.encrypted for image in self.images(Path(path).parent))

    def with_secrets(self, secrets: Secrets) -> Self:
        """See Machine."""
        self.given.append(secrets)
        return replace(self, secrets=secrets)

    def with_unlocked(self, source: ImageSummary | DiskSurvey, partition: int, secret: bytes) -> Self:
        """See Machine."""
        self.tried.append(secret)
        if secret != DISK_PASSPHRASE:
            raise CredentialError(f"The passphrase or key file does not open the encrypted volume in partition {partition}.")
        return replace(self, unlocked=(*self.unlocked, partition))

    def start(self, plan: Plan) -> Job:
        """See Machine."""
        facts: dict[str, str | int | float | bool | list[str]] = {}
        for step in plan.steps:
            match step:
                case CaptureDisk():
                    stored = 1300 * MIB if step.parent else 103 * GIB
                    facts |= {
                        "image": f"{step.store}/{step.name}",
                        "used_bytes": plan.estimated_bytes // 2,
                        "stored_size": stored,
                    }
                case VerifyImage():
                    facts |= {"image": step.image, "verified": True, "verified_bytes": plan.estimated_bytes // 2}
                case VerifyStore():
                    names = [image.name for image in self.images(self.folder) if not image.problem]
                    facts |= {"images": [f"{name}: whole" for name in names], "whole_images": len(names)}
                case MountImage():
                    facts |= {"checked_volumes": 3, "mounted_volumes": 2, "files_read": 412}
                case DeployImage():
                    same = 171 * GIB if step.delta else 0
                    facts |= {"image": step.image, "target": step.target, "same_bytes": same}
                case ReadBack() | CloneReadBack() | FitReadBack() | ProveErased():
                    facts |= {"read_back": True, "read_back_bytes": plan.estimated_bytes // 2}
                case _:
                    pass
        facts["seconds"] = 961.5
        job = RecordedJob(
            f"2026-11-22-{len(self.started) + 1:03d}",
            Path("/run/rescue/jobs") / f"2026-11-22-{len(self.started) + 1:03d}",
            plan,
            play(plan, self.rate, facts, _VERDICTS[plan.kind]),
            self.clock,
            self.clock(),
            self.die_at,
        )
        if self.stop_events_at is not None:
            job.script = [(at, event) for at, event in job.script if at <= self.stop_events_at]
        self.started.append(job)
        return job

    def jobs(self) -> list[Job]:
        """See Machine."""
        return list(reversed(self.started))

    def power(self, action: Literal["poweroff", "reboot"]) -> None:
        """See Machine."""
        self.powered.append(action)


def main() -> None:
    """Show the interface on this terminal with the recorded machine, for looking at it: ``python -m tests.unit.tui.recorded``."""
    import time

    from rescue.tui.app import run_tui

    run_tui(RecordedMachine(time.monotonic, folder=Path("/tmp"), rate=4 * GIB))


if __name__ == "__main__":
    main()
