"""This machine as it is: real disks, local folders, jobs in processes of their own."""

from __future__ import annotations

import copy
import datetime
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from rescue.devices.kernel import Kernel
from rescue.devices.open import resolve
from rescue.devices.protection import protections
from rescue.devices.sanitize import sanitizing
from rescue.devices.udev import list_disks, watch
from rescue.devices.usage import stands_on
from rescue.engine.survey import survey_disk
from rescue.errors import DamagedError, RefusedError, RescueError, UsageError
from rescue.images.begun import read_header
from rescue.images.chain import open_chain
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.jobs.folder import jobs_root
from rescue.jobs.job import list_jobs
from rescue.jobs.spawn import Standby
from rescue.jobs.start import start
from rescue.model.disk import Disk, Fingerprint
from rescue.model.fit import FitFacts
from rescue.model.layout import Layout
from rescue.model.lineage import without_aliases
from rescue.model.lost import Lost
from rescue.model.plan import Plan
from rescue.model.progress import CancelToken
from rescue.model.survey import DiskSurvey, ImageSummary, Place
from rescue.model.volume import Volume
from rescue.planning.backup import StoreFacts, plan_backup
from rescue.planning.beside import without
from rescue.planning.clone import plan_clone, refuse_clone
from rescue.planning.consolidate import plan_consolidate
from rescue.planning.export import FileFacts, plan_export
from rescue.planning.fitting import FitChoice, FitSource, fit_mode, fit_source_of, may_grow, may_shrink, needs_fit, plan_fit
from rescue.planning.partition_draft import Looks
from rescue.planning.partition_plan import PartitionRequest
from rescue.planning.prune import StoreState, plan_prune
from rescue.planning.request import BackupRequest, CloneRequest, ExtractRequest, RestoreRequest
from rescue.planning.restore import plan_restore
from rescue.planning.retention import PruneRequest
from rescue.planning.verify import plan_verify, plan_verify_store
from rescue.planning.wipe import WipeRequest, plan_wipe
from rescue.planning.words import disk_words
from rescue.planning.writable import target_sectors
from rescue.records import replace
from rescue.services.begun import interrupted
from rescue.services.beside import survey_together, together
from rescue.services.interfaces import FileBrowser, Job, MountedImage
from rescue.services.library import list_images
from rescue.services.places import MountedPlace, filesystem_of, find_places
from rescue.stores.address import local_path
from rescue.stores.folder import FolderStore
from rescue.system.joined import open_source
from rescue.system.run import run

if TYPE_CHECKING:
    from rescue.images.keyslots import SlotKind
    from rescue.images.rekey import Changes

_SALVAGED: Final = (
    "What is restored of an incomplete image with --salvage cannot be fitted: file systems with gaps stay as they are."
)
_SALVAGED_HINT: Final = "Leave --salvage out; or restore onto a disk that is at least as large, without --fit and its options."
_DAMAGE_SECONDS: Final = 30.0  # for each volume, before anything is decided
_SURVEY_SECONDS: Final = 30.0  # a dying disk may answer after minutes; the others are shown without it


