"""``rescue disks``."""

from __future__ import annotations

import argparse

from rescue.cli.json_text import json_text
from rescue.cli.options import Context, add_json
from rescue.cli.show import disk_text, survey_json
from rescue.planning.alike import alike_words


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("disks", help="the disks, what is on them, which are protected and why", allow_abbrev=False)
    parser.add_argument(
        "disks", nargs="*", metavar="DISK", help="only these: device nodes, by-id names, serial:…, raw disk files"
    )
    add_json(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Survey and show."""
    machine = context.machine
    surveys = [machine.survey_one(name) for name in arguments.disks] if arguments.disks else machine.survey()
    if arguments.json:
        shown = json_text([survey_json(s) for s in surveys])
    else:
        said = ["\n".join(disk_text(s)) for s in surveys] + alike_words(surveys)
        shown = "\n\n".join(said) or "No disk was found."
    print(shown, file=context.stdout)
    return 0
