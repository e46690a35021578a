"""A bound on how many pieces a used map may have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from rescue.errors import UnsupportedError

# Far more than real volumes have, and about half a gigabyte of memory while the map is made.
_LIMIT: Final = 4_000_000


_T = TypeVar("_T")


def bounded(extents: Iterable[_T], limit: int = _LIMIT) -> Iterator[_T]:
    """The extents, as they come. Raises UnsupportedError after ``limit`` of them: a bitmap made to fill the memory."""
    for count, extent in enumerate(extents):
        if count >= limit:
            raise UnsupportedError(f"Its used space is in more than {limit} pieces.")
        yield extent
