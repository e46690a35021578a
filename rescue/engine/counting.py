"""How much there is to copy, before it is copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from rescue.filesystems.files.tree import Entry, FileTree, Kind, walk
from rescue.model.progress import CancelToken
from rescue.units import KIB

_INLINE: Final = 64 * KIB  # small files may have no blocks of their own, so what is allocated tells nothing
_MOST: Final = (1 << 63) - 1  # a hostile size must not become a number that no journal holds


class Amount(msgspec.Struct, frozen=True):
    """Files (and links and the like), folders, bytes of content without holes. Not ``complete``: there is at least as much."""

    files: int = 0
    folders: int = 0
    content_bytes: int = 0
    complete: bool = True


def count(tree: FileTree, entries: Sequence[Entry], token: CancelToken, limit: int | None = None) -> Amount:
    """Count the entries and all below them; not more than ``limit`` of them. Raises CancelledError.

    What cannot be read is not counted: copying tells of it.
    """
    files = folders = content = seen = 0
    inodes: set[int] = set()
    for start in entries:
        for entry in _all(tree, start):
            token.check()
            if limit is not None and seen >= limit:
                return Amount(files, folders, min(content, _MOST), complete=False)
            seen += 1
            if entry.kind is Kind.FOLDER:
                folders += 1
                continue
            files += 1
            if entry.kind is Kind.FILE and (entry.links < 2 or entry.inode not in inodes):
                content += _content(entry)
                if entry.links > 1:
                    inodes.add(entry.inode)
    return Amount(files, folders, min(content, _MOST))


def _all(tree: FileTree, entry: Entry) -> Iterator[Entry]:
    """The entry (but not the root, which is never copied itself) and all below it, as far as it can be read."""
    if entry.path:
        yield entry
    if entry.kind is Kind.FOLDER and not entry.problem:
        yield from walk(tree, entry)


def _content(entry: Entry) -> int:
    return entry.size if entry.size <= _INLINE else min(entry.size, entry.allocated)
