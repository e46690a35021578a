"""``rescue verify IMAGE``."""

from __future__ import annotations

import argparse

from rescue.cli.follow import follow, report
from rescue.cli.options import Context, add_job, progress_style
from rescue.cli.review import plan_json, plan_text
from rescue.cli.secrets import add_secrets, unlocked


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("verify", help="read an image again and check every hash in it", allow_abbrev=False)
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image")
    parser.add_argument("--against", metavar="DISK", help="also compare a disk with the image")
    parser.add_argument("--mount", action="store_true", help="also check and mount every file system in the image")
    add_job(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, run."""
    machine = unlocked(arguments, context, arguments.image)
    against = machine.survey_one(arguments.against) if arguments.against else None
    plan = machine.plan_verify(arguments.image, against, mount=arguments.mount)
    if arguments.dry_run:
        print(plan_json(plan) if arguments.json else "\n".join(plan_text(plan)), file=context.stdout)
        return 0
    return report(follow(lambda: machine.start(plan), progress_style(arguments, context.stderr), context.stderr), arguments.json)
