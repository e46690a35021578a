"""``rescue mount IMAGE DIR`` and ``rescue umount DIR``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rescue.cli.json_text import json_text
from rescue.cli.options import Context, add_json
from rescue.cli.secrets import Asker, add_secrets, given_secrets, secrets_to_open
from rescue.cli.unlock import add_unlock, unlocked_secrets
from rescue.errors import RescueError
from rescue.jobs.hold import HoldRequest
from rescue.jobs.holding import REGISTER, hold, release
from rescue.model.text import shown
from rescue.planning.words import plain
from rescue.stores.address import local_path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer both commands."""
    parser = commands.add_parser("mount", help="mount the file systems in an image", allow_abbrev=False)
    parser.add_argument("image", metavar="IMAGE", help="path or file: URL of the image")
    parser.add_argument("folder", metavar="DIR", help="an empty or new folder: partition 1 appears in DIR/1, and so on")
    parser.add_argument("--partition", metavar="N", type=int, action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--writable", action="store_true", help="allow writing; what is written is thrown away by umount")
    parser.add_argument(
        "--salvage", action="store_true", help="also when the image is damaged or cut off, or files of its chain are missing"
    )
    add_unlock(parser)
    add_secrets(parser)
    add_json(parser)
    parser.set_defaults(command=run_mount)
    ending = commands.add_parser("umount", help="end what rescue mount began", allow_abbrev=False)
    ending.add_argument("folder", metavar="DIR", help="the folder that was given to rescue mount")
    ending.set_defaults(command=run_umount)


def run_mount(arguments: argparse.Namespace, context: Context) -> int:
    """Mount in a process that stays; say what is where."""
    image = str(Path(local_path(arguments.image)).absolute())
    asker = Asker.of(context.stdin)
    secrets = given_secrets(arguments, asker)
    if not secrets and context.machine.is_encrypted(arguments.image):
        secrets = secrets_to_open(arguments, asker, Path(image).name)
    folder = os.path.realpath(arguments.folder)
    request = HoldRequest(image, folder, tuple(arguments.partition), arguments.writable, arguments.salvage)
    if arguments.unlock:
        source = context.machine.with_secrets(secrets).image(arguments.image)
        secrets = unlocked_secrets(source, secrets, arguments, context)
    holder, answer = hold(request, secrets, REGISTER)
    if arguments.json:
        print(json_text({"folder": folder, "process": holder.pid, "volumes": answer.shown}), file=context.stdout)
    for defect in answer.defects:
        print(f"rescue: {plain(defect)}", file=context.stderr)
    for volume in answer.shown:
        name = f"Partition {volume.partition}" if volume.partition else "The file system"
        name += f", {plain(volume.name)}" if volume.name else ""
        if volume.problem:
            print(f"{name} is not mounted: {plain(volume.problem)}", file=context.stderr)
        elif not arguments.json:
            print(f"{name} ({plain(volume.filesystem)}) is mounted at {shown(volume.folder)}", file=context.stdout)
    if not any(volume.folder for volume in answer.shown):
        raise RescueError(
            "Nothing in the image could be mounted.", "rescue ls shows files of most file systems without mounting."
        )
    if not arguments.json:
        print(f"To end this: rescue umount {shown(folder)}", file=context.stdout)
    return 0


def run_umount(arguments: argparse.Namespace, context: Context) -> int:
    """Unmount and end the process."""
    folder = os.path.realpath(arguments.folder)
    release(folder, REGISTER)
    print(f"{shown(folder)} is unmounted.", file=context.stdout)
    return 0
