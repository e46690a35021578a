"""``rescue prune STORE``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from rescue.cli.follow import follow, report
from rescue.cli.json_text import json_text
from rescue.cli.options import Context, add_job, progress_style
from rescue.cli.review import only_shown, plan_text
from rescue.cli.secrets import Asker, add_secrets, given_secrets
from rescue.errors import RefusedError
from rescue.model.plan import Plan
from rescue.planning.retention import PruneRequest, Rules
from rescue.stores.address import local_path

_RULES = (
    ("last", "the N newest images"),
    ("daily", "the newest image of each of the last N days that have one"),
    ("weekly", "the same of weeks"),
    ("monthly", "the same of months"),
    ("yearly", "the same of years"),
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("prune", help="remove the images that no rule keeps and no other needs", allow_abbrev=False)
    parser.add_argument("store", metavar="STORE", help="the folder, as a path or a file: URL")
    for word, meaning in _RULES:
        parser.add_argument(f"--keep-{word}", type=int, default=0, metavar="N", help=f"keep {meaning}, of each disk")
    parser.add_argument(
        "--disk", action="append", default=[], help="only images of this disk (repeatable): its serial, identifier or path"
    )
    parser.add_argument("--yes", action="store_true", help="remove them without asking for the typed confirmation")
    add_job(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, show, confirm, run."""
    secrets = given_secrets(arguments, Asker.of(context.stdin))
    machine = context.machine.with_secrets(secrets) if secrets else context.machine
    rules = Rules(**{word: getattr(arguments, f"keep_{word}") for word, _ in _RULES})
    plan = machine.plan_prune(local_path(arguments.store), PruneRequest(rules, tuple(arguments.disk)))
    if only_shown(plan, arguments, context):
        return 0
    style = progress_style(arguments, context.stderr)
    if style == "bar" or not arguments.yes or not plan.steps:
        print("\n".join(plan_text(plan)), file=context.stderr)
    if not plan.steps:
        if arguments.json:
            facts = {"store": str(Path(local_path(arguments.store))), "removed": [], "stayed": [], "freed_bytes": 0}
            shown = {"type": "finished", "state": "succeeded", "exit_code": 0, "message": "Nothing is removed.", "facts": facts}
            print(json_text(shown), file=context.stdout)
        return 0
    if not arguments.yes:
        confirm_removal(plan, context.stdin, context.stderr)
    return report(follow(lambda: machine.start(plan), style, context.stderr), arguments.json)


def confirm_removal(plan: Plan, stdin: TextIO, stderr: TextIO) -> None:
    """Let a person type how many images go. Raises RefusedError when there is no terminal, or it is another number."""
    count = len(plan.losses)
    if not count:
        return
    if not stdin.isatty():
        raise RefusedError(
            f"{count} {'image' if count == 1 else 'images'} would be removed, and nobody is here to confirm it.",
            "Add --yes to allow it without asking. Nothing was removed.",
        )
    stderr.write(f"\nTo remove them, type how many they are, {count}: ")
    stderr.flush()
    if stdin.readline().strip() != str(count):
        raise RefusedError("Not confirmed.", "Nothing was removed.")
