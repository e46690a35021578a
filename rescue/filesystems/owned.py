"""What a reader of a file system found about the owners of damaged bytes."""

from __future__ import annotations

import msgspec

from rescue.model.extents import ExtentMap


class Owned(msgspec.Struct, frozen=True):
    """Names and bytes; ``content`` and ``structures`` are parts of the damage.

    ``names`` of files whose content or inode is damaged; a folder that cannot be read ends in "/". ``complete``: every file
    was looked at, so that what is in use and was not met belongs to the file system itself.
    """

    names: frozenset[str] = frozenset()
    content: ExtentMap = ExtentMap()
    structures: ExtentMap = ExtentMap()
    complete: bool = False
    notes: tuple[str, ...] = ()
