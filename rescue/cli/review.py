"""Shows a plan word for word, and asks for the typed confirmation."""

from __future__ import annotations

import argparse
import shlex
import textwrap
from collections.abc import Sequence
from typing import TextIO

from rescue.cli.json_text import json_text
from rescue.cli.options import Context
from rescue.cli.text import WIDTH
from rescue.errors import RefusedError
from rescue.model.plan import Plan
from rescue.model.text import shown
from rescue.planning.words import disk_words


def plan_text(plan: Plan) -> list[str]:
    """The plan as it is reviewed: what is done, what is lost, what to mind, and the command."""
    lines = []
    for number, sentence in enumerate(plan.sentences, 1):
        lines += _wrapped(f"{number}. ", shown(sentence))
    if plan.target is not None and (plan.losses or plan.kind != "partition"):
        lines += ["", f"Lost on {disk_words(plan.target)}:"]
        lines += [line for loss in plan.losses for line in _wrapped("- ", shown(loss))] or ["- nothing: the disk is blank"]
    elif plan.losses:
        lines += ["", "Removed:"]
        lines += [line for loss in plan.losses for line in _wrapped("- ", shown(loss))]
    if plan.warnings:
        lines.append("")
        lines += [line for warning in plan.warnings for line in _wrapped("Warning: ", shown(warning))]
    if plan.command:
        lines += ["", f"Command: {command_text(plan.command)}"]
    return lines


def command_text(words: Sequence[str]) -> str:
    """A command as a shell takes it, in characters that a terminal may have."""
    return " ".join(shlex.quote(word) if shown(word) == word else f"$'{_escaped(word)}'" for word in words)


def _escaped(word: str) -> str:
    """A word for the shell's ``$'…'``, as its bytes."""
    data = word.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in data)


def plan_json(plan: Plan) -> str:
    """The plan as a document."""
    return json_text(plan)


def only_shown(plan: Plan, arguments: argparse.Namespace, context: Context) -> bool:
    """Whether nothing but the plan was asked for (``--dry-run``), which is printed then."""
    if arguments.dry_run:
        print(plan_json(plan) if arguments.json else "\n".join(plan_text(plan)), file=context.stdout)
    return bool(arguments.dry_run)


def _wrapped(lead: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False)


def confirm(plan: Plan, stdin: TextIO, stderr: TextIO) -> None:
    """Let a person type who the target is. Raises RefusedError when there is no terminal, or it is not the same."""
    target = plan.target
    if target is None:
        return
    if not stdin.isatty():
        raise RefusedError(
            f"Everything on {disk_words(target)} would be erased, and nobody is here to confirm it.",
            "Add --yes to allow it without asking. Nothing was written.",
        )
    of_what = "its serial" if target.serial.strip() else "its name"
    stderr.write(f"\nTo erase it, type the last characters of {of_what}, {target.confirmation}: ")
    stderr.flush()
    if stdin.readline().strip() != target.confirmation:
        raise RefusedError("Not confirmed.", "Nothing was written.")
