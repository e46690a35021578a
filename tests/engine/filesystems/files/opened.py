"""Open a file with a file system in it as a tree, and copy out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescue.engine.extract import ExtractResult, extract
from rescue.filesystems.files.open import open_tree
from rescue.filesystems.files.tree import FileTree
from rescue.filesystems.identify import identify
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSource


@contextmanager
def opened(path: Path) -> Iterator[FileTree]:
    """The files of what libblkid finds in a file."""
    with FileSource(path) as source:
        yield open_tree(source, identify(str(path), 0, source.size))


def copied(tree: FileTree, path: str, dest: Path, *, overwrite: bool = False) -> ExtractResult:
    """Extract without a word."""
    return extract(
        tree, [tree.entry(path)], dest, overwrite=overwrite, token=CancelToken(), progress=lambda _: None, notify=lambda _: None
    )
