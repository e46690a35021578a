"""``rescue info IMAGE``."""

from __future__ import annotations

import argparse

from rescue.cli.json_text import json_text
from rescue.cli.options import Context, add_json
from rescue.cli.secrets import add_secrets, unlocked
from rescue.cli.show import image_json, image_text


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("info", help="what an image is and what it holds", allow_abbrev=False)
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image")
    add_json(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Open and show."""
    image = unlocked(arguments, context, arguments.image).image(arguments.image)
    print(json_text(image_json(image)) if arguments.json else "\n".join(image_text(image)), file=context.stdout)
    return 0
