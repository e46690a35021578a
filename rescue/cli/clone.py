"""``rescue clone SOURCE TARGET``."""

from __future__ import annotations

import argparse

from rescue.cli.follow import follow, report
from rescue.cli.new_file import blank_file, names_new_file, new_file
from rescue.cli.options import Context, add_beside, add_fit, add_job, add_target, progress_style
from rescue.cli.review import confirm, plan_json
from rescue.cli.unlock import add_unlock, with_unlocked
from rescue.cli.wishes import add_wishes, fitted_text, wishes_of
from rescue.services import CloneRequest


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("clone", help="copy a disk over another one", allow_abbrev=False)
    parser.add_argument("source", metavar="SOURCE", help="device node, by-id name, serial:…, or a raw disk file; it is only read")
    add_target(parser)
    add_fit(parser)
    add_wishes(parser)
    parser.add_argument("--no-verify", action="store_true", help="do not read back what was written")
    parser.add_argument("--yes", action="store_true", help="erase the target without asking for the typed confirmation")
    add_unlock(parser)
    add_beside(parser)
    add_job(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, show, confirm, run."""
    machine = context.machine
    source = machine.survey_one(arguments.source, arguments.beside)
    if arguments.unlock:
        machine = with_unlocked(machine, source, arguments, context)
        source = machine.survey_one(arguments.source, arguments.beside)
    request = CloneRequest(
        verify=not arguments.no_verify, delta=arguments.delta, fit=arguments.fit, wishes=wishes_of(arguments),
        unlock=tuple(wanted.partition for wanted in arguments.unlock),
    )  # fmt: skip
    is_new = names_new_file(arguments.target)
    if arguments.dry_run:
        target = blank_file(arguments.target, source.disk.size) if is_new else machine.survey_one(arguments.target)
        plan = machine.plan_clone(source, target, request)
        print(plan_json(plan) if arguments.json else "\n".join(fitted_text(plan)), file=context.stdout)
        return 0
    with new_file(arguments.target, source.disk.size, is_new) as made:
        plan = machine.plan_clone(source, machine.survey_one(arguments.target), request)
        style = progress_style(arguments, context.stderr)
        if style == "bar" or not (arguments.yes or is_new):
            print("\n".join(fitted_text(plan)), file=context.stderr)
        if not (arguments.yes or is_new):
            confirm(plan, context.stdin, context.stderr)
        outcome = follow(lambda: machine.start(plan), style, context.stderr)
        made.keep = outcome.began
    return report(outcome, arguments.json)
