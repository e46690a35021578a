"""The files in an image or on a disk, for a face that looks around in them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from rescue.devices.kernel import Kernel
from rescue.devices.usage import stands_on
from rescue.engine.browse import Opened, open_disk_files, open_image_files
from rescue.engine.counting import Amount, count
from rescue.errors import DamagedError, FormatError, RescueError, SourceReadError, UsageError
from rescue.filesystems.files.tree import Entry, FileTree, Kind, walk
from rescue.images.secrets import Secrets
from rescue.model.plan import Plan
from rescue.model.progress import CancelToken
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Volume
from rescue.planning.extract import FolderFacts, plan_extract, without_nested
from rescue.planning.request import ExtractRequest
from rescue.services.interfaces import Listing
from rescue.services.places import filesystem_of
from rescue.stores.address import local_path

_DAMAGE: Final = (FormatError, SourceReadError, DamagedError)
_COUNT_LIMIT: Final = 20_000  # entries that are looked at for a plan; the job counts them all
_BATCH: Final = 50  # of what a search found is told at a time, …
_AT_ONCE: Final = 10  # … the first ones alone, as they are found


class TreeBrowser:
    """A FileBrowser. Any thread may use it; they take turns in the tree, of which one search is many short ones."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._ended = False
        self.owners = tree.owners
        self.notes = tuple(tree.notes)

    def end(self) -> None:
        """Wait for the thread in the tree; after this, nobody reads it any more."""
        with self._lock:
            self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise RescueError("These files are not open any more.")

    def folder(self, path: str) -> Entry:
        """See FileBrowser."""
        with self._lock:
            self._check()
            return self._tree.entry(path) if path else self._tree.root()

    def children(self, folder: Entry) -> Listing:
        """See FileBrowser."""
        found: list[Entry] = []
        problem = ""
        with self._lock:
            self._check()
            try:
                for entry in self._tree.children(folder):
                    found.append(entry)
            except _DAMAGE as error:
                problem = error.message
        found.sort(key=lambda entry: (entry.kind is not Kind.FOLDER, entry.name.casefold(), entry.name))
        return Listing(tuple(found), problem)

    def search(self, words: str, limit: int, token: CancelToken, found: Callable[[Sequence[Entry]], None]) -> bool:
        """See FileBrowser."""
        folded = words.casefold().split()
        batch: list[Entry] = []
        number = 0
        complete = False
        for entry in self._walk(token):
            name = entry.name.casefold()
            if not all(word in name for word in folded):
                continue
            if number == limit:
                break
            number += 1
            batch.append(entry)
            if len(batch) >= _BATCH or number <= _AT_ONCE:
                found(tuple(batch))
                batch.clear()
        else:
            complete = not (token.cancelled or self._ended)
        if batch:
            found(tuple(batch))
        return complete

    def _walk(self, token: CancelToken) -> Iterator[Entry]:
        entries: Iterator[Entry] | None = None
        while not token.cancelled:
            with self._lock:
                if self._ended:
                    return
                if entries is None:
                    entries = walk(self._tree, self._tree.root())
                entry = next(entries, None)
            if entry is None:
                return
            yield entry

    def link_target(self, entry: Entry) -> str:
        """See FileBrowser."""
        with self._lock:
            self._check()
            try:
                return self._tree.readlink(entry)
            except _DAMAGE:
                return ""


def _opened(source: ImageSummary | DiskSurvey, secrets: Secrets, *, salvage: bool = False) -> AbstractContextManager[Opened]:
    if isinstance(source, ImageSummary):
        return open_image_files(Path(source.path), secrets, salvage=salvage)
    return open_disk_files(source, secrets)


def volumes_in(
    source: ImageSummary | DiskSurvey, partition: int, secrets: Secrets, *, salvage: bool = False
) -> list[tuple[str, Volume]]:
    """See Machine."""
    with _opened(source, secrets, salvage=salvage) as opened:
        return [(inner.name, inner.volume) for inner in opened.inner(partition)]


@contextmanager
def open_browser(
    source: ImageSummary | DiskSurvey, partition: int, secrets: Secrets, inside: str = "", *, salvage: bool = False
) -> Iterator[TreeBrowser]:
    """Look into a partition, or the volume ``inside`` of it; 0 is a file system on the whole disk. Raises as engine.browse."""
    with _opened(source, secrets, salvage=salvage) as opened, opened.tree(partition, inside) as tree:
        browser = TreeBrowser(tree)
        try:
            yield browser
        finally:
            browser.end()


def plan_from_files(
    source: ImageSummary | DiskSurvey, partition: int, request: ExtractRequest, kernel: Kernel, secrets: Secrets
) -> Plan:
    """See Machine.plan_extract."""
    with _opened(source, secrets, salvage=request.salvage) as opened, opened.tree(partition, request.inside) as tree:
        entries = [tree.entry(path) for path in without_nested(request.paths)]
        amount = count(tree, entries, CancelToken(), _COUNT_LIMIT) if entries else Amount()
        names = [name for entry in entries for name in ([entry.name] if entry.path else _names(tree, entry))]
        volume = opened.volume(partition)
        containers = opened.containers if volume in opened.containers else ()
        facts = _folder_facts(request, names, kernel)
        return plan_extract(source, volume, entries, amount, facts, request, containers)


def _names(tree: FileTree, folder: Entry) -> list[str]:
    found = []
    try:
        for entry in tree.children(folder):
            found.append(entry.name)
    except _DAMAGE:
        pass  # copying tells of it
    return found


def _folder_facts(request: ExtractRequest, names: Sequence[str], kernel: Kernel) -> FolderFacts:
    folder = Path(local_path(request.folder)).absolute()
    there = folder if folder.is_dir() else folder.parent
    if os.path.lexists(folder) and there != folder:
        raise UsageError(f"{folder} is not a folder.", "Name a folder, or a new one.")
    if not there.is_dir():
        raise UsageError(f"The folder {there} does not exist.", "Make it first, or choose another one.")
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise UsageError("The name of the folder is not valid text (UTF-8).", "Choose another one.") from error
    if not os.access(there, os.W_OK):
        raise UsageError(f"{there} cannot be written to.", "Choose another folder, or do it as root.")
    space = os.statvfs(there)
    present = {name: (folder / name).is_dir() for name in names if _can_be_name(name) and os.path.lexists(folder / name)}
    devices, files = stands_on(kernel, str(there))
    return FolderFacts(
        str(folder),
        space.f_bavail * space.f_frsize,
        filesystem_of(there, kernel),
        present,
        (*(f"/dev/{name}" for name in devices), *files),
    )


def _can_be_name(name: str) -> bool:
    """Whether a name from an image is one in a folder and nothing else; others are never copied."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name
