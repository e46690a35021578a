"""The owners of damaged bytes on ext2/3/4, xfs, NTFS, FAT and exFAT: every file is asked where its content lies.

The content itself is not read: the tree's source is a witness that notes what is asked for and answers zeros.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.files.open import open_tree
from rescue.filesystems.files.stored import StoredTree, WindowSource
from rescue.filesystems.files.tree import Entry, Kind
from rescue.filesystems.lenient import LenientSource, Touches, Witness
from rescue.filesystems.ntfs_mft import Mft
from rescue.filesystems.owned import Owned
from rescue.model.extents import ExtentMap
from rescue.model.volume import Identity

OUT_OF_TIME: Final = "There was not enough time to look at every file."
DAMAGED_FOLDERS: Final = "Some of its folders cannot be read, so files in them may be missing here."


def walk_files(volume: LenientSource, identity: Identity, bad: ExtentMap, deadline: float, clock: Callable[[], float]) -> Owned:
    """Look at every file that a name leads to. Raises FormatError when there is no way in, UnsupportedError."""
    tree = open_tree(volume, identity)
    if not isinstance(tree, StoredTree):
        raise UnsupportedError(f"Where the files of {identity.type} lie cannot be told.")
    walk = _Walk(tree, volume, bad, deadline, clock)
    try:
        walk.run()
    except _OutOfTimeError:
        return walk.owned(OUT_OF_TIME)
    return walk.owned()


class _OutOfTimeError(Exception):
    """The time that was given is over."""


class _Structures(WindowSource):
    """What a tree reads its structures from; counts how often a damaged part is asked for."""

    def __init__(self, volume: LenientSource, bad: ExtentMap) -> None:
        super().__init__(volume)
        self.touches = Touches(bad)

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        self.touches.note(offset, offset + length)
        return super().pread(length, offset)


class _Walk:
    def __init__(
        self, tree: StoredTree[Any], volume: LenientSource, bad: ExtentMap, deadline: float, clock: Callable[[], float]
    ) -> None:
        self._deadline = deadline
        self._clock = clock
        self._tree = tree
        self._bad = bad
        self._content = Witness(volume.size, bad)
        self._structures = _Structures(volume, bad)
        tree.source = self._content
        tree.volume = self._structures
        # The table of NTFS was opened before: a damaged record of it fails its own checks.
        self._mft = ExtentMap(sorted(Mft(volume).stream.extents())) if tree.kind == "ntfs" else ExtentMap()
        self._names: set[str] = set()
        self._complete = True

    def run(self) -> None:
        """Walk from the root, breadth first."""
        root = self._tree.root()
        pending, seen = deque([root]), {root.inode}
        while pending:
            folder = pending.popleft()
            for name, ref in self._listed(folder):
                if self._clock() >= self._deadline:
                    raise _OutOfTimeError
                child = self._loaded(folder, name, ref)
                if child is None:
                    continue
                if child.kind is not Kind.FOLDER:
                    self._look_at(child)
                elif child.inode not in seen:
                    seen.add(child.inode)
                    pending.append(child)

    def owned(self, *notes: str) -> Owned:
        """What was found so far."""
        if not self._complete:
            notes = (*notes, DAMAGED_FOLDERS)
        structures = self._structures.touches.extents.union(self._mft.intersection(self._bad))
        return Owned(frozenset(self._names), self._content.touches.extents, structures, not notes, notes)

    def _listed(self, folder: Entry) -> list[tuple[str, Any]]:
        """What a folder holds. Zeros in a folder are the end of it on FAT: so a touch tells that it is damaged, too."""
        before = self._structures.touches.count
        found: list[tuple[str, Any]] = []
        try:
            found.extend(self._tree.names(folder))
        except FormatError:
            self._lost(folder.path)
        else:
            if self._structures.touches.count > before:
                self._lost(folder.path)
        return found

    def _loaded(self, folder: Entry, name: str, ref: object) -> Entry | None:
        path = f"{folder.path}/{name}" if folder.path else name
        before = self._structures.touches.count
        entry: Entry | None
        try:
            entry = self._tree.load(name, path, ref)
        except FormatError:
            entry = None
            # What it is, a file or a folder, is lost with it.
            self._complete = False
        if entry is None or self._structures.touches.count > before:
            self._names.add("/" + path)
        return entry

    def _lost(self, path: str) -> None:
        self._names.add(f"/{path}/" if path else "/")
        self._complete = False

    def _look_at(self, entry: Entry) -> None:
        before = self._content.touches.count + self._structures.touches.count
        broken = False
        try:
            if entry.kind is Kind.FILE:
                for _ in self._tree.content(entry):
                    if self._clock() >= self._deadline:
                        raise _OutOfTimeError
            elif entry.kind is Kind.LINK:
                self._tree.readlink(entry)
        except FormatError:
            broken = True
        if broken and self._structures.touches.count == 0 and not self._mft:
            broken = False  # it was so before the damage
        if broken or self._content.touches.count + self._structures.touches.count > before:
            self._names.add("/" + entry.path)
            self._complete = self._complete and not broken
