"""``rescue export IMAGE FILE``."""

from __future__ import annotations

import argparse

from rescue.cli.follow import follow, report
from rescue.cli.options import Context, add_job, progress_style
from rescue.cli.review import only_shown
from rescue.cli.secrets import add_secrets, unlocked
from rescue.planning.export import FORMATS


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("export", help="write an image as a virtual disk of another format", allow_abbrev=False)
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image")
    parser.add_argument("file", metavar="FILE", help="the new file; its suffix tells the format: .qcow2, .vmdk, .vhdx, …")
    parser.add_argument("--format", choices=FORMATS, default="", help="the format, where the suffix does not tell it")
    add_secrets(parser)
    add_job(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, run."""
    machine = unlocked(arguments, context, arguments.image)
    plan = machine.plan_export(arguments.image, arguments.file, arguments.format)
    if only_shown(plan, arguments, context):
        return 0
    return report(follow(lambda: machine.start(plan), progress_style(arguments, context.stderr), context.stderr), arguments.json)
