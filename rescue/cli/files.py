"""``rescue ls`` and ``rescue extract``: the files inside of an image or of a disk."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rescue.cli.follow import follow, report
from rescue.cli.json_text import json_text
from rescue.cli.options import Context, add_beside, add_job, add_json, progress_style
from rescue.cli.review import only_shown
from rescue.cli.secrets import add_secrets, image_secrets, unlocked
from rescue.cli.text import table
from rescue.cli.unlock import add_unlock, unlocked_secrets, with_unlocked
from rescue.engine.browse import Opened, is_image, open_disk_files, open_image_files
from rescue.errors import UsageError
from rescue.filesystems.files.tree import Entry, FileTree, Kind, search
from rescue.images.secrets import NO_SECRETS
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.text import shown
from rescue.model.volume import Volume
from rescue.services import ExtractRequest, Machine
from rescue.stores.address import local_path
from rescue.units import human_size

_TYPES: Final = {
    Kind.FILE: stat.S_IFREG,
    Kind.FOLDER: stat.S_IFDIR,
    Kind.LINK: stat.S_IFLNK,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
}
_FOUND_LIMIT: Final = 1000


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Offer both commands."""
    listing = commands.add_parser("ls", help="the files inside of an image or a disk", allow_abbrev=False)
    _add_what(listing)
    listing.add_argument(
        "place",
        nargs="?",
        metavar="PARTITION:PATH",
        help="a folder or file, 2:/home or 2/vg0/root:/home; without it: the partitions",
    )
    listing.add_argument("--search", metavar="WORDS", help="all files whose names hold these words, at most 1000")
    add_unlock(listing)
    add_beside(listing)
    add_json(listing)
    add_secrets(listing)
    listing.set_defaults(command=run_ls)
    copying = commands.add_parser("extract", help="copies files out of an image or a disk", allow_abbrev=False)
    _add_what(copying)
    copying.add_argument(
        "places", metavar="PARTITION:PATH", nargs="+", help="files and folders, 2:/home/anna or 2/vg0/root:/home"
    )
    copying.add_argument("dest", metavar="DEST", type=Path, help="the folder to copy it into; made when its parent is there")
    copying.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    add_unlock(copying)
    add_beside(copying)
    add_job(copying)
    add_secrets(copying)
    copying.set_defaults(command=run_extract)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--salvage", action="store_true", help="also when the image is damaged or cut off, or files of its chain are missing"
    )
    parser.add_argument("what", metavar="IMAGE|DISK", help="an image, a device node, a by-id name, a raw disk file")


def run_ls(arguments: argparse.Namespace, context: Context) -> int:
    """List partitions, a folder, or what a search finds."""
    with _open(arguments, context) as opened:
        _say(opened.defects, context)
        if arguments.place is None:
            if arguments.search is not None:
                raise UsageError("--search needs the partition to search.", "Give it as PARTITION:, for example 2:")
            _show_volumes(opened, arguments, context)
            return 0
        partition, inside, path = parse_place(arguments.place)
        with opened.tree(partition, inside) as tree:
            _say(tree.notes, context)
            if arguments.search is not None:
                entries = list(search(tree, arguments.search.split(), _FOUND_LIMIT))
            else:
                entry = tree.entry(path)
                entries = list(tree.children(entry)) if entry.kind is Kind.FOLDER else [entry]
                entries.sort(key=lambda child: child.name)
            _show_entries(tree, entries, arguments, context, full=arguments.search is not None)
    return 0


def run_extract(arguments: argparse.Namespace, context: Context) -> int:
    """Plan, run; 1 when something of it could not be copied."""
    machine = _unlocked(arguments, context)
    places = [parse_place(text) for text in arguments.places]
    partition, inside, _ = places[0]
    if any(place[:2] != (partition, inside) for place in places):
        raise UsageError("The files are on different partitions.", "Extract from one partition at a time.")
    paths = tuple(path for _, _, path in places)
    request = ExtractRequest(paths, str(arguments.dest), arguments.overwrite, arguments.salvage, inside)
    plan = machine.plan_extract(_source(arguments, machine), partition, request)
    if only_shown(plan, arguments, context):
        return 0
    _say(plan.warnings, context)
    return report(follow(lambda: machine.start(plan), progress_style(arguments, context.stderr), context.stderr), arguments.json)


def parse_place(text: str) -> tuple[int, str, str]:
    """``2/vg0/root:/etc/fstab`` as number, volume in it ("" without one) and path; ``2`` alone is the root of partition 2.

    Raises UsageError.
    """
    place, _, path = text.partition(":")
    number, _, inside = place.partition("/")
    if not number.isascii() or not number.isdigit() or len(number) > 6:
        raise UsageError(f"{text} names no partition.", "Say PARTITION:PATH, for example 2:/etc/fstab. 0 is the whole disk.")
    return int(number), inside, path.strip("/")


