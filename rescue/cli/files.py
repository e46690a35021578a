"""``rescue ls`` and ``rescue extract``: the files inside of an image or of a disk."""

from __future__ import annotations

import argparse
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from rescue.cli.options import Context, add_json
from rescue.cli.text import table
from rescue.engine.browse import Opened, is_image, open_disk_files, open_image_files
from rescue.engine.extract import ExtractResult, extract
from rescue.errors import CancelledError, UsageError
from rescue.filesystems.files.tree import Entry, FileTree, Kind, search
from rescue.model.progress import CancelToken, Message
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
        "place", nargs="?", metavar="PARTITION:PATH", help="a folder or file, 2:/home; without it: the partitions"
    )
    listing.add_argument("--search", metavar="WORDS", help="all files whose names hold these words, at most 1000")
    add_json(listing)
    listing.set_defaults(command=run_ls)
    copying = commands.add_parser("extract", help="copies files out of an image or a disk", allow_abbrev=False)
    _add_what(copying)
    copying.add_argument("place", metavar="PARTITION:PATH", help="the file or folder, 2:/home/anna")
    copying.add_argument("dest", metavar="DEST", type=Path, help="the folder to copy it into; made when its parent is there")
    copying.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    add_json(copying)
    copying.set_defaults(command=run_extract)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="IMAGE|DISK", help="an image, a device node, a by-id name, a raw disk file")


def run_ls(arguments: argparse.Namespace, context: Context) -> int:
    """List partitions, a folder, or what a search finds."""
    with _open(arguments.what, context) as opened:
        if arguments.place is None:
            if arguments.search is not None:
                raise UsageError("--search needs the partition to search.", "Give it as PARTITION:, for example 2:")
            _show_volumes(opened, arguments, context)
            return 0
        partition, path = parse_place(arguments.place)
        tree = opened.tree(partition)
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
    """Copy out; 1 when something of it could not be copied."""
    partition, path = parse_place(arguments.place)
    with _open(arguments.what, context) as opened, _cancelled_by_signals() as token:
        tree = opened.tree(partition)
        _say(tree.notes, context)

        def warn(message: Message) -> None:
            print(f"rescue: {shown(message.text)}", file=context.stderr)

        try:
            result = extract(
                tree,
                tree.entry(path),
                arguments.dest,
                overwrite=arguments.overwrite,
                token=token,
                progress=lambda _: None,
                notify=warn,
            )
        except CancelledError as error:
            raise CancelledError("Cancelled.", f"What was copied completely stays in {arguments.dest}.") from error
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(_result_json(result)), indent=2).decode(), file=context.stdout)
    else:
        copied = f"{result.files} files, {result.folders} folders, {result.links} links, {human_size(result.content_bytes)}"
        print(f"Copied into {arguments.dest}: {copied}.", file=context.stdout)
        if result.failures:
            print(f"{result.failures} could not be copied.", file=context.stdout)
    return 1 if result.failures else 0


def parse_place(text: str) -> tuple[int, str]:
    """``2:/etc/fstab`` as number and path; ``2`` alone is the root of partition 2. Raises UsageError."""
    number, _, path = text.partition(":")
    if not number.isascii() or not number.isdigit() or len(number) > 6:
        raise UsageError(f"{text} names no partition.", "Say PARTITION:PATH, for example 2:/etc/fstab. 0 is the whole disk.")
    return int(number), path.strip("/")


def _open(what: str, context: Context) -> AbstractContextManager[Opened]:
    path = Path(what) if os.path.exists(what) else None
    if path is None and ":" in what and not what.startswith("serial:"):
        path = Path(local_path(what))
    if what.endswith(".zst") or (path is not None and is_image(path)):
        return open_image_files(path or Path(what))
    return open_disk_files(context.machine.survey_one(what))


def _say(notes: Sequence[str], context: Context) -> None:
    for note in notes:
        print(f"rescue: {note}", file=context.stderr)


def shown(text: str) -> str:
    """Text from an image as a terminal may have it: nothing in it moves the cursor or is no character."""
    return "".join(_shown_character(character) for character in text)


def _shown_character(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _show_volumes(opened: Opened, arguments: argparse.Namespace, context: Context) -> None:
    if arguments.json:
        rows = [
            {"partition": v.partition, "filesystem": v.identity.type, "label": v.identity.label, "size": v.size}
            for v in opened.volumes
        ]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode(), file=context.stdout)
        return
    lines = table(
        [[f"{v.partition}:", v.identity.type or "unknown", human_size(v.size), shown(v.identity.label)] for v in opened.volumes],
        right=(0, 2),
    )
    print("\n".join(lines) or "It holds no partitions.", file=context.stdout)


def _show_entries(tree: FileTree, entries: list[Entry], arguments: argparse.Namespace, context: Context, *, full: bool) -> None:
    if arguments.json:
        rows = [_entry_json(tree, entry) for entry in entries]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode(), file=context.stdout)
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


def _result_json(result: ExtractResult) -> dict[str, object]:
    return {
        "files": result.files,
        "folders": result.folders,
        "links": result.links,
        "content_bytes": result.content_bytes,
        "failures": result.failures,
        "lost": result.lost,
        "failed": [{"path": shown(path), "reason": shown(reason)} for path, reason in result.failed],
    }


@contextmanager
def _cancelled_by_signals() -> Iterator[CancelToken]:
    """A token that SIGINT and SIGTERM set, so that no half file is left behind."""
    token = CancelToken()
    before = {number: signal.signal(number, lambda *_: token.cancel()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield token
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
