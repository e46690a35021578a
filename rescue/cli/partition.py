"""``rescue partition DISK OPERATION…``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO
from uuid import uuid4

from rescue.cli.follow import follow, report
from rescue.cli.layout_text import layout_text
from rescue.cli.lost import search
from rescue.cli.options import Context, add_job, progress_style
from rescue.cli.review import plan_json, plan_text
from rescue.errors import ProgramError, RefusedError, UsageError
from rescue.model.edit import MoveVolume
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey
from rescue.planning.partition_plan import PartitionRequest, layouts_of
from rescue.planning.partition_preview import preview
from rescue.planning.words import disk_words
from rescue.services import Machine

_OPERATIONS = """operations, each one argument, done in this order:
  table gpt|mbr
  convert gpt|mbr
  create [start=SIZE] [size=SIZE|max] [type=TYPE] [name=NAME] [fs=FS] [label=LABEL]
  add start=SIZE size=SIZE [type=TYPE] [name=NAME]
  delete N
  resize N size=SIZE|max
  move N start=SIZE
  copy N [start=SIZE]
  format N fs=FS [label=LABEL]
  label N LABEL
  name N NAME
  type N TYPE
  flag N FLAG=on|off
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser(
        "partition",
        help="change the partitions of a disk",
        allow_abbrev=False,
        epilog=_OPERATIONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("disk", metavar="DISK", help="device node, by-id name, serial:…, or a raw disk file")
    parser.add_argument("operations", metavar="OPERATION", nargs="*", help="such as 'create size=10GiB fs=ext4'; see below")
    parser.add_argument("--save", metavar="FILE", default="", help="keep the old partition table in this file")
    parser.add_argument(
        "--undo", metavar="FILE", nargs="?", const="", help="put the partition table back (default: the one that was kept last)"
    )
    parser.add_argument("--repair", action="store_true", help="write a damaged GPT anew from its copy that is whole")
    parser.add_argument("--search", action="store_true", help="search free space for partitions that the table has lost")
    parser.add_argument("--deep", action="store_true", help="with --search: look at every sector, not only at usual places")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="complete a move that was interrupted")
    parser.add_argument("--yes", action="store_true", help="change the disk without asking for the typed confirmation")
    add_job(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, show, confirm, run."""
    if sum((bool(arguments.operations), arguments.undo is not None, arguments.go_on, arguments.repair, arguments.search)) > 1:
        raise UsageError("Operations, --undo, --repair, --continue and --search cannot be given together.")
    if arguments.deep and not arguments.search:
        raise UsageError("--deep belongs to --search.")
    machine = context.machine
    target = machine.survey_one(arguments.disk)
    if arguments.search:
        return search(arguments, context, target)
    if arguments.undo is not None:
        plan = machine.plan_undo(target, arguments.undo)
    elif arguments.repair:
        plan = machine.plan_repair(target, arguments.save)
    else:
        plan = machine.plan_partition(target, PartitionRequest(tuple(arguments.operations), arguments.save, arguments.go_on))
    if arguments.dry_run:
        print(
            plan_json(plan) if arguments.json else "\n".join(_shown(plan, target, arguments.operations, machine)),
            file=context.stdout,
        )
        return 0
    style = progress_style(arguments, context.stderr)
    if style == "bar" or not arguments.yes:
        print("\n".join(_shown(plan, target, arguments.operations, machine)), file=context.stderr)
    if not arguments.yes:
        _confirm(plan, context.stdin, context.stderr)
    return report(follow(lambda: machine.start(plan), style, context.stderr), arguments.json)


def _shown(plan: Plan, survey: DiskSurvey, operations: Sequence[str], machine: Machine) -> list[str]:
    """The plan, and the partitions before and after it."""
    layouts = layouts_of(plan)
    if layouts is None:
        return plan_text(plan)
    before = {volume.start: volume.identity for volume in survey.volumes}
    moved = [(step, p) for step in plan.steps if isinstance(step, MoveVolume) for p in step.after.partitions]
    after = before | {p.start: step.identity for step, p in moved if p.number == step.number}
    # A queue that goes on after an interrupted move has been done in part, and cannot be done from its beginning.
    with suppress(RefusedError, UsageError, ProgramError):
        found = preview(survey, operations, lambda: str(uuid4()), machine.looks(survey))
        after = {volume.start: volume.identity for volume in found.survey.volumes} if operations else after
    return ["Before:", *layout_text(layouts[0], before), "", "After:", *layout_text(layouts[1], after), "", *plan_text(plan)]


def _confirm(plan: Plan, stdin: TextIO, stderr: TextIO) -> None:
    """Let a person type who the disk is. Raises RefusedError when there is no terminal, or it is not the same."""
    target = plan.target
    if target is None:
        return
    if not stdin.isatty():
        raise RefusedError(
            f"The partitions of {disk_words(target)} would be changed, and nobody is here to confirm it.",
            "Add --yes to allow it without asking. Nothing was written.",
        )
    of_what = "its serial" if target.serial.strip() else "its name"
    stderr.write(f"\nTo change it, type the last characters of {of_what}, {target.confirmation}: ")
    stderr.flush()
    if stdin.readline().strip() != target.confirmation:
        raise RefusedError("Not confirmed.", "Nothing was written.")
