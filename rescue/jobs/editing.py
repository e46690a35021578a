"""The steps of editing the partitions of a disk."""

from __future__ import annotations

import datetime
from typing import TypeAlias, assert_never

from rescue.engine.copying import copy_volume
from rescue.engine.editing import format_volume, resize_volume, set_table
from rescue.engine.labels import set_label
from rescue.engine.moving import move_volume
from rescue.engine.table_backup import make_backup, put_back, read_backup, write_backup
from rescue.errors import RefusedError
from rescue.jobs.edit_words import PartitionStep
from rescue.jobs.reporter import Reporter
from rescue.model.disk import Disk
from rescue.model.edit import CopyVolume, FormatVolume, LabelVolume, MoveVolume, PutTableBack, ResizeVolume, SaveTables, SetTable
from rescue.model.plan import Plan
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSource

Facts: TypeAlias = dict[str, str | int | float | bool | list[str]]


def perform_edit(step: PartitionStep, plan: Plan, token: CancelToken, reporter: Reporter) -> Facts:
    """Do one step. Raises RescueError."""
    match step:
        case SaveTables():
            with FileSource(step.target) as source:
                now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                backup = make_backup(source, _disk(plan), now, step.before, step.layouts, step.changed)
            write_backup(step.file, backup)
            return {"target": step.target, "saved": step.file}
        case SetTable():
            set_table(step.target, step.before, step.after)
            return {}
        case FormatVolume():
            format_volume(step.target, step.start, step.end, step.sector_size, step.filesystem, step.label)
            return {}
        case LabelVolume():
            set_label(step.target, step.start, step.end, step.identity, step.label, token.check)
            return {}
        case CopyVolume():
            return {"copied_bytes": copy_volume(step, token, reporter.progress)}
        case ResizeVolume():
            said = resize_volume(step.target, step.start, step.old_end, step.new_end, step.identity, token.check)
            return {"resized": said}
        case MoveVolume():
            return {"moved_bytes": move_volume(step, token, reporter.progress)}
        case PutTableBack():
            written = put_back(step.target, _disk(plan), read_backup(step.file))
            return {"target": step.target, "put_back": step.file, "written": written}
        case _:
            assert_never(step)


def _disk(plan: Plan) -> Disk:
    if plan.target is None:
        raise RefusedError("The plan does not say which disk is edited.", "Make a new plan.")
    return plan.target
