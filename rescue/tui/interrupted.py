"""Which of the jobs were interrupted and can be gone on with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import get_args

from rescue.model.disk import Disk
from rescue.model.fit import NO_WISHES, FitMode, FitWish, FitWishes, WishKind
from rescue.model.fitting import FitDisk
from rescue.model.plan import CaptureDisk, DeployImage, MendImage, Plan
from rescue.model.survey import DiskSurvey, Place
from rescue.records import replace
from rescue.tui.follow import Follower
from rescue.units import parse_size


def disk_of(plan: Plan) -> Disk | None:
    """The disk that a backup reads, or a restore or a clone writes."""
    return plan.target if plan.kind in ("restore", "clone") else plan.source if plan.kind == "backup" else None


def image_of(plan: Plan) -> str:
    """The path of the image that a restore reads; empty for other jobs."""
    return next((step.image for step in plan.steps if isinstance(step, DeployImage | FitDisk)), "")


def fit_of(plan: Plan) -> tuple[FitMode | None, FitWishes]:
    """How a restore or clone was to be fitted, as its command tells."""
    mode: FitMode | None = None
    wishes = replace(NO_WISHES, new_ids="--new-ids" in plan.command)
    for option, value in pairwise(plan.command):
        match option:
            case "--fit":
                mode = next((known for known in get_args(FitMode) if known == value), None)
            case "--size":
                wishes = replace(wishes, volumes=(*wishes.volumes, _sized(value)))
            case "--leave-out":
                wishes = replace(wishes, volumes=(*wishes.volumes, FitWish(int(value), "leave-out")))
            case "--order":
                wishes = replace(wishes, order=tuple(int(number) for number in value.split(",")))
            case "--table":
                wishes = replace(wishes, table="gpt" if value == "gpt" else "dos")
            case "--sector-size":
                wishes = replace(wishes, sector_size=int(value))
            case "--overlay":
                wishes = replace(wishes, overlay=value)
    return mode, wishes


def unlocked_of(plan: Plan) -> tuple[int, ...]:
    """The partitions whose encrypted volumes were opened for a job, as its command tells."""
    return tuple(int(value) for option, value in pairwise(plan.command) if option == "--unlock" and value.isdigit())


def _sized(text: str) -> FitWish:
    number, _, size = text.partition("=")
    match size:
        case "same":
            return FitWish(int(number), "keep")
        case "min" | "max":
            return FitWish(int(number), size)
    kind: WishKind = "at-least" if size.endswith("+") else "exactly"
    return FitWish(int(number), kind, parse_size(size.removesuffix("+")))


def folder_of(plan: Plan) -> str:
    """The folder that a backup writes into, or that the image of a restore is in."""
    captures = [step.store for step in plan.steps if isinstance(step, CaptureDisk | MendImage)]
    return captures[0] if captures else str(Path(image_of(plan)).parent)


def interrupted(followers: Iterable[Follower]) -> list[Follower]:
    """The jobs that did not come to their end after they had begun, the newest of each disk only; ``followers`` newest first.

    A later job on the same disk takes the place of one before it, however it ended.
    """
    found = []
    seen: set[tuple[str, str, str]] = set()
    for follower in followers:
        plan = follower.job.plan
        disk = disk_of(plan)
        if disk is None:
            continue
        about = (plan.kind, disk.path, disk.serial)
        if about in seen:
            continue
        seen.add(about)
        # Before its first step nothing was written: there is nothing to go on with.
        if follower.finished is None or follower.finished.state == "succeeded" or follower.current < 0:
            continue
        # What a damaged image could give was restored: another time it gives the same.
        if plan.kind != "restore" or not follower.finished.facts.get("missing_bytes"):
            found.append(follower)
    return found


def same_disk(surveys: Sequence[DiskSurvey], disk: Disk) -> DiskSurvey | None:
    """The disk of a job among those that are here now: by path, size and serial."""
    who = (disk.path, disk.size, disk.serial)
    return next((survey for survey in surveys if (survey.disk.path, survey.disk.size, survey.disk.serial) == who), None)


def place_of(places: Sequence[Place], folder: str) -> Place | None:
    """The place that a job's folder was in; None when it is in none of these."""
    path = Path(folder)
    inside = [place for place in places if _mounted_at(place) and path.is_relative_to(_mounted_at(place))]
    return max(inside, key=lambda place: len(_mounted_at(place)), default=None)


def _mounted_at(place: Place) -> str:
    return place.folder or place.point
