"""A partition that the table does not name."""

from __future__ import annotations

import msgspec

from rescue.model.volume import Identity


class Lost(msgspec.Struct, frozen=True):
    """Something that begins in free space. ``whole``: its second copy or its end is where it must be.

    ``overlaps``: another one that was found takes some of the same bytes; at most one of them is still there.
    ``damaged``: its own beginning is gone, and it was found by a copy. ``inside``: it lies in a whole one, and is likely
    a file of it. ``twin_of``: the number of the partition in the table that has the same identifier, 0 for none; this is a
    copy of it then, such as a move leaves behind.
    """

    start: int
    end: int
    identity: Identity
    whole: bool
    overlaps: bool = False
    damaged: bool = False
    is_esp: bool = False
    inside: bool = False
    twin_of: int = 0