class LocalMachine:
    """The Machine that every face gets outside of tests."""

    def __init__(self, jobs: Path | None = None, secrets: Secrets = NO_SECRETS, standby: Standby | None = None) -> None:
        """``standby`` is for the first job."""
        self._secrets = secrets
        self._jobs = jobs or jobs_root(os.environ, os.geteuid())
        self._kernel = Kernel()
        self._standby = standby

    def survey(self) -> list[DiskSurvey]:
        """See Machine. Disks are read in parallel; one that does not answer is shown as unreadable."""
        disks = list_disks()
        found: dict[str, DiskSurvey] = {}

        def look(disk: Disk) -> None:
            found[disk.path] = _survey(disk)

        threads = [threading.Thread(target=look, args=(disk,), daemon=True) for disk in disks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_SURVEY_SECONDS)
        surveys = [found.get(disk.path) or _unreadable(disk, "It does not answer. It may be failing.") for disk in disks]
        return together(surveys, self._secrets.volume_keys)

    def survey_one(self, name: str, beside: Sequence[str] = ()) -> DiskSurvey:
        """See Machine."""
        return survey_together(resolve(name), beside, self._secrets.volume_keys)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See Machine."""
        return watch(changed)

    def places(self) -> list[Place]:
        """See Machine."""
        # The roomiest first: that is where backups are, not on the system's small boot partitions.
        return sorted(find_places(self.survey(), self._kernel), key=lambda place: -place.size)

    def open_place(self, place: Place, writable: bool) -> AbstractContextManager[Path]:
        """See Machine."""
        return MountedPlace(place, writable)

    def images(self, folder: Path) -> list[ImageSummary]:
        """See Machine."""
        return list_images(FolderStore(folder), self._secrets)

    def image(self, path: str, *, salvage: bool = False) -> ImageSummary:
        """See Machine."""
        if salvage:
            # This reads partition tables and identifies file systems, which few commands need.
            from rescue.engine.salvaged_image import open_salvaged

            with open_salvaged(local_path(path), self._secrets) as chain:
                return chain.summary()
        with open_chain(local_path(path), self._secrets, incomplete=True) as chain:
            return chain.summary()

    def is_encrypted(self, path: str) -> bool:
        """See Machine."""
        try:
            with open_source(local_path(path)) as source:
                header = read_header(source)
        except RescueError:
            return False  # what is wrong with it is told when it is opened
        return header is not None and bool(header.encryption)

    def with_secrets(self, secrets: Secrets) -> Self:
        """See Machine."""
        other = copy.copy(self)
        other._secrets = replace(secrets, volume_keys={**self._secrets.volume_keys, **secrets.volume_keys})
        return other

    def with_unlocked(self, source: ImageSummary | DiskSurvey, partition: int, secret: bytes) -> Self:
        """See Machine."""
        from rescue.services.unlocking import volume_keys

        keys = volume_keys(source, partition, secret, self._secrets)
        return self.with_secrets(replace(self._secrets, volume_keys=keys))

    def plan_backup(self, source: DiskSurvey, store: str, request: BackupRequest) -> Plan:
        """See Machine."""
        folder = FolderStore(local_path(store))
        folder.check_writable()
        names = [*folder.names(), *folder.incomplete()]
        devices, files = stands_on(self._kernel, str(folder.folder))
        left = interrupted(folder, source, self._secrets)
        facts = StoreFacts(
            folder=str(folder.folder),
            free_bytes=folder.free_bytes,
            names=frozenset(names),
            busy=frozenset(folder.names_being_written()),
            filesystem=filesystem_of(folder.folder, self._kernel),
            disks=(*(f"/dev/{name}" for name in devices), *files),
            images=tuple(list_images(folder, self._secrets)) if request.kind != "full" else (),
            begun=left.begun,
            left=left.others,
        )
        return plan_backup(source, facts, request, host=socket.gethostname(), today=datetime.datetime.now().astimezone().date())

    def plan_restore(self, image: str, target: DiskSurvey, request: RestoreRequest) -> Plan:
        """See Machine."""
        summary = self._with_damage(self.image(image, salvage=request.salvage), salvage=request.salvage)
        protected = self._protected_with(target, local_path(image))
        is_asked = (
            request.wishes.changes or bool(request.wishes.table) or request.wishes.new_ids or request.fit in ("auto", "keep")
        )
        if summary.disk is None or summary.layout is None or (request.salvage and not is_asked):
            return plan_restore(summary, protected, request)
        sizes, own = (summary.disk.size, target.disk.size), summary.layout.sector_size
        sector_size = target_sectors(target.disk, own, request.wishes.sector_size)
        if sector_size == own and not needs_fit(*sizes, request.fit, request.wishes, summary.layout.label):
            return plan_restore(summary, protected, request)
        if request.salvage:
            raise RefusedError(_SALVAGED, _SALVAGED_HINT)
        source = fit_source_of(summary)
        from rescue.services.fitting import (
            checked_overlay,
            image_containers,
            image_minimums,
            image_plan_with_room,
            image_refillable,
            image_sectors,
        )

        folder = checked_overlay(request.wishes.overlay, target.disk, self._kernel)
        with open_chain(local_path(image), self._secrets) as chain:
            minimums = image_minimums(chain, folder) if may_shrink(*sizes, request.wishes) else {}
            sectors = image_sectors(chain, sector_size) if sector_size != own else None
            larger = image_refillable(chain) if may_grow(*sizes, request.wishes) else frozenset()
            smaller, keys = may_shrink(*sizes, request.wishes), self._secrets.volume_keys
            containers = image_containers(chain, keys, folder, smaller=smaller) if sectors is None else {}
            mode = fit_mode(*sizes, request.fit, request.wishes)
            choice = FitChoice("restore", mode, minimums, request.verify, request.delta, request.wishes, sectors, larger)
            choice = replace(choice, containers=containers, unlock=request.unlock)
            return image_plan_with_room(plan_fit(source, protected, choice), chain, folder)

    def plan_clone(self, source: DiskSurvey, target: DiskSurvey, request: CloneRequest) -> Plan:
        """See Machine."""
        below: tuple[str, ...] = ()
        if target.disk.is_file:
            devices, files = stands_on(self._kernel, target.disk.path)
            below = (*(f"/dev/{name}" for name in devices), *files)
        protected = self._protected_with(target, source.disk.path)
        source = without(source, target.disk)
        sizes, own = (source.disk.size, target.disk.size), source.layout.sector_size
        sector_size = target_sectors(target.disk, own, request.wishes.sector_size)
        fits = sector_size != own or needs_fit(*sizes, request.fit, request.wishes, source.layout.label)
        if source.unreadable or not fits:
            return plan_clone(source, protected, request, stands_on=below)
        refuse_clone(source, protected, below)
        from rescue.services.fitting import (
            checked_overlay,
            disk_containers,
            disk_minimums,
            disk_plan_with_room,
            disk_refillable,
            disk_sectors,
        )

        folder = checked_overlay(request.wishes.overlay, target.disk, self._kernel, source.disk)
        minimums = disk_minimums(source, folder) if may_shrink(*sizes, request.wishes) else {}
        sectors = disk_sectors(source, sector_size) if sector_size != own else None
        larger = disk_refillable(source) if may_grow(*sizes, request.wishes) else frozenset()
        smaller, keys = may_shrink(*sizes, request.wishes), self._secrets.volume_keys
        containers = disk_containers(source, keys, folder, smaller=smaller) if sectors is None else {}
        mode = fit_mode(*sizes, request.fit, request.wishes)
        choice = FitChoice("clone", mode, minimums, request.verify, request.delta, request.wishes, sectors, larger)
        choice = replace(choice, containers=containers, unlock=request.unlock)
        layout, disk = source.layout, source.disk
        wanted = FitSource("", disk_words(disk), disk, layout, source.volumes, source.used_bytes)
        return disk_plan_with_room(plan_fit(wanted, protected, choice), source, folder)

    def fit_facts(self, source: ImageSummary | DiskSurvey, target: DiskSurvey) -> FitFacts:
        """See Machine."""
        from rescue.services.fitting import disk_facts, image_facts

        if isinstance(source, DiskSurvey):
            return disk_facts(source, target.disk, self._secrets.volume_keys)
        with open_chain(local_path(source.path), self._secrets) as chain:
            return image_facts(chain, target.disk, self._secrets.volume_keys)

    def _with_damage(self, image: ImageSummary, *, salvage: bool) -> ImageSummary:
        """The same, with what its gaps cost."""
        lacks = image.bad_bytes or (image.problem and image.disk and image.problem_exit_code == DamagedError.exit_code)
        if image.damage or not lacks:
            return image
        # These read files in file systems, which few commands need: they are imported when they are.
        from rescue.engine.damage import damage_of
        from rescue.engine.mending import missing_of
        from rescue.engine.salvaged_image import open_salvaged
        from rescue.images.view import ImageView

        with (
            open_salvaged(image.path, self._secrets)
            if salvage
            else open_chain(image.path, self._secrets, incomplete=True) as chain
        ):
            found = damage_of(ImageView(chain), chain.manifest.volumes, missing_of(chain), seconds=_DAMAGE_SECONDS)
        return replace(image, damage=found)

    def _protected_with(self, survey: DiskSurvey, image: str) -> DiskSurvey:
        """The survey with the protections of now, and with that of holding the image."""
        return DiskSurvey(
            survey.disk,
            survey.layout,
            survey.volumes,
            survey.fingerprint,
            tuple(protections(survey.disk, (image,))),
            survey.is_rescue_medium,
            survey.unreadable,
        )

    def plan_verify(self, image: str, against: DiskSurvey | None = None, *, mount: bool = False) -> Plan:
        """See Machine."""
        return plan_verify(self.image(image), against, mount=mount)

    def plan_verify_store(self, folder: str) -> Plan:
        """See Machine."""
        store = FolderStore(local_path(folder))
        return plan_verify_store(str(store.folder), list_images(store, self._secrets))

    def plan_partition(self, target: DiskSurvey, request: PartitionRequest) -> Plan:
        """See Machine."""
        from rescue.services.partitions import plan_edit

        return plan_edit(target, request)

    def plan_undo(self, target: DiskSurvey, file: str) -> Plan:
        """See Machine."""
        from rescue.services.partitions import plan_put_back

        return plan_put_back(target, file)

    def plan_repair(self, target: DiskSurvey, save: str) -> Plan:
        """See Machine."""
        from rescue.services.partitions import plan_mend

        return plan_mend(target, save)

    def find_lost(self, survey: DiskSurvey, deep: bool, token: CancelToken, progress: Callable[[int, int], None]) -> list[Lost]:
        """See Machine."""
        from rescue.services.partitions import find_lost

        return find_lost(survey, deep, token, progress)

    def looks(self, survey: DiskSurvey) -> Looks:
        """See Machine."""
        from rescue.services.partitions import DiskLooks

        return DiskLooks(survey)

    def plan_wipe(self, target: DiskSurvey, request: WipeRequest) -> Plan:
        """See Machine."""
        return plan_wipe(target, request, sanitizing(target.disk) if request.method == "sanitize" else None)

    def plan_prune(self, folder: str, request: PruneRequest) -> Plan:
        """See Machine."""
        from rescue.engine.lineage import Lineages

        store = FolderStore(local_path(folder))
        store.check_writable()
        # The images first: what appears in between is set aside.
        images = tuple(list_images(store, self._secrets))
        lineages = Lineages(store, self._secrets).look()
        links = frozenset(lineage.name for lineage in lineages if store.is_link(lineage.name))
        state = StoreState(
            folder=str(store.folder),
            images=images,
            lineages=without_aliases(lineages, links),
            links=links,
            partials=tuple(partial.name for partial in store.partials()),
            interrupted=bool(store.interrupted_removals()),
        )
        return plan_prune(state, request, now=datetime.datetime.now(datetime.UTC), zone=None)

    def plan_consolidate(self, image: str, store: str, name: str = "", split: int = 0) -> Plan:
        """See Machine."""
        folder = FolderStore(local_path(store))
        folder.check_writable()
        facts = StoreFacts(
            folder=str(folder.folder),
            free_bytes=folder.free_bytes,
            names=frozenset([*folder.names(), *folder.incomplete()]),
            busy=frozenset(folder.names_being_written()),
            filesystem=filesystem_of(folder.folder, self._kernel),
        )
        return plan_consolidate(self.image(image), facts, name, split, can_seal=bool(self._secrets))

    def plan_export(self, image: str, file: str, format_: str = "") -> Plan:
        """See Machine."""
        return plan_export(self.image(image), _file_facts(file), format_)

    def volumes_in(self, source: ImageSummary | DiskSurvey, partition: int, *, salvage: bool = False) -> list[tuple[str, Volume]]:
        """See Machine."""
        from rescue.services.files import volumes_in

        return volumes_in(source, partition, self._secrets, salvage=salvage)

    def open_files(
        self, source: ImageSummary | DiskSurvey, partition: int, inside: str = "", *, salvage: bool = False
    ) -> AbstractContextManager[FileBrowser]:
        """See Machine."""
        from rescue.services.files import open_browser

        return open_browser(source, partition, self._secrets, inside, salvage=salvage)

    def mount_image(self, image: str, folder: str, *, salvage: bool = False) -> MountedImage:
        """See Machine."""
        from rescue.services.mounts import mount_image

        return mount_image(image, folder, self._secrets, salvage=salvage)

    def mounted_images(self) -> list[MountedImage]:
        """See Machine."""
        from rescue.services.mounts import mounted_images

        return mounted_images()

    def unmount_image(self, folder: str) -> None:
        """See Machine."""
        from rescue.services.mounts import unmount_image

        unmount_image(folder)

    def opens_with(self, image: str) -> tuple[SlotKind, ...]:
        """See Machine."""
        from rescue.images.rekey import key_area_of

        return tuple(sorted(key_area_of(local_path(image)).kinds))

    def change_keys(self, image: str, changes: Changes) -> tuple[SlotKind, ...]:
        """See Machine."""
        from rescue.images.rekey import rekey_file

        return tuple(sorted(rekey_file(local_path(image), self._secrets, changes).kinds))

    def plan_extract(self, source: ImageSummary | DiskSurvey, partition: int, request: ExtractRequest) -> Plan:
        """See Machine."""
        from rescue.services.files import plan_from_files

        return plan_from_files(source, partition, request, self._kernel, self._secrets)

    def start(self, plan: Plan) -> Job:
        """See Machine."""
        standby, self._standby = self._standby, None
        return start(plan, self._jobs, self._secrets, standby)

    def jobs(self) -> list[Job]:
        """See Machine."""
        return list(list_jobs(self._jobs))

    def power(self, action: Literal["poweroff", "reboot"]) -> None:
        """See Machine."""
        words = Path("/proc/cmdline").read_text().split()
        if "boot=live" not in words:
            raise RefusedError("This computer does not run from the rescue medium.", "Switch it off in its own way.")
        run(["systemctl", action])


def _file_facts(file: str) -> FileFacts:
    path = Path(local_path(file)).absolute()
    if not path.parent.is_dir():
        raise UsageError(f"The folder {path.parent} does not exist.")
    space = os.statvfs(path.parent)
    return FileFacts(str(path), path.suffix.lower(), os.path.lexists(path), str(path.parent), space.f_bavail * space.f_frsize)


def _survey(disk: Disk) -> DiskSurvey:
    try:
        return survey_disk(disk)
    except RescueError as error:
        return _unreadable(disk, str(error))


def _unreadable(disk: Disk, because: str) -> DiskSurvey:
    return DiskSurvey(
        disk=disk,
        layout=Layout(disk.size, disk.logical_sector_size, "none"),
        volumes=(),
        fingerprint=Fingerprint(disk.path, disk.size, disk.serial, disk.wwn, disk.diskseq, ""),
        unreadable=because,
    )
