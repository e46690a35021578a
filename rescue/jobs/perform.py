"""The steps of a plan, done by the engine. What does a step is imported when the step begins: most plans need little of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, assert_never

from rescue.errors import DamagedError, RescueError
from rescue.images.chain import Chain
from rescue.images.format import Kind
from rescue.images.proofs import What, record_result
from rescue.images.reader import ImageFile
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.jobs.execute import Facts
from rescue.jobs.guard import check_source, check_target
from rescue.jobs.reporter import Reporter
from rescue.model.clone import CloneDisk, CloneReadBack, CloneTable
from rescue.model.edit import (
    CopyVolume,
    EraseExtents,
    FormatVolume,
    LabelVolume,
    MoveVolume,
    ProveErased,
    PutTableBack,
    ResizeVolume,
    SanitizeDisk,
    SaveTables,
    SetTable,
)
from rescue.model.fitting import FitDisk, FitIds, FitReadBack, FitTable, FitVolumes
from rescue.model.plan import (
    CaptureDisk,
    CompareDisk,
    ConsolidateImage,
    DeployImage,
    ExportImage,
    ExtractFiles,
    MendImage,
    MountImage,
    Plan,
    ReadBack,
    RemoveImages,
    Step,
    VerifyImage,
    VerifyStore,
    WipeTarget,
    WriteTable,
)
from rescue.model.progress import CancelToken
from rescue.stores.folder import FolderStore
from rescue.system.blockfile import FileSource
from rescue.system.joined import open_source

if TYPE_CHECKING:
    from rescue.engine.deploy import Deployment
    from rescue.jobs.cloning import Cloning
    from rescue.jobs.fitting import Fitting


class EngineSteps:
    """Performs steps. A context manager: the target of a restore stays open, and so reserved, from its first step to its last."""

    def __init__(self, plan: Plan, host: str, secrets: Secrets = NO_SECRETS) -> None:
        self._plan = plan
        self._host = host
        self._secrets = secrets
        self._deployment: Deployment | None = None
        self._cloning: Cloning | None = None
        self._fitting: Fitting | None = None
        self._not_made: dict[str, str] = {}  # paths of images that turned out not to be needed, and the newest instead
        self._salvaged: str = ""  # folder of what is known of a failing disk, once all of that is in images

    @property
    def _reads_back(self) -> bool:
        return any(isinstance(step, ReadBack) for step in self._plan.steps)

    def guard(self) -> None:
        """See Performer."""
        check_source(self._plan)
        check_target(self._plan)

    def perform(self, step: Step, token: CancelToken, reporter: Reporter) -> Facts:
        """See Performer."""
        match step:
            case CaptureDisk():
                return self._capture(step, token, reporter)
            case MendImage():
                return self._mend(step, token, reporter)
            case VerifyImage():
                return self._verify(step, token, reporter)
            case MountImage():
                return self._mount(step, token, reporter)
            case ExportImage():
                from rescue.engine.convert import export_disk

                with Chain(step.image, self._secrets) as chain:
                    stored = export_disk(chain, Path(step.file), step.format, token=token, progress=reporter.progress)
                return {"image": step.image, "exported": step.file, "format": step.format, "file_size": stored}
            case ExtractFiles():
                from rescue.jobs.extracting import extract_files

                return extract_files(step, self._secrets, token, reporter)
            case CompareDisk():
                from rescue.engine.compare import compare_with_disk

                same = compare_with_disk(step.image, step.disk, self._secrets, token=token, progress=reporter.progress)
                return {"compared": step.disk.path, "compared_bytes": same.compared_bytes}
            case WipeTarget() if self._plan.kind == "clone":
                self._clone().wipe()
                return {}
            case CloneDisk():
                return self._clone().copy(token, reporter)
            case CloneTable():
                self._clone().write_table()
                return {}
            case CloneReadBack():
                return self._clone().read_back(token, reporter)
            case FitDisk():
                return self._fit().copy(token, reporter)
            case FitTable():
                self._fit().write_table()
                return {}
            case FitReadBack():
                return self._fit().read_back(token, reporter)
            case FitVolumes():
                self._fit().fill(step, token, reporter)
                return {}
            case FitIds():
                return self._fit().renew(step, token, reporter)
            case WipeTarget():
                self._open(_image_for(self._plan, step.target), step.target).wipe()
                return {}
            case DeployImage():
                deployment = self._open(step.image, step.target)
                deployment.write_data(token, reporter.progress, step.delta, proof=self._reads_back)
                written = {"written_bytes": deployment.written_bytes, "same_bytes": deployment.same_bytes}
                return {"image": step.image, "target": step.target, **written}
            case WriteTable():
                self._open(step.image, step.target).write_head()
                return {} if self._reads_back else self._losses(step.target)
            case ReadBack():
                proved = self._open(step.image, step.target).read_back(token, reporter.progress)
                return {"read_back": True, "read_back_bytes": proved} | self._losses(step.target)
            case RemoveImages():
                from rescue.jobs.removing import remove_images

                return remove_images(step, self._secrets, token, reporter)
            case ConsolidateImage():
                from rescue.jobs.consolidating import consolidate_image

                return consolidate_image(step, self._secrets, token, reporter)
            case VerifyStore():
                from rescue.jobs.checking import verify_store

                return verify_store(step, self._secrets, token, reporter)
            case EraseExtents() | ProveErased() | SanitizeDisk():
                from rescue.jobs.wiping import perform_wipe

                return perform_wipe(step, self._plan, token, reporter)
            case (
                SaveTables()
                | SetTable()
                | FormatVolume()
                | LabelVolume()
                | ResizeVolume()
                | MoveVolume()
                | CopyVolume()
                | PutTableBack()
            ):
                from rescue.jobs.editing import perform_edit

                return perform_edit(step, self._plan, token, reporter)
            case _:
                assert_never(step)

    def _capture(self, step: CaptureDisk, token: CancelToken, reporter: Reporter) -> Facts:
        from rescue.engine.capture import capture_disk
        from rescue.engine.making import Making
        from rescue.jobs.destination import StoreDestination

        if step.salvage:
            from rescue.engine.salvage import make_ready

            # What was known of the disk in an earlier state is not of this image.
            make_ready(Path(step.salvage), step.source.who, goes_on=bool(step.begun))
        with StoreDestination(FolderStore(step.store), step.name, step.split, anew=step.anew) as output:
            output.hold(list(step.holds))
            result = capture_disk(
                step.source,
                output,
                Making(Kind[step.kind.upper()], step.parent, step.encrypt, step.level, step.comment, self._host, step.decrypt),
                secrets=self._secrets,
                salvage=Path(step.salvage) if step.salvage else None,
                created=datetime.datetime.now(datetime.UTC),
                token=token,
                progress=reporter.progress,
                notify=reporter.message,
            )
            output.commit()
        return {
            "image": f"{step.store}/{step.name}",
            "uuid": result.uuid,
            "used_bytes": result.used_bytes,
            "stored_size": output.tell(),
            "hash": result.fingerprint,
        }

    def _mend(self, step: MendImage, token: CancelToken, reporter: Reporter) -> Facts:
        from rescue.jobs.salvaging import mend

        facts = mend(step, self._secrets, self._host, token, reporter)
        if not facts["won_bytes"]:
            self._not_made[f"{step.store}/{step.name}"] = f"{step.store}/{step.image}"
        if not facts["missing_bytes"]:
            self._salvaged = step.salvage
        proves = any(isinstance(later, VerifyImage) for later in self._plan.steps)
        if not facts["won_bytes"] or not proves:
            self._forget_salvaged()
        return facts

    def _forget_salvaged(self) -> None:
        if self._salvaged:
            from rescue.engine.salvage import forget

            with suppress(RescueError):
                forget(Path(self._salvaged))
            self._salvaged = ""

    def _verify(self, step: VerifyImage, token: CancelToken, reporter: Reporter) -> Facts:
        from rescue.engine.verify import DamagedImageError, verify_image

        if step.image in self._not_made:
            return {}
        if self._plan.kind in ("backup", "consolidate"):
            _forget_cached(step.image)
        try:
            with _recorded(step.image, "hashes"):
                result = verify_image(
                    step.image,
                    self._secrets,
                    own_only=step.own_only,
                    token=token,
                    progress=reporter.progress,
                    notify=reporter.message,
                )
        except DamagedImageError as error:
            from rescue.jobs.checking import damaged_image

            raise damaged_image(step.image, error, self._secrets) from error
        self._forget_salvaged()
        facts: Facts = {"image": step.image, "verified": True, "verified_bytes": result.checked_bytes}
        return facts | {"bad_bytes": result.bad_bytes} if result.bad_bytes else facts

    def _mount(self, step: MountImage, token: CancelToken, reporter: Reporter) -> Facts:
        from rescue.engine.mounting import prove_mounts

        image = self._not_made.get(step.image, step.image)
        with _recorded(image, "mounts"), Chain(image, self._secrets) as chain, ExitStack() as stack:
            source = stack.enter_context(FileSource(step.source.path)) if step.source else None
            proof = prove_mounts(
                chain, source=source, keys=self._secrets.volume_keys,
                token=token, progress=reporter.progress, notify=reporter.message,
            )  # fmt: skip
        return {
            "image": image,
            "checked_volumes": sum(volume.checked for volume in proof.volumes),
            "mounted_volumes": sum(volume.mounted for volume in proof.volumes),
            "files_read": sum(volume.files_read for volume in proof.volumes),
        }

    def _open(self, image: str, target: str) -> Deployment:
        if self._deployment is None:
            from rescue.engine.deploy import Deployment

            salvage = any(isinstance(step, DeployImage) and step.salvage for step in self._plan.steps)
            self._deployment = Deployment(image, target, self._secrets, salvage=salvage)
        return self._deployment

    def _clone(self) -> Cloning:
        if self._cloning is None:
            from rescue.jobs.cloning import Cloning

            self._cloning = Cloning(next(s for s in self._plan.steps if isinstance(s, CloneDisk)), self._secrets.volume_keys)
        return self._cloning

    def _fit(self) -> Fitting:
        if self._fitting is None:
            from rescue.jobs.fitting import Fitting

            self._fitting = Fitting(next(step for step in self._plan.steps if isinstance(step, FitDisk)), self._secrets)
        return self._fitting

    def _losses(self, target: str) -> Facts:
        """What the image could not give to the target, and whose that is: told by what is on the target now."""
        if self._deployment is None:
            return {}
        facts: Facts = {"defects": list(self._deployment.defects)} if self._deployment.defects else {}
        if not self._deployment.lost:
            return facts
        from rescue.engine.damage import damage_of
        from rescue.jobs.salvaging import damage_facts

        lost = self._deployment.lost
        with FileSource(target) as source:
            found = damage_of(source, self._deployment.volumes, lost)
        return facts | damage_facts(found) | {"missing_bytes": lost.total}

    def __enter__(self) -> EngineSteps:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._deployment is not None:
            self._deployment.close()
        if self._cloning is not None:
            self._cloning.close()
        if self._fitting is not None:
            self._fitting.close()


def _image_for(plan: Plan, target: str) -> str:
    """The image that a plan writes to ``target``."""
    return next(step.image for step in plan.steps if isinstance(step, DeployImage) and step.target == target)


@contextmanager
def _recorded(image: str, what: What) -> Iterator[None]:
    """Keep beside the image how its check ended, if that was with a result."""
    try:
        yield
    except DamagedError:
        _record(image, what, False)
        raise
    _record(image, what, True)


def _record(image: str, what: What, good: bool) -> None:
    # An image whose very end is damaged has no fingerprint that a result could be kept for.
    with suppress(RescueError), ImageFile(image) as file:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        record_result(image, file.fingerprint, what, good, now)


def _forget_cached(path: str) -> None:
    """Drop a file's pages from memory, so that a check reads what is on the medium."""
    with open_source(path) as source:
        source.drop_cache()
