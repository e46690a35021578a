"""``rescue backup DISK DEST``."""

from __future__ import annotations

import argparse

from rescue.cli.follow import follow, report
from rescue.cli.options import Context, add_beside, add_job, partition_number, progress_style, size
from rescue.cli.review import only_shown, plan_text
from rescue.cli.secrets import Asker, add_secrets, secrets_to_create
from rescue.cli.unlock import add_unlock, with_unlocked
from rescue.errors import UsageError
from rescue.images.secrets import new_recovery_key
from rescue.records import replace
from rescue.services import BackupRequest
from rescue.stores.address import local_path

_ATTEMPTS = 3  # what it is made upon may be removed between the plan and its first step


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer the command."""
    parser = commands.add_parser("backup", help="image a disk into a folder", allow_abbrev=False)
    parser.add_argument("disk", metavar="DISK", help="device node, by-id name, serial:…, or a raw disk file")
    parser.add_argument("dest", metavar="DEST", help="the folder for the image, as a path or a file: URL")
    parser.add_argument(
        "--kind",
        choices=("full", "incremental", "differential"),
        default="",
        help="store everything, what changed since the newest image, or since the last full one"
        " (default: incremental where DEST holds an image of this disk, else full)",
    )
    parser.add_argument(
        "--parent",
        default="",
        metavar="IMAGE",
        help="the image in DEST to build upon, by name, path or file: URL (default: auto, the newest of this disk)",
    )
    parser.add_argument("--name", default="", help="name of the image (default: from the disk's model and the date)")
    parser.add_argument(
        "--level",
        type=int,
        default=BackupRequest().level,
        metavar="N",
        help="compression, 1 (fast) to 19 (small); default: as much as DEST's speed allows",
    )
    parser.add_argument(
        "--split",
        type=size,
        default=0,
        metavar="SIZE",
        help="cut the image into parts of SIZE (700M, 4G); default: only where the file system of DEST needs it",
    )
    parser.add_argument(
        "--anew", action="store_true", help="do not go on with a backup that was interrupted: throw away what it left"
    )
    parser.add_argument(
        "--salvage",
        action="store_true",
        help="a failing disk: go on over what cannot be read, then try hard for it; run it again to get more",
    )
    parser.add_argument("--encrypt", action="store_true", help="encrypt the image; see below for what opens it")
    parser.add_argument("--recovery-key", action="store_true", help="with --encrypt: make a recovery key as well, and print it")
    parser.add_argument(
        "--decrypt",
        metavar="N",
        type=partition_number,
        action="append",
        default=[],
        help="with --encrypt and --unlock N: keep the content of the LUKS volume in partition N in clear inside of the encrypted"
        " image, so that it compresses; a restore encrypts it as it was; may be repeated",
    )
    parser.add_argument("--comment", default="", help="a note that is kept in the image")
    parser.add_argument("--no-verify", action="store_true", help="do not read the image again after it was written")
    parser.add_argument("--yes", action="store_true", help="accepted for uniformity: a backup overwrites nothing and never asks")
    add_unlock(parser)
    add_beside(parser)
    add_job(parser)
    add_secrets(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, show, run."""
    machine = context.machine
    recovery = ""
    if arguments.encrypt:
        secrets = secrets_to_create(arguments, Asker.of(context.stdin))
        if arguments.recovery_key:
            recovery = new_recovery_key()
            secrets = replace(secrets, recovery=recovery)
        machine = machine.with_secrets(secrets)
    elif arguments.recovery_key:
        raise UsageError("--recovery-key is for encrypted images.", "Add --encrypt.")
    request = BackupRequest(
        name=arguments.name,
        level=arguments.level,
        comment=arguments.comment,
        verify=not arguments.no_verify,
        kind=arguments.kind,
        parent=_path(arguments.parent),
        split=arguments.split,
        encrypt=arguments.encrypt,
        anew=arguments.anew,
        salvage=arguments.salvage,
        unlock=tuple(wanted.partition for wanted in arguments.unlock),
        decrypt=tuple(sorted(set(arguments.decrypt))),
    )
    survey = machine.survey_one(arguments.disk, arguments.beside)
    if arguments.unlock:
        machine = with_unlocked(machine, survey, arguments, context)
        survey = machine.survey_one(arguments.disk, arguments.beside)
    for attempt in range(_ATTEMPTS):
        plan = machine.plan_backup(survey, arguments.dest, request)
        if only_shown(plan, arguments, context):
            return 0
        style = progress_style(arguments, context.stderr)
        if style == "bar":
            print("\n".join(plan_text(plan)), end="\n\n", file=context.stderr)
        outcome = follow(lambda plan=plan: machine.start(plan), style, context.stderr)  # type: ignore[misc]
        if not outcome.finished.facts.get("plan_anew"):
            break
        if style == "bar" and attempt + 1 < _ATTEMPTS:
            print("An image that it was to be made upon was removed meanwhile. Planned anew:", file=context.stderr)
    if outcome.finished.exit_code and "hash" not in outcome.finished.facts:
        recovery = ""  # there is no image that it opens
    code = report(outcome, arguments.json, {"recovery_key": recovery} if recovery else {})
    if recovery and not arguments.json:
        print(f"Recovery key (keep it on paper, away from the image): {recovery}", file=context.stdout)
    return code


def _path(parent: str) -> str:
    """An image in DEST by its path or its name, also where it was given as a URL."""
    return local_path(parent) if parent.lower().startswith("file:") else parent
