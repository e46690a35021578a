"""``rescue verify IMAGE`` and ``rescue verify STORE``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rescue.cli.follow import follow, report
from rescue.cli.options import Context, add_beside, add_job, progress_style
from rescue.cli.review import only_shown
from rescue.cli.secrets import Asker, add_secrets, given_secrets, unlocked
from rescue.cli.unlock import add_unlock, with_unlocked
from rescue.errors import UsageError
from rescue.model.plan import Plan
from rescue.services import Machine
from rescue.stores.address import local_path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser(
        "verify", help="read an image, or all images in a folder, again and check every hash", allow_abbrev=False
    )
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image, or of a folder of images")
    parser.add_argument("--against", metavar="DISK", help="also compare a disk with the image")
    parser.add_argument("--mount", action="store_true", help="also check and mount every file system in the image")
    add_unlock(parser)
    add_beside(parser)
    add_job(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, run."""
    if _is_store(arguments.image):
        return _run_store(arguments, context)
    machine = unlocked(arguments, context, arguments.image)
    if arguments.unlock:
        machine = with_unlocked(machine, machine.image(arguments.image), arguments, context)
    against = machine.survey_one(arguments.against, arguments.beside) if arguments.against else None
    plan = machine.plan_verify(arguments.image, against, mount=arguments.mount)
    if only_shown(plan, arguments, context):
        return 0
    return _followed(machine, plan, arguments, context)


def _is_store(path: str) -> bool:
    folder = Path(local_path(path))
    return folder.is_dir() and not (folder / "clonezilla-img").exists() and not (folder / "parts").exists()


def _run_store(arguments: argparse.Namespace, context: Context) -> int:
    """Check all images in a folder; one line each."""
    if arguments.against or arguments.mount or arguments.unlock:
        raise UsageError("--against, --mount and --unlock are for one image.", "Name the image instead of its folder.")
    secrets = given_secrets(arguments, Asker.of(context.stdin))
    machine = context.machine.with_secrets(secrets) if secrets else context.machine
    plan = machine.plan_verify_store(arguments.image)
    if only_shown(plan, arguments, context):
        return 0
    return _followed(machine, plan, arguments, context)


def _followed(machine: Machine, plan: Plan, arguments: argparse.Namespace, context: Context) -> int:
    outcome = follow(lambda: machine.start(plan), progress_style(arguments, context.stderr), context.stderr)
    lines = outcome.finished.facts.get("images")
    if isinstance(lines, list) and not arguments.json:
        print("\n".join(lines), file=context.stdout, flush=True)
    return report(outcome, arguments.json)
