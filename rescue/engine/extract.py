"""Extract: copy files out of a file system into a folder, with all that the folder can keep, and never outside of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from rescue.engine.extract_target import Conflict, TargetFolder, Unfit, open_target
from rescue.errors import DamagedError, FormatError, RefusedError, SourceReadError
from rescue.filesystems.files.tree import Entry, FileTree, Kind
from rescue.model.progress import CancelToken, Message

_DEPTH_LIMIT: Final = 4096
_NAMED_LIMIT: Final = 1000  # failures kept by name; all are counted
# What is wrong with one file and not with the others.
_UNREADABLE: Final = (FormatError, SourceReadError, DamagedError)
_MAX_SIZE: Final = (1 << 63) - 1


class ExtractResult(msgspec.Struct, frozen=True):
    """What was copied. ``content_bytes`` without holes. ``lost``: what could not be kept, and of how many entries.

    ``failed``: path and reason of what was not copied, the first 1000 of ``failures``.
    """

    files: int
    folders: int
    links: int
    content_bytes: int
    failures: int
    lost: dict[str, int]
    failed: tuple[tuple[str, str], ...]


class _Tally(msgspec.Struct):
    files: int = 0
    folders: int = 0
    links: int = 0
    content_bytes: int = 0
    failures: int = 0
    lost: Counter[str] = msgspec.field(default_factory=Counter)
    failed: list[tuple[str, str]] = msgspec.field(default_factory=list)


class _Level(msgspec.Struct):
    """A folder that is being filled: where it comes from, what is left of it."""

    entry: Entry
    children: Iterator[Entry]
    attributes: dict[str, bytes]


def extract(
    tree: FileTree,
    entries: Sequence[Entry],
    dest: Path,
    *,
    overwrite: bool = False,
    token: CancelToken,
    progress: Callable[[int], None],
    notify: Callable[[Message], None],
) -> ExtractResult:
    """Copy files and folders with all that is in them into the folder ``dest``, each under its own name.

    ``dest`` is made when its parent is there; of the root, what is in it is copied. ``progress`` is told the bytes of
    content written so far. What exists already is refused before anything is written, or with ``overwrite`` replaced (folders
    are filled). What is damaged or has a name that ``dest`` cannot take is told and left out; ownership is kept by root only.
    When it returns, what was copied is on the medium.

    Raises RefusedError, TargetWriteError (full, failing; what is complete stays), FormatError (the only entry cannot be
    read), CancelledError.
    """
    run = _Run(tree, overwrite, token, progress, notify)
    with open_target(dest) as target:
        try:
            run.copy(entries, target)
            target.flush()
        finally:
            run.tell()
    return run.result()


def _is_unreadable(entry: Entry) -> bool:
    return entry.kind is Kind.UNKNOWN or bool(entry.problem and entry.kind is not Kind.FOLDER)


class _Run:
    def __init__(
        self,
        tree: FileTree,
        overwrite: bool,
        token: CancelToken,
        progress: Callable[[int], None],
        notify: Callable[[Message], None],
    ) -> None:
        self._tree = tree
        self._overwrite = overwrite
        self._token = token
        self._progress = progress
        self._notify = notify
        self._tally = _Tally()
        self._first_names: dict[int, tuple[str, ...]] = {}  # of files with several, by inode: where their first name is
        self._seen: set[int] = set()  # folders: one that is in itself would never end

    def copy(self, entries: Sequence[Entry], target: TargetFolder) -> None:
        """Copy the entries and all below them."""
        if len(entries) == 1 and _is_unreadable(entries[0]):
            raise FormatError(f"{entries[0].path} cannot be read. {entries[0].problem}")
        wanted: list[Entry] = []
        for entry in entries:
            if entry.path:
                wanted.append(entry)
            else:
                self._seen.add(entry.inode)
                wanted += self._top(entry)
        self._refuse_existing([entry.name for entry in wanted], target)
        self._descend([_Level(self._tree.root(), iter(wanted), {})], target)

    def _top(self, root: Entry) -> list[Entry]:
        """What is in the root: of a damaged one, what can be read."""
        found: list[Entry] = []
        try:
            for child in self._tree.children(root):
                found.append(child)
        except _UNREADABLE as error:
            if not found:
                raise
            self._fail("/", f"The folder is damaged, so names in it may be missing: {error.message}")
        return found

    def _refuse_existing(self, names: list[str], target: TargetFolder) -> None:
        if self._overwrite:
            return
        for name in names:
            if target.has(name):
                raise RefusedError(
                    f"{target.path / name} is already there.",
                    "Choose another folder, or let it be replaced (--overwrite). Nothing was written.",
                )

    def _descend(self, levels: list[_Level], target: TargetFolder) -> None:
        """Depth first without recursion, with one open folder: a hostile depth takes neither stack nor descriptors."""
        while levels:
            self._token.check()
            level = levels[-1]
            child = self._next(level)
            if child is None:
                levels.pop()
                if levels:
                    self._lose(target.leave(level.entry, level.attributes, self._tree.owners))
            elif child.kind is Kind.FOLDER:
                below = self._enter(child, target, len(levels))
                if below is not None:
                    levels.append(below)
            else:
                self._one(child, target)

    def _next(self, level: _Level) -> Entry | None:
        try:
            return next(level.children, None)
        except _UNREADABLE as error:
            self._fail(level.entry.path or "/", f"The folder is damaged, so names in it may be missing: {error.message}")
            return None

    def _enter(self, entry: Entry, target: TargetFolder, depth: int) -> _Level | None:
        if entry.problem:
            self._fail(entry.path, entry.problem)
            return None
        if entry.inode in self._seen:
            self._fail(entry.path, "The folder is in the file system twice, which is damage.")
            return None
        if depth > _DEPTH_LIMIT:
            self._fail(entry.path, f"It is more than {_DEPTH_LIMIT} folders deep.")
            return None
        self._seen.add(entry.inode)
        try:
            children = self._tree.children(entry)
            target.enter(entry.name, self._overwrite)
        except (Unfit, Conflict) as why:
            self._fail(entry.path, str(why))
            return None
        self._tally.folders += 1
        return _Level(entry, children, self._attributes(entry))

    def _one(self, entry: Entry, target: TargetFolder) -> None:
        """Anything but a folder."""
        if entry.problem or entry.kind is Kind.UNKNOWN:
            self._fail(entry.path, entry.problem)
            return
        try:
            if entry.links > 1 and entry.inode in self._first_names and self._link_again(entry, target):
                self._tally.files += 1
                return
            if entry.kind is Kind.FILE:
                self._file(entry, target)
            elif entry.kind is Kind.LINK:
                target.link(entry.name, self._tree.readlink(entry), self._overwrite)
                self._tally.links += 1
                self._lose(target.finish_special(entry, self._attributes(entry), self._tree.owners))
            else:
                target.special(entry, self._overwrite)
                self._tally.files += 1
                self._lose(target.finish_special(entry, self._attributes(entry), self._tree.owners))
        except (Unfit, Conflict) as why:
            self._fail(entry.path, str(why))
            return
        except _UNREADABLE as error:
            self._fail(entry.path, error.message)
            return
        if entry.links > 1:
            self._first_names[entry.inode] = (*target.inside, entry.name)

    def _link_again(self, entry: Entry, target: TargetFolder) -> bool:
        """Whether a further name of a file could be one here; else it is copied once more."""
        if target.hard_link(entry.name, self._first_names[entry.inode], self._overwrite):
            return True
        self._tally.lost["hard links (copied as files of their own)"] += 1
        return False

    def _file(self, entry: Entry, target: TargetFolder) -> None:
        if entry.size > _MAX_SIZE:
            raise FormatError(f"It has {entry.size} bytes, which no file has.")
        pieces = self._tree.read(entry)
        with ExitStack() as stack:
            file = stack.enter_context(target.file(entry.name, self._overwrite))
            for offset, data in pieces:
                self._token.check()
                file.write(data, offset)
                self._tally.content_bytes += len(data)
                self._progress(self._tally.content_bytes)
            self._lose(file.finish(entry, self._attributes(entry), self._tree.owners))
        self._tally.files += 1

    def _attributes(self, entry: Entry) -> dict[str, bytes]:
        self._lose(self._tree.left_out(entry))
        try:
            return self._tree.xattrs(entry)
        except _UNREADABLE:
            self._tally.lost["extended attributes (damaged)"] += 1
            return {}

    def _lose(self, what: Iterable[str]) -> None:
        self._tally.lost.update(what)

    def _fail(self, path: str, why: str) -> None:
        self._tally.failures += 1
        if len(self._tally.failed) < _NAMED_LIMIT:
            self._tally.failed.append((path, why))
            self._notify(Message("warning", f"{path} was not copied. {why}"))

    def tell(self) -> None:
        """Say once each what could not be kept."""
        for what, count in sorted(self._tally.lost.items()):
            self._notify(Message("warning", f"Not kept: {what}, of {count} {'entry' if count == 1 else 'entries'}."))
        more = self._tally.failures - len(self._tally.failed)
        if more:
            self._notify(Message("warning", f"{more} more were not copied."))

    def result(self) -> ExtractResult:
        """The tally as a value."""
        tally = self._tally
        return ExtractResult(
            tally.files, tally.folders, tally.links, tally.content_bytes, tally.failures, dict(tally.lost), tuple(tally.failed)
        )
