"""Plans of the recorded machine for disks that are written over or changed: made by the real planners, on recorded disks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from rescue.devices.sanitize import Sanitizing
from rescue.errors import UsageError
from rescue.model.fit import FitMode, FitWishes
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.planning.clone import plan_clone, refuse_clone
from rescue.planning.fitting import FitChoice, FitSource, fit_source_of, needs_fit, plan_fit
from rescue.planning.partition_plan import PartitionRequest, plan_partition, plan_repair, plan_undo
from rescue.planning.request import CloneRequest, RestoreRequest
from rescue.planning.wipe import WipeRequest, plan_wipe
from rescue.planning.words import disk_words

KEPT: Final = "/var/lib/rescue/tables/S5GXNX0R207R0P-20261122T100000Z.json"
GUID: Final = "0F3B1E5C-0000-4000-8000-0000000000AA"


def minimums_of(source: ImageSummary | DiskSurvey) -> Mapping[int, int]:
    """Half more than what is used."""
    shrinkable = [v for v in source.volumes if v.identity.type in ("ext4", "ntfs", "xfs", "vfat")]
    return {v.partition: min(v.size, v.used_bytes * 3 // 2) for v in shrinkable}


def recorded_clone(source: DiskSurvey, target: DiskSurvey, request: CloneRequest) -> Plan:
    """See Machine.plan_clone."""
    if not needs_fit(source.disk.size, target.disk.size, request.fit, request.wishes):
        return plan_clone(source, target, request)
    refuse_clone(source, target, ())
    wanted = FitSource("", disk_words(source.disk), source.disk, source.layout, source.volumes, source.used_bytes)
    return _fitted("clone", wanted, target, request.fit, request.wishes, minimums_of(source))


def recorded_fit(image: ImageSummary, target: DiskSurvey, request: RestoreRequest) -> Plan | None:
    """See Machine.plan_restore; None where nothing has to be fitted, or the image does not say what is in it."""
    if image.disk is None or image.layout is None:
        return None
    if not needs_fit(image.disk.size, target.disk.size, request.fit, request.wishes):
        return None
    return _fitted("restore", fit_source_of(image), target, request.fit, request.wishes, minimums_of(image))


def _fitted(
    kind: Literal["restore", "clone"],
    source: FitSource,
    target: DiskSurvey,
    mode: FitMode | None,
    wishes: FitWishes,
    minimums: Mapping[int, int],
) -> Plan:
    return plan_fit(source, target, FitChoice(kind, mode or "auto", minimums, wishes=wishes))


def recorded_edit(target: DiskSurvey, request: PartitionRequest) -> Plan:
    """See Machine.plan_partition. No move was interrupted."""
    return plan_partition(target, PartitionRequest(request.operations, KEPT, request.go_on), lambda: GUID)


def recorded_undo(target: DiskSurvey, kept: bool) -> Plan:
    """See Machine.plan_undo."""
    if not kept:
        raise UsageError(f"No partition table of {target.disk.title} is kept in /var/lib/rescue/tables.", "Name the file.")
    return plan_undo(target, KEPT)


def recorded_repair(target: DiskSurvey) -> Plan:
    """See Machine.plan_repair."""
    return plan_repair(target, KEPT, hybrid=False)


def recorded_wipe(target: DiskSurvey, request: WipeRequest) -> Plan:
    """See Machine.plan_wipe: NVMe disks erase themselves, others cannot."""
    way = (
        Sanitizing("nvme-block")
        if target.disk.transport == "nvme"
        else Sanitizing(None, "its firmware froze it against erasing", "Unplug its power for a moment, then try again.")
    )
    return plan_wipe(target, request, way if request.method == "sanitize" else None)
