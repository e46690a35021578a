"""A folder as a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from rescue.errors import RefusedError, RescueError, UsageError
from rescue.stores import removal
from rescue.stores.locks import locked_by_another, store_lock
from rescue.stores.names import (
    MARKER,
    PARTIAL,
    check_name,
    check_new_name,
    check_split,
    clear_parts,
    marker_path,
    name_taken,
    partial_path,
    remove_file,
    taken_by,
    written_parts,
)
from rescue.stores.output import OutputFile
from rescue.stores.partial import Partial, PartialObject, lock_partial
from rescue.stores.writer import StoreWriter
from rescue.system.joined import files_of, part_name


class ObjectFacts(NamedTuple):
    """Bytes of all files of an object, and when the last of them was changed (seconds since 1970)."""

    size: int
    modified: float


class FolderStore:
    """Named immutable objects in one folder, each a file or cut into parts (their names: rescue/stores/names.py)."""

    def __init__(self, folder: str | Path) -> None:
        """Raises UsageError when there is no such folder."""
        self.folder = Path(folder)
        if not self.folder.exists():
            raise UsageError(f"The folder {self.folder} does not exist.", "Create it, or mount the disk that holds it.")
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is not a folder.", "Name the folder that the image shall be put into.")

    def check_writable(self) -> None:
        """Raise RefusedError when nothing can be stored here. Writes nothing to find out."""
        if os.statvfs(self.folder).f_flag & os.ST_RDONLY:
            raise RefusedError(f"{self.folder} is on a read-only file system.", "Mount it for writing, or choose another folder.")
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise RefusedError(f"{self.folder} may not be written to.", "Run as root, or choose another folder.")

    @property
    def free_bytes(self) -> int:
        """Bytes that can still be stored, as the file system says."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    def names(self) -> list[str]:
        """The complete objects, sorted; one that is cut into parts once. Raises RescueError when the folder cannot be read."""
        plain, cut = self._visible()
        whole = [name if name not in plain else f"{name}.001" for name, numbers in cut.items() if _complete(numbers)]
        return sorted([*plain, *whole])

    def incomplete(self) -> list[str]:
        """The objects of which parts are here and parts are missing, sorted. Raises as :meth:`names`."""
        _, cut = self._visible()
        return sorted(
            name
            for name, numbers in cut.items()
            if not _complete(numbers) and (1 in numbers or not marker_path(self.folder / name).exists())
        )

    def _visible(self) -> tuple[set[str], dict[str, set[int]]]:
        """The files that are no parts, and of those that are the numbers by the name of the whole."""
        plain: set[str] = set()
        cut: dict[str, set[int]] = {}
        for name in self._files():
            part = part_name(name)
            if part:
                cut.setdefault(part.whole, set()).add(part.number)
            elif not name.endswith(PARTIAL):
                plain.add(name)
        return plain, cut

    def _files(self) -> list[str]:
        try:
            with os.scandir(self.folder) as entries:
                return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]
        except OSError as error:
            raise RescueError(f"The folder {self.folder} cannot be read: {error.strerror}.") from error

    def path(self, name: str) -> Path:
        """What to name an object outside of the store; where it is when it is not cut. Raises UsageError for what is no name."""
        check_name(name)
        return self.folder / name

    def facts(self, name: str) -> ObjectFacts:
        """Size and time of an object, of what is there of it. Raises UsageError (no name), RescueError (not there)."""
        try:
            found = [file.stat() for file in files_of(self.path(name))]
        except OSError as error:
            raise RescueError(f"{self.path(name)} cannot be read: {error.strerror}.") from error
        if not found:
            raise RescueError(f"{self.path(name)} is not there.")
        return ObjectFacts(sum(state.st_size for state in found), max(state.st_mtime for state in found))

    def names_being_written(self) -> list[str]:
        """The objects that other processes are writing right now. Raises as :meth:`names`."""
        return [name for name in self._begun() if self.being_written(name)]

    def being_written(self, name: str) -> bool:
        """Whether another process is writing an object of this name right now."""
        return locked_by_another(partial_path(self.path(name)))

    def partials(self) -> list[PartialObject]:
        """The objects that were begun, and that nobody writes now: what can be continued. Raises as :meth:`names`."""
        found = []
        for name in self._begun():
            path = self.folder / name
            if self.being_written(name) or taken_by(path):
                continue
            try:
                states = [file.stat() for file in (partial_path(path), *written_parts(path).values())]
            except FileNotFoundError:
                continue  # it was completed or removed at this moment
            found.append(PartialObject(name, sum(s.st_size for s in states), max(s.st_mtime for s in states)))
        return found

    def _begun(self) -> list[str]:
        names = [name.removesuffix(PARTIAL) for name in self._files() if name.endswith(PARTIAL)]
        return sorted(name for name in names if name and not part_name(name) and not name.endswith(PARTIAL))

    def open_for_write(self, name: str, split: int = 0) -> StoreWriter:
        """Begin an object. A ``split`` that is not 0 cuts it into parts of that many bytes (at least 1 MiB, at most 999 parts).

        Raises UsageError, RefusedError when the name is taken or is being written, RescueError when it cannot be created.
        What a dead process left under this name is begun anew: its lock went with the process.
        """
        path = self._free(name)
        check_split(split)
        fd = lock_partial(path, create=True)
        try:
            # The other one may have finished between the look before and the lock.
            taken = taken_by(path)
            if taken:
                remove_file(partial_path(path))
                raise name_taken(taken)
            clear_parts(path)
            os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        return StoreWriter(path, OutputFile(fd), split)

    def partial(self, name: str) -> Partial | None:
        """What an interrupted writer left of an object, locked; None when there is nothing.

        Raises UsageError, RefusedError (it is being written, its name is taken meanwhile), RescueError.
        """
        path = self._free(name)
        try:
            fd = lock_partial(path, create=False)
        except FileNotFoundError:
            return None
        try:
            return Partial(path, fd)
        except BaseException:
            os.close(fd)
            raise

    def open_for_append(self, name: str, length: int, split: int = 0) -> StoreWriter:
        """Continue an interrupted object after its first ``length`` bytes; what is behind them is cut off.

        Raises as :meth:`partial` and :meth:`Partial.append`; RescueError when there is nothing to continue.
        """
        left = self.partial(name)
        if left is None:
            raise RescueError(f"There is nothing of {self.path(name)} to continue.", "Begin anew.")
        with left:
            return left.append(length, split)

    def _free(self, name: str) -> Path:
        """The path of a new object. Raises UsageError, RefusedError when it cannot be begun or continued now."""
        check_new_name(name)
        path = self.folder / name
        self.check_writable()
        taken = taken_by(path)
        if taken:
            raise name_taken(taken)
        if locked_by_another(marker_path(path)):
            raise RefusedError(f"{path} is being removed right now.", "Try again in a moment.")
        return path

    def is_link(self, name: str) -> bool:
        """Whether a file of an object is a symbolic link: it can be read, and is never removed."""
        return removal.is_link(self.path(name))

    def hold(self, name: str) -> AbstractContextManager[None]:
        """Keep a complete object from being removed as long as the context lasts. Any number may hold it.

        Entering raises GoneError (there is none), RefusedError (its removal takes too long to wait for), RescueError.
        """
        return removal.hold(self.path(name))

    def remove(self, name: str, check: Callable[[], None] = lambda: None) -> None:
        """Remove a complete object; after a power cut it is whole or gone.

        ``check`` runs when nobody can begin to depend on it any more and nothing is changed yet; what it raises keeps it.
        Raises GoneError (there is none), RefusedError (it is held, being written, a link), RescueError.
        """
        removal.remove(self.path(name), check)

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep others that remove or consolidate out of this store. Entering raises RefusedError, RescueError."""
        self.check_writable()
        return store_lock(self.folder)

    def clear_removed(self) -> None:
        """Finish the removals that a power cut interrupted. To be called within :meth:`exclusive`. Raises RescueError."""
        for name in self.interrupted_removals():
            clear_parts(self.folder / name)

    def interrupted_removals(self) -> list[str]:
        """The objects that are only partly removed, and that nobody removes now."""
        found = []
        for entry in os.listdir(self.folder):
            name = entry[1:].removesuffix(MARKER)
            if name and entry == f".{name}{MARKER}":
                path = self.folder / name
                if not partial_path(path).exists() and not locked_by_another(self.folder / entry):
                    found.append(name)
        return sorted(found)


def _complete(numbers: set[int]) -> bool:
    return numbers == set(range(1, len(numbers) + 1))
