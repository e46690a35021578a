"""``rescue restore IMAGE TARGET``."""

from __future__ import annotations

import argparse

from rescue.cli.follow import follow, report
from rescue.cli.new_file import blank_file, names_new_file, new_file
from rescue.cli.options import Context, add_fit, add_job, add_target, progress_style
from rescue.cli.review import confirm, plan_json
from rescue.cli.secrets import add_secrets, unlocked
from rescue.cli.unlock import add_unlock, with_unlocked
from rescue.cli.wishes import add_wishes, fitted_text, wishes_of
from rescue.services import RestoreRequest


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("restore", help="write an image over a whole disk", allow_abbrev=False)
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image")
    add_target(parser)
    parser.add_argument(
        "--salvage", action="store_true", help="restore all that is whole of an image that is incomplete or damaged"
    )
    add_fit(parser)
    add_wishes(parser)
    parser.add_argument("--no-verify", action="store_true", help="do not read back what was written")
    parser.add_argument("--yes", action="store_true", help="erase the target without asking for the typed confirmation")
    add_unlock(parser)
    add_job(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, show, confirm, run."""
    machine = unlocked(arguments, context, arguments.image)
    image = machine.image(arguments.image, salvage=arguments.salvage)
    if arguments.unlock:
        machine = with_unlocked(machine, image, arguments, context)
    request = RestoreRequest(
        verify=not arguments.no_verify,
        delta=arguments.delta,
        salvage=arguments.salvage,
        fit=arguments.fit,
        wishes=wishes_of(arguments),
        unlock=tuple(wanted.partition for wanted in arguments.unlock),
    )
    is_new = names_new_file(arguments.target)
    size = image.disk.size if image.disk else 0
    if arguments.dry_run:
        target = blank_file(arguments.target, size) if is_new else machine.survey_one(arguments.target)
        plan = machine.plan_restore(arguments.image, target, request)
        print(plan_json(plan) if arguments.json else "\n".join(fitted_text(plan)), file=context.stdout)
        return 0
    with new_file(arguments.target, size, is_new) as made:
        plan = machine.plan_restore(arguments.image, machine.survey_one(arguments.target), request)
        style = progress_style(arguments, context.stderr)
        if style == "bar" or not (arguments.yes or is_new):
            print("\n".join(fitted_text(plan)), file=context.stderr)
        if not (arguments.yes or is_new):
            confirm(plan, context.stdin, context.stderr)
        outcome = follow(lambda: machine.start(plan), style, context.stderr)
        made.keep = outcome.began
    return report(outcome, arguments.json)
