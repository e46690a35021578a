"""Run the steps of a plan in order and turn whatever happens into one verdict."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias, assert_never

from rescue.errors import CancelledError, GoneError, RescueError, SourceReadError
from rescue.jobs.aftermath import aftermath, between, nothing_done
from rescue.jobs.edit_words import edited_words, wiped_words
from rescue.jobs.losses import defect_words, incomplete, mended_words, unread_words
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
from rescue.model.progress import CancelToken, Finished
from rescue.units import human_size

Facts: TypeAlias = dict[str, str | int | float | bool | list[str]]


class IncompleteError(RescueError):
    """A step was done, but not with all that it was for; ``facts`` tell what was done."""

    def __init__(self, message: str, facts: Facts, hint: str = "") -> None:
        super().__init__(message, hint)
        self.facts = facts


class Performer(Protocol):
    """Does what the steps of one plan say."""

    def guard(self) -> None:
        """Look again, right before the first step, whether the plan may still be run. Raises RefusedError."""
        ...

    def perform(self, step: Step, token: CancelToken, reporter: Reporter) -> Facts:
        """Do one step; what it returns is added to the job's facts. Raises RescueError."""
        ...


def execute(
    plan: Plan,
    performer: Performer,
    token: CancelToken,
    reporter: Reporter,
    folder: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Finished:
    """Run the plan. Never raises: anything that is not a RescueError is a bug, told with ``folder``, where its traceback is."""
    facts: Facts = {}
    begun: Step | None = None
    start = clock()
    try:
        token.check()
        performer.guard()
        token.check()
        for index, step in enumerate(plan.steps):
            if begun and token.cancelled:
                return Finished("cancelled", CancelledError.exit_code, "Cancelled.", between(plan, begun, step), facts)
            begun = step
            reporter.begin(step.title, index, 0)
            facts |= performer.perform(step, token, reporter)
        facts["seconds"] = round(clock() - start, 1)
        done = _done(plan, facts)
        return incomplete(done, facts) if facts.get("missing_bytes") else Finished("succeeded", 0, done, "", facts)
    except CancelledError as error:
        return Finished("cancelled", error.exit_code, "Cancelled.", _state(plan, begun), facts)
    except IncompleteError as error:
        facts |= error.facts
        facts["seconds"] = round(clock() - start, 1)
        return Finished("failed", error.exit_code, error.message, error.hint, facts)
    except RescueError as error:
        if isinstance(error, SourceReadError) and isinstance(begun, CaptureDisk | CloneDisk):
            facts["source_failed"] = True
        if isinstance(error, GoneError) and isinstance(begun, CaptureDisk) and begun is plan.steps[0]:
            facts["plan_anew"] = True
        return Finished("failed", error.exit_code, error.message, f"{error.hint} {_state(plan, begun)}".strip(), facts)
    except Exception:  # noqa: BLE001 - the outermost frame of the job: what arrives here is a bug, and it must reach the person
        crash = folder / "crash.txt"
        crash.write_text(traceback.format_exc())
        return Finished(
            "failed",
            1,
            f"Rescue met an error of its own while working on this: {begun.title if begun else 'preparing'}.",
            f"{_state(plan, begun)} Please report it with the files in {folder}.",
            facts,
        )


def _state(plan: Plan, begun: Step | None) -> str:
    return aftermath(plan, begun) if begun else nothing_done(plan)


def copied_words(facts: Facts) -> str:
    """What was copied, as a sentence."""
    content = facts.get("content_bytes")
    size = f", {human_size(content)}" if isinstance(content, int) else ""
    parts = [(facts.get("files"), "file"), (facts.get("folders"), "folder"), (facts.get("links"), "link")]
    counted = [f"{number} {word}{'' if number == 1 else 's'}" for number, word in parts if number] or ["Nothing"]
    return f"{', '.join(counted)}{size}, copied into {facts.get('folder')}."


def removed_words(facts: Facts, store: str) -> str:
    """How many images were removed and stayed, as sentences."""
    removed, stayed, freed = facts.get("removed"), facts.get("stayed"), facts.get("freed_bytes")
    count = len(removed) if isinstance(removed, list) else 0
    said = f"{count} image{'' if count == 1 else 's'} removed from {store}"
    said += f", {human_size(freed)} are free again." if isinstance(freed, int) and freed else "."
    return f"{said} {len(stayed)} stayed." if isinstance(stayed, list) and stayed else said


def _consolidated(facts: Facts, step: ConsolidateImage) -> str:
    stored, data, again = facts.get("stored_size"), facts.get("data_bytes"), facts.get("recompressed_bytes")
    said = f"{step.image} is a full image of its own now: {step.store}/{step.name}"
    if isinstance(stored, int) and isinstance(data, int) and isinstance(again, int):
        said += f", {human_size(stored)}; {100 * again / data if data else 0:.0f} % of its data had to be compressed again"
    return said + "."


def _new_ids(facts: Facts, step: FitIds) -> str:
    """What has identifiers of its own, and what has not."""
    kept, unfollowed = _partitions(step.kept), _partitions(facts.get("unfollowed"))
    said = "It has identifiers of its own"
    said += f", but for what is in {kept}" if kept else ""
    said += ", and what names them on it was changed."
    return f"{said} Files in {unfollowed} may still name the old ones: change those by hand." if unfollowed else said


def _partitions(numbers: object) -> str:
    found = [str(number) for number in numbers] if isinstance(numbers, list | tuple) else []
    return f"partition{'s' if len(found) > 1 else ''} {', '.join(found)}" if found else ""


def _opened(facts: Facts) -> str:
    """What the proof by mounting did."""
    checked, mounted, files = facts.get("checked_volumes"), facts.get("mounted_volumes"), facts.get("files_read")
    if not checked and not mounted:
        return "It holds no file system that can be checked here."
    said = f"Its file systems were checked ({checked}) and mounted ({mounted})"
    return f"{said}, and {files} files in them were read." if files else f"{said}."


def _already(facts: Facts) -> str:
    same = facts.get("same_bytes")
    return f" {human_size(same)} of it were there already." if isinstance(same, int) and same else ""


def _done(plan: Plan, facts: Facts) -> str:
    """The sentence of success: what was done, and what was proved."""
    said = []
    for step in plan.steps:
        match step:
            case CaptureDisk():
                kept, stored = facts.get("used_bytes"), facts.get("stored_size")
                sizes = (
                    f": {human_size(kept)} kept in {human_size(stored)}"
                    if isinstance(kept, int) and isinstance(stored, int)
                    else ""
                )
                said.append(f"{step.source.path} is backed up as {step.store}/{step.name}{sizes}.")
            case MendImage():
                said.append(mended_words(step, facts))
            case VerifyImage(own_only=True) if plan.kind == "backup":
                said.append("What was written was read again: every hash in it is right. What it needs of older images was not.")
            case VerifyImage() if plan.kind in ("backup", "consolidate"):
                said.append("The image was read again and every hash in it is right.")
            case VerifyImage():
                said.append(f"{step.image} is whole: every hash in it is right.{unread_words(facts)}")
            case MountImage():
                said.append(_opened(facts))
            case ExportImage():
                said.append(f"{step.image} is exported as {step.file}, which was compared with it.")
            case WipeTarget() | DeployImage() | CloneDisk() | FitDisk():
                pass
            case FitTable():
                verb = "restored" if plan.kind == "restore" else "cloned"
                said.append(f"{facts.get('source')} is {verb} onto {step.target}, fitted to it.{_already(facts)}")
            case FitVolumes():
                said.append("The file systems that changed were checked by their own programs.")
            case FitIds():
                said.append(_new_ids(facts, step))
            case WriteTable():
                said.append(f"{step.image} is restored onto {step.target}.{_already(facts)}{defect_words(facts)}")
            case CloneTable():
                said.append(f"{step.source} is cloned onto {step.target}.{_already(facts)}")
            case CompareDisk():
                said.append(f"{step.disk.path} holds the same.")
            case ExtractFiles():
                said.append(copied_words(facts))
            case RemoveImages():
                said.append(removed_words(facts, step.store))
            case ConsolidateImage():
                said.append(_consolidated(facts, step))
            case VerifyStore():
                count = facts.get("whole_images")
                said.append(
                    f"All {count} images in {step.store} are whole." if count != 1 else f"The image in {step.store} is whole."
                )
            case ReadBack() | CloneReadBack() | FitReadBack():
                what = "What was written" if facts.get("missing_bytes") else "Everything"
                said.append(f"{what} was read back from the disk and is right.")
            case EraseExtents() | ProveErased() | SanitizeDisk():
                said.append(wiped_words(step, facts))
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
                said.append(edited_words(step, facts))
            case _:
                assert_never(step)
    if plan.kind == "clone" and not any(isinstance(step, FitIds) for step in plan.steps):
        said.append("Both disks have the same identifiers: take one of them out before a system is started from either.")
    return " ".join(dict.fromkeys(said))
