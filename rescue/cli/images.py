"""``rescue list STORE``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rescue.cli.chains import list_text, needed_by
from rescue.cli.json_text import json_text
from rescue.cli.options import Context, add_json
from rescue.cli.secrets import Asker, add_secrets, given_secrets
from rescue.cli.show import image_json
from rescue.stores.address import local_path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("list", help="the images in a folder", allow_abbrev=False)
    parser.add_argument("store", metavar="STORE", help="the folder, as a path or a file: URL")
    add_json(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Look and show."""
    folder = Path(local_path(arguments.store))
    secrets = given_secrets(arguments, Asker.of(context.stdin))
    machine = context.machine.with_secrets(secrets) if secrets else context.machine
    images = machine.images(folder)
    if arguments.json:
        needing = needed_by(images)
        facts = [{**image_json(image), "needed_by": list(needing[image.path])} for image in images]
        shown = json_text(facts)
    else:
        shown = "\n".join(list_text(images)) if images else f"No image was found in {folder}."
    print(shown, file=context.stdout)
    return 0
