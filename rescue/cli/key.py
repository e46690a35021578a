"""``rescue key IMAGE``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rescue.cli.json_text import json_text
from rescue.cli.options import Context, add_json
from rescue.cli.secrets import Asker, add_secrets, new_passphrase, read_key_file, read_passphrase, secrets_to_open
from rescue.errors import RescueError
from rescue.images.keyslots import SlotKind
from rescue.images.rekey import Changes, key_area_of, rekey_file
from rescue.images.secrets import Secrets, new_recovery_key
from rescue.stores.address import local_path

_KINDS = {"passphrase": SlotKind.PASSPHRASE, "key-file": SlotKind.KEY_FILE, "recovery-key": SlotKind.RECOVERY}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("key", help="what opens an encrypted image, and change it", allow_abbrev=False)
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image")
    passphrase = parser.add_mutually_exclusive_group()
    passphrase.add_argument("--new-passphrase", action="store_true", help="ask for a new passphrase; it replaces the one before")
    passphrase.add_argument("--new-passphrase-file", type=Path, metavar="FILE", help="the same, from FILE")
    parser.add_argument("--new-key-file", type=Path, metavar="FILE", help="let a key file open the image too")
    parser.add_argument(
        "--new-recovery-key", action="store_true", help="make and print a recovery key; it replaces the one before"
    )
    parser.add_argument(
        "--remove", action="append", choices=tuple(_KINDS), default=[], help="what shall not open the image any more (repeatable)"
    )
    add_secrets(parser)
    add_json(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Look, or change and show."""
    path = local_path(arguments.image)
    area = key_area_of(path)
    asker = Asker.of(context.stdin)
    recovery = new_recovery_key() if arguments.new_recovery_key else None
    if _wants_change(arguments):
        secrets = secrets_to_open(arguments, asker, Path(path).name)
        # Before somebody thinks up a new passphrase for it.
        area.open(secrets)
        changes = _changes(arguments, asker, recovery)
        if recovery is not None:
            # Shown before the old one goes: it would be lost if it could not be shown any more.
            _show_recovery(recovery, arguments.json, context)
        area = rekey_file(path, secrets, changes)
    if arguments.json:
        shown = {"image": path, "opens_with": sorted(kind.words for kind in area.kinds), "damaged_slots": area.damaged}
        text = json_text(shown, indent=0)
        print(text if recovery is None else f" {text.removeprefix('{')}", file=context.stdout)
    else:
        print(f"The image opens with: {', '.join(kind.words for kind in sorted(area.kinds))}.", file=context.stdout)
        if area.damaged:
            print(f"{area.damaged} of its places for keys cannot be read.", file=context.stdout)
    return 0


def _wants_change(arguments: argparse.Namespace) -> bool:
    return bool(
        arguments.new_passphrase
        or arguments.new_passphrase_file
        or arguments.new_key_file
        or arguments.new_recovery_key
        or arguments.remove
    )


def _changes(arguments: argparse.Namespace, asker: Asker, recovery: str | None) -> Changes:
    passphrase = new_passphrase(asker) if arguments.new_passphrase else read_passphrase(arguments.new_passphrase_file, None)
    key_file = read_key_file(arguments.new_key_file) if arguments.new_key_file is not None else None
    return Changes(Secrets(passphrase, key_file, recovery), frozenset(_KINDS[word] for word in arguments.remove))


def _show_recovery(recovery: str, as_json: bool, context: Context) -> None:
    if as_json:
        # The rest of the object follows once the image is changed.
        print(f"{json_text({'recovery_key': recovery}, indent=0).removesuffix('}')},", file=context.stdout)
    else:
        print(
            f"Recovery key (write it down: it counts once this command has succeeded):\n\n    {recovery}\n", file=context.stdout
        )
    try:
        context.stdout.flush()
    except OSError as error:
        raise RescueError("The recovery key cannot be shown. Nothing was changed.") from error
