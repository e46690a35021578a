"""In what state a job that did not end well leaves things, and how to continue. Sentences for people."""

from __future__ import annotations

from typing import assert_never

from rescue.errors import RescueError
from rescue.jobs.edit_words import PartitionStep, after_edit, after_wipe
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
from rescue.stores.folder import FolderStore
from rescue.units import human_size


def nothing_done(plan: Plan) -> str:
    """For a job that ended before its first step."""
    return f"Nothing was written to {plan.target.path}." if plan.target else "Nothing was written."


def between(plan: Plan, done: Step, after: Step) -> str:
    """For a job that ended behind the step ``done``, all of it, and before the next."""
    if isinstance(done, SaveTables):
        return after_edit(done)
    if isinstance(done, PartitionStep):
        return (
            "The steps up to here are done, the others were not begun: look at what is there now, and queue the rest again"
            f" (rescue disks {done.target})."
        )
    # Of what is to come nothing is there yet: the state is that of the next step at its beginning.
    return aftermath(plan, after)


def aftermath(plan: Plan, step: Step) -> str:
    """For a job that ended within ``step``."""
    match step:
        case CaptureDisk():
            return f"{_what_is_left(step)} {step.source.path} was not changed."
        case MendImage():
            return (
                f"The image {step.store}/{step.image} is complete but for what could not be read; what was won since is kept in"
                f" {step.salvage}. Run the same command again to go on."
            )
        case VerifyImage() if plan.kind in ("backup", "consolidate"):
            return f"The image {step.image} is complete, but it is not proved. Check it with: rescue verify {step.image}"
        case MountImage() if plan.kind == "backup":
            return (
                f"The image {step.image} is complete and its hashes are right, but its file systems are not proved."
                f" Check them with: rescue verify --mount {step.image}"
            )
        case VerifyImage() | VerifyStore() | CompareDisk() | MountImage():
            return "Nothing was changed."
        case ConsolidateImage():
            return f"{_what_is_left(step)} {step.image} was not changed."
        case RemoveImages():
            return f"Each image in {step.store} is whole or gone. Run the same command again to go on."
        case ExportImage():
            return f"{step.file} was not made; the image was not changed."
        case ExtractFiles():
            return f"What was copied completely is in {step.folder}; nothing else was changed."
        case WipeTarget() | CloneDisk() | CloneTable() if plan.kind == "clone":
            return (
                f"{step.target} is only partly written: its old content is lost and it does not start a computer."
                f" Run the same command again to clone it completely.{_source_kept(plan)}"
            )
        case FitVolumes() | FitReadBack() | FitIds() if any(isinstance(later, FitIds) for later in plan.steps):
            return (
                f"{step.target} has its data, but no partition table yet: it does not start a computer."
                f" Run the same command again to write it completely.{_source_kept(plan)}"
            )
        case FitDisk() | FitTable() | FitIds():
            return (
                f"{step.target} is not written, or only partly: then its old content is lost and it does not start a computer."
                f" Run the same command again to write it completely.{_source_kept(plan)}"
            )
        case FitVolumes():
            return (
                f"{step.target} was written completely, but not all its file systems fill their partitions yet."
                f" Run the same command again.{_source_kept(plan)}"
            )
        case CloneReadBack() | FitReadBack():
            return (
                f"{step.target} was written completely, but it is not proved. Run the same command again to be sure."
                f"{_source_kept(plan)}"
            )
        case WipeTarget() | DeployImage() | WriteTable() | CloneDisk() | CloneTable():
            return (
                f"{step.target} is only partly written: its old content is lost and it does not start a computer."
                " Run the same command again to restore it completely."
            )
        case ReadBack():
            return f"{step.target} was written completely, but it is not proved. Run the same command again to be sure."
        case EraseExtents() | ProveErased() | SanitizeDisk():
            return after_wipe(step)
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
            return after_edit(step)
        case _:
            assert_never(step)


def _source_kept(plan: Plan) -> str:
    return f" {plan.source.path} was not changed." if plan.source else ""


def _what_is_left(step: CaptureDisk | ConsolidateImage) -> str:
    try:
        left = next((partial for partial in FolderStore(step.store).partials() if partial.name == step.name), None)
    except (RescueError, OSError):
        return f"What was written of {step.store}/{step.name} is not an image yet."
    if left is None:
        return "It left no incomplete image."
    return (
        f"What was written is kept ({human_size(left.size)}, {step.store}/{step.name}.partial): run the same command again to"
        " go on with it."
    )


def after_kill(plan: Plan, step: Step) -> str:
    """For a job whose process was killed within ``step``, so that it could clean nothing up."""
    if isinstance(step, CaptureDisk):
        return f"{_what_is_left(step)} {step.source.path} was not changed."
    if isinstance(step, ConsolidateImage):
        return f"{_what_is_left(step)} {step.image} was not changed."
    if isinstance(step, ExportImage):
        return f"{step.file}.partial is incomplete: remove it. The image was not changed."
    if isinstance(step, ExtractFiles):
        return f"What was copied is in {step.folder}; the last file there may be incomplete. Nothing else was changed."
    return aftermath(plan, step)
