"""``rescue consolidate IMAGE DEST``."""

from __future__ import annotations

import argparse

from rescue.cli.follow import follow, report
from rescue.cli.options import Context, add_job, progress_style, size
from rescue.cli.review import only_shown, plan_text
from rescue.cli.secrets import add_secrets, unlocked


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser(
        "consolidate", help="make a full image out of an incremental or differential one", allow_abbrev=False
    )
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image")
    parser.add_argument("dest", metavar="DEST", help="the folder for the full image, as a path or a file: URL")
    parser.add_argument("--name", default="", help="name of the full image (default: that of IMAGE with -full)")
    parser.add_argument(
        "--split",
        type=size,
        default=0,
        metavar="SIZE",
        help="cut the image into parts of SIZE (700M, 4G); default: only where the file system of DEST needs it",
    )
    parser.add_argument("--yes", action="store_true", help="accepted for uniformity: it overwrites nothing and never asks")
    add_job(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, show, run."""
    machine = unlocked(arguments, context, arguments.image)
    plan = machine.plan_consolidate(arguments.image, arguments.dest, arguments.name, arguments.split)
    if only_shown(plan, arguments, context):
        return 0
    style = progress_style(arguments, context.stderr)
    if style == "bar":
        print("\n".join(plan_text(plan)), end="\n\n", file=context.stderr)
    return report(follow(lambda: machine.start(plan), style, context.stderr), arguments.json)
