"""Planning what is done to the partitions of a disk of this machine."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from rescue.devices.gpt import parse_gpt
from rescue.devices.mbr import is_hybrid
from rescue.engine.editing import filled_by_own_account
from rescue.engine.lost import search_lost
from rescue.engine.minimum import in_place_minimum
from rescue.engine.move_journal import Begun, find_move
from rescue.engine.survey import map_disk
from rescue.engine.table_backup import SUFFIX, is_put_back, read_backup, refuse_to_put_back
from rescue.errors import FormatError, RefusedError, RescueError, UsageError
from rescue.filesystems.btrfs_trees import read_superblock
from rescue.model.disk import Disk
from rescue.model.edit import CopyVolume, FormatVolume, LabelVolume, MoveVolume, ResizeVolume
from rescue.model.extents import Extent
from rescue.model.layout import Layout, Partition
from rescue.model.lost import Lost
from rescue.model.plan import Plan
from rescue.model.progress import CancelToken
from rescue.model.source import SliceSource
from rescue.model.survey import DiskSurvey
from rescue.model.text import shown
from rescue.model.volume import Volume
from rescue.planning.partition_plan import PartitionRequest, plan_partition, plan_repair, plan_undo
from rescue.planning.partition_size import spread_error
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.units import human_size

_SYSTEM = Path("/var/lib/rescue/tables")


def tables_folder() -> Path:
    """Where old partition tables are kept unless a person names a file."""
    if os.geteuid() == 0:
        return _SYSTEM
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(state) / "rescue/tables"


def default_file(disk: Disk) -> str:
    """A new file for the old table of a disk."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", disk.serial or Path(disk.path).name).strip("-.") or "disk"
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return str(tables_folder() / f"{name}-{now}{SUFFIX}")


def newest_file(disk: Disk) -> str:
    """The newest table that is kept of a disk. Raises UsageError when there is none."""
    for file in sorted(tables_folder().glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            kept = read_backup(str(file)).disk
        except RescueError:
            continue
        if (kept.serial, kept.wwn, kept.size) == (disk.serial, disk.wwn, disk.size) and (
            not disk.is_file or shown(kept.path) == shown(disk.path)
        ):
            return str(file)
    raise UsageError(f"No partition table of {disk.title} is kept in {tables_folder()}.", "Name the file: --undo FILE.")


def interrupted_move(target: DiskSurvey) -> Begun | None:
    """The move that was interrupted on a disk. Raises RescueError when the disk cannot be read."""
    with FileSource(target.disk.path) as source:
        return find_move(source, target.layout)


class DiskLooks:
    """See :class:`rescue.planning.partition_draft.Looks`: reads the disk of a survey."""

    def __init__(self, survey: DiskSurvey) -> None:
        self._survey = survey
        self.seen: list[Volume] = []  # beside what the survey tells

    def volume(self, partition: Partition) -> Volume | None:
        """See Looks."""
        disk = self._survey.disk
        only = (replace(partition, kind="primary"),)
        around = Layout(disk.size, disk.logical_sector_size, "gpt", partitions=only)
        try:
            with FileSource(disk.path) as source:
                found = next((volume for volume, _ in map_disk(disk, source, around) if volume.identity.type), None)
        except RescueError:
            return None
        self.seen += [found] if found else []
        return found

    def filled(self, volume: Volume) -> int:
        """See Looks."""
        try:
            return filled_by_own_account(self._survey.disk.path, volume.start, volume.end)
        except RescueError:
            return 0

    def is_blank(self, place: Extent) -> bool:
        """See Looks."""
        try:
            with FileSource(self._survey.disk.path) as source:
                return source.pread(place.length, place.start) == bytes(place.length)
        except RescueError:
            return False  # what cannot be read is no place for a journal, either


def plan_edit(target: DiskSurvey, request: PartitionRequest) -> Plan:
    """See Machine."""
    file = os.path.abspath(request.save) if request.save else default_file(target.disk)
    begun = None if target.unreadable else interrupted_move(target)
    request = PartitionRequest(request.operations, file, request.go_on)
    looks = DiskLooks(target)
    plan = plan_partition(target, request, lambda: str(uuid4()).upper(), begun, looks)
    if begun is None:
        _refuse_unfit(target, plan, (*target.volumes, *looks.seen))
    return plan


def _refuse_unfit(target: DiskSurvey, plan: Plan, volumes: Sequence[Volume]) -> None:
    """Raise RefusedError when a tool would not do it to a file system, before operations in front of it are done."""
    known = {volume.start: volume for volume in volumes}
    for step in plan.steps:
        if isinstance(step, ResizeVolume | LabelVolume | CopyVolume) and step.identity.type == "btrfs" and step.start in known:
            _refuse_spread(target, known[step.start])
        match step:
            case MoveVolume():
                start, to = (
                    next(p.start for p in one.partitions if p.number == step.number) for one in (step.before, step.after)
                )
                if start in known:
                    known[to] = known.pop(start)
            case FormatVolume() | CopyVolume():
                known.pop(step.start if isinstance(step, FormatVolume) else step.to, None)
            case ResizeVolume() if step.new_end < step.old_end and step.start in known:
                volume, size = known[step.start], step.new_end - step.start
                least = in_place_minimum(target.disk.path, volume.start, volume.end, volume.identity)
                if size < least:
                    raise RefusedError(
                        f"Partition {volume.partition} cannot be made as small as {human_size(size)}: its {volume.identity.type}"
                        f" needs {least} bytes ({human_size(least)}).",
                        "Give it more room, or remove files first. Nothing was written.",
                    )
            case _:
                pass


def _refuse_spread(target: DiskSurvey, volume: Volume) -> None:
    """Raise RefusedError for a btrfs of several devices, which no survey of one disk tells by itself."""
    try:
        with FileSource(target.disk.path) as source:
            count = read_superblock(SliceSource(source, volume.start, volume.end)).num_devices
    except FormatError:
        return  # its own tools say what is wrong with it
    if count != 1:
        raise spread_error(f"Partition {volume.partition}")


def find_lost(survey: DiskSurvey, deep: bool, token: CancelToken, progress: Callable[[int, int], None]) -> list[Lost]:
    """See Machine."""
    with FileSource(survey.disk.path) as source:
        return search_lost(survey.disk, source, survey.layout, deep=deep, token=token, progress=progress)


def plan_put_back(target: DiskSurvey, file: str) -> Plan:
    """See Machine."""
    file = os.path.abspath(file) if file else newest_file(target.disk)
    plan = plan_undo(target, file)
    backup = read_backup(file)
    with FileSource(target.disk.path) as source:
        refuse_to_put_back(backup, target.disk, source)
        return plan_undo(target, file, done=True) if is_put_back(backup, source) else plan


def plan_mend(target: DiskSurvey, save: str) -> Plan:
    """See Machine."""
    hybrid = False
    if not target.unreadable:
        with FileSource(target.disk.path) as source:
            sector_size = target.disk.logical_sector_size
            hybrid = is_hybrid(source.pread(sector_size, 0))
            if target.layout.label == "none" and not any(volume.identity.type for volume in target.volumes):
                target = replace(target, layout=_left(source, sector_size) or target.layout)
    return plan_repair(target, os.path.abspath(save) if save else default_file(target.disk), hybrid=hybrid)


def _left(source: FileSource, sector_size: int) -> Layout | None:
    """The GPT of which a copy is left on a disk whose first sector does not say that it has one."""
    try:
        found = parse_gpt(source, sector_size)
    except FormatError:
        return None
    return found and replace(found, problems=(*found.problems, "The first sector of the disk does not say that it has a GPT."))
