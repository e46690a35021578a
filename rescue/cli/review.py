"""Shows a plan word for word, and asks for the typed confirmation."""

from __future__ import annotations

import shlex
import textwrap
from typing import TextIO

import msgspec

from rescue.cli.text import WIDTH
from rescue.errors import RefusedError
from rescue.model.plan import Plan
from rescue.planning.words import disk_words


def plan_text(plan: Plan) -> list[str]:
    """The plan as it is reviewed: what is done, what is lost, what to mind, and the command."""
    lines = []
    for number, sentence in enumerate(plan.sentences, 1):
        lines += _wrapped(f"{number}. ", sentence)
    if plan.target is not None and (plan.losses or plan.kind != "partition"):
        lines += ["", f"Lost on {disk_words(plan.target)}:"]
        lines += [line for loss in plan.losses for line in _wrapped("- ", loss)] or ["- nothing: the disk is blank"]
    elif plan.losses:
        lines += ["", "Removed:"]
        lines += [line for loss in plan.losses for line in _wrapped("- ", loss)]
    if plan.warnings:
        lines.append("")
        lines += [line for warning in plan.warnings for line in _wrapped("Warning: ", warning)]
    if plan.command:
        lines += ["", f"Command: {shlex.join(plan.command)}"]
    return lines


def plan_json(plan: Plan) -> str:
    """The plan as a document."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode()


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
