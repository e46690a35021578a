"""Open the files of a volume by what libblkid says is on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rescue.errors import UnsupportedError
from rescue.filesystems.files.exfat_tree import ExfatTree
from rescue.filesystems.files.ext_tree import ExtTree
from rescue.filesystems.files.fat_tree import FatTree
from rescue.filesystems.files.ntfs_tree import NtfsTree
from rescue.filesystems.files.tree import FileTree
from rescue.filesystems.files.xfs_tree import XfsTree
from rescue.model.source import Source
from rescue.model.volume import Identity

_TREES: Final[dict[str, Callable[[Source], FileTree]]] = {
    "ext2": ExtTree,
    "ext3": ExtTree,
    "ext4": ExtTree,
    "ext4dev": ExtTree,
    "xfs": XfsTree,
    "ntfs": NtfsTree,
    "vfat": FatTree,
    "exfat": ExfatTree,
}
READABLE: Final = frozenset(_TREES)


def open_tree(source: Source, identity: Identity) -> FileTree:
    """The files of the file system on ``source``, which is read only and must stay open.

    Raises UnsupportedError when only mounting shows them (btrfs, f2fs, …) or nothing does, FormatError when the structures
    make no sense, SourceReadError.
    """
    opener = _TREES.get(identity.type)
    if opener is not None:
        return opener(source)
    if identity.usage == "filesystem":
        raise UnsupportedError(f"Files on {identity.type} cannot be read without mounting it.", "Mount it with rescue mount.")
    if identity.usage == "crypto":
        raise UnsupportedError(f"It is encrypted ({identity.type}), so its files cannot be seen.")
    what = (
        f"What is there ({identity.type}) holds no files" if identity.type else "No file system that this program knows was found"
    )
    raise UnsupportedError(f"{what}.")
