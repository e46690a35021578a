"""FileTree: the files of one file system, whatever it is; Entry: one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, Protocol

import msgspec

from rescue.errors import DamagedError, FormatError, SourceReadError

PIECE: Final = 1 << 20  # bytes of content that are read at once


class Kind(Enum):
    """What an entry is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    BLOCK = "block device"
    CHARACTER = "character device"
    FIFO = "fifo"
    SOCKET = "socket"
    UNKNOWN = "unknown"


class Entry(msgspec.Struct, frozen=True):
    """One name in a file system. Sizes in bytes, times in nanoseconds since 1970 (UTC).

    ``name`` and ``path`` (from the root, without a leading slash; the root itself is "") are bytes decoded with
    ``os.fsdecode``; they come from the image and may hold anything. ``inode`` is the same for the names of one file, and only
    for them. ``problem`` says, as a sentence, why its content cannot be read; "" when it can.
    """

    name: str
    path: str
    kind: Kind
    size: int = 0
    allocated: int = 0
    mode: int = 0  # permission bits, 0o7777
    uid: int = 0
    gid: int = 0
    modified: int = 0
    accessed: int = 0
    changed: int = 0
    created: int | None = None
    inode: int = 0
    links: int = 1
    device: tuple[int, int] = (0, 0)  # major and minor of a device node
    problem: str = ""
    handle: object = None  # the tree's own


class FileTree(Protocol):
    """The files of one file system. One thread at a time. Every method may raise FormatError and SourceReadError."""

    @property
    def kind(self) -> str:
        """libblkid's word: "ext4", "ntfs", …"""
        ...

    @property
    def owners(self) -> bool:
        """Whether uid, gid and mode are the file system's own. Else they are only what a mount would show."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for people: what may be out of date in it, what no copy out of it keeps."""
        ...

    def root(self) -> Entry:
        """The top folder."""
        ...

    def entry(self, path: str) -> Entry:
        """The entry at a path. Links on the way are followed inside of the tree, a last one is not.

        Raises NoEntryError when there is none.
        """
        ...

    def children(self, entry: Entry) -> Iterator[Entry]:
        """What is in a folder, in no order. One that is damaged is of kind UNKNOWN or has a ``problem``."""
        ...

    def read(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """A file's content as offset and bytes, ascending, at most a mebibyte each; what lies between are holes (zeros)."""
        ...

    def readlink(self, entry: Entry) -> str:
        """Where a symbolic link leads, as it is written there."""
        ...

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """Extended attributes and ACLs by the names and in the form of getxattr(2)."""
        ...

    def left_out(self, entry: Entry) -> Sequence[str]:
        """What belongs to the entry and no method here gives: "alternate data streams above 64 KiB"."""
        ...


class NoEntryError(FormatError):
    """The file system has no such path."""


_LINK_LIMIT: Final = 40  # as in Linux, path_resolution(7)


def resolve(tree: FileTree, path: str, lookup: Lookup) -> Entry:
    """Walk ``path`` from the root as the kernel would inside a chroot. Raises NoEntryError."""
    pending = deque(path.split("/"))
    walked = [tree.root()]
    links = 0
    while pending:
        part = pending.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            del walked[max(len(walked) - 1, 1) :]
            continue
        folder = walked[-1]
        if folder.kind is not Kind.FOLDER:
            raise NoEntryError(f"{folder.path} is not a folder.", "See what is there with rescue ls.")
        found = lookup(folder, part)
        if found is None:
            shown = f"{folder.path}/{part}".lstrip("/")
            raise NoEntryError(f"There is no {shown} in this file system.", "See what is there with rescue ls.")
        if found.kind is Kind.LINK and any(p not in ("", ".") for p in pending):
            links += 1
            if links > _LINK_LIMIT:
                raise NoEntryError(f"{path} leads through more than {_LINK_LIMIT} symbolic links.")
            target = tree.readlink(found)
            if target.startswith("/"):
                del walked[1:]
            pending.extendleft(reversed(target.split("/")))
        else:
            walked.append(found)
    return walked[-1]


class Lookup(Protocol):
    """How :func:`resolve` finds a name in a folder."""

    def __call__(self, folder: Entry, name: str) -> Entry | None:
        """The entry, or None."""
        ...


def walk(tree: FileTree, start: Entry) -> Iterator[Entry]:
    """Everything below a folder, breadth first. A folder that was seen before (a loop) or is damaged is not entered."""
    pending = deque([start])
    seen = {start.inode}
    while pending:
        folder = pending.popleft()
        children: Iterator[Entry] | None = None
        while True:
            try:
                if children is None:
                    children = iter(tree.children(folder))
                child = next(children, None)
            except (FormatError, SourceReadError, DamagedError):
                break
            if child is None:
                break
            yield child
            if child.kind is Kind.FOLDER and not child.problem and child.inode not in seen:
                seen.add(child.inode)
                pending.append(child)


def search(tree: FileTree, words: Sequence[str], limit: int) -> Iterator[Entry]:
    """At most ``limit`` entries whose names hold all of the words, whatever their case; those near the root first."""
    folded = [word.casefold() for word in words]
    count = 0
    for entry in walk(tree, tree.root()):
        if count >= limit:
            return
        name = entry.name.casefold()
        if all(word in name for word in folded):
            count += 1
            yield entry