def _source(arguments: argparse.Namespace, machine: Machine) -> ImageSummary | DiskSurvey:
    path = _image_path(arguments.what)
    if path:
        return machine.image(str(path), salvage=arguments.salvage)
    return machine.survey_one(arguments.what, arguments.beside)


def _image_path(what: str) -> Path | None:
    """The image that is meant, if one is."""
    path = Path(what) if os.path.exists(what) else None
    if path is None and ":" in what and not what.startswith("serial:"):
        path = Path(local_path(what))
    if what.endswith(".zst") or (path is not None and is_image(path)):
        return path or Path(what)
    return None


def _unlocked(arguments: argparse.Namespace, context: Context) -> Machine:
    path = _image_path(arguments.what)
    machine = unlocked(arguments, context, str(path)) if path else context.machine
    if not arguments.unlock:
        return machine
    return with_unlocked(machine, _source(arguments, machine), arguments, context)


def _open(arguments: argparse.Namespace, context: Context) -> AbstractContextManager[Opened]:
    path = _image_path(arguments.what)
    secrets = image_secrets(arguments, context, str(path)) if path else NO_SECRETS
    machine = context.machine.with_secrets(secrets)
    if arguments.unlock:
        source = _source(arguments, machine)
        secrets = unlocked_secrets(source, secrets, arguments, context)
    if path is None:
        return open_disk_files(machine.survey_one(arguments.what, arguments.beside), secrets)
    return open_image_files(path, secrets, salvage=arguments.salvage)


def _say(notes: Sequence[str], context: Context) -> None:
    for note in notes:
        print(f"rescue: {note}", file=context.stderr)


def _show_volumes(opened: Opened, arguments: argparse.Namespace, context: Context) -> None:
    found: list[tuple[str, Volume]] = []
    for outer in opened.volumes:
        found.append(("", outer))
        found += [(inner.name, inner.volume) for inner in opened.inner(outer.partition)]
    if arguments.json:
        rows = [
            {"partition": v.partition, "inside": name, "filesystem": v.identity.type, "label": v.identity.label, "size": v.size}
            for name, v in found
        ]
        print(json_text(rows), file=context.stdout)
        return
    lines = table(
        [
            [f"{v.partition}{'/' if name else ''}{shown(name)}:", v.identity.type or "unknown", human_size(v.size),
             shown(v.identity.label)]
            for name, v in found
        ],
        right=(2,),
    )  # fmt: skip
    print("\n".join(lines) or "It holds no partitions.", file=context.stdout)


def _show_entries(tree: FileTree, entries: list[Entry], arguments: argparse.Namespace, context: Context, *, full: bool) -> None:
    if arguments.json:
        rows = [_entry_json(tree, entry) for entry in entries]
        print(json_text(rows), file=context.stdout)
        return
    sizes = [
        f"{entry.device[0]}, {entry.device[1]}" if entry.kind in (Kind.BLOCK, Kind.CHARACTER) else str(entry.size)
        for entry in entries
    ]
    width = max((len(size) for size in sizes), default=0)
    owners = [f"{entry.uid}:{entry.gid}" if tree.owners else "-" for entry in entries]
    owner_width = max((len(owner) for owner in owners), default=0)
    for entry, size, owner in zip(entries, sizes, owners, strict=True):
        name = shown(entry.path if full else entry.name)
        if entry.kind is Kind.LINK and not entry.problem:
            name += f" -> {shown(tree.readlink(entry))}"
        elif entry.kind is Kind.FOLDER:
            name += "/"
        if entry.problem:
            name += f"  ({shown(entry.problem)})"
        mode = stat.filemode(_TYPES[entry.kind] | entry.mode) if entry.kind in _TYPES else "?---------"
        print(f"{mode}  {owner:>{owner_width}}  {size:>{width}}  {_moment(entry.modified)}  {name}", file=context.stdout)


def _moment(nanoseconds: int) -> str:
    """UTC, to the second; dashes for what no calendar has."""
    try:
        return f"{datetime.fromtimestamp(nanoseconds // 10**9, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return "-------------------"


def _entry_json(tree: FileTree, entry: Entry) -> dict[str, object]:
    answer: dict[str, object] = {
        "path": shown(entry.path),
        "kind": entry.kind.value,
        "size": entry.size,
        "allocated": entry.allocated,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "modified_ns": entry.modified,
        "inode": entry.inode,
        "links": entry.links,
    }
    if shown(entry.path) != entry.path:
        answer["path_bytes"] = os.fsencode(entry.path).hex()
    if entry.kind is Kind.LINK and not entry.problem:
        answer["target"] = shown(tree.readlink(entry))
    if entry.problem:
        answer["problem"] = entry.problem
    return answer
