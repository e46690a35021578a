"""``rescue wipe DISK``."""

from __future__ import annotations

import argparse

from rescue.cli.follow import follow, report
from rescue.cli.options import Context, add_job, progress_style
from rescue.cli.review import confirm, only_shown, plan_text
from rescue.planning.wipe import WipeRequest


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("wipe", help="erase a disk", allow_abbrev=False)
    parser.add_argument("disk", metavar="DISK", help="device node, by-id name, serial:…, or a raw disk file")
    parser.add_argument(
        "--method",
        required=True,
        choices=("quick", "zeros", "sanitize"),
        help="quick: what makes it look as if it held something; zeros: everything; sanitize: the disk erases itself",
    )
    parser.add_argument("--no-verify", action="store_true", help="do not read back what was erased")
    parser.add_argument("--yes", action="store_true", help="erase the disk without asking for the typed confirmation")
    add_job(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, show, confirm, run."""
    machine = context.machine
    plan = machine.plan_wipe(machine.survey_one(arguments.disk), WipeRequest(arguments.method, not arguments.no_verify))
    if only_shown(plan, arguments, context):
        return 0
    style = progress_style(arguments, context.stderr)
    if style == "bar" or not arguments.yes:
        print("\n".join(plan_text(plan)), file=context.stderr)
    if not arguments.yes:
        confirm(plan, context.stdin, context.stderr)
    return report(follow(lambda: machine.start(plan), style, context.stderr), arguments.json)
