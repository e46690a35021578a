"""How volumes that are in each other (LUKS, LVM, file systems) bear another size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

Way: TypeAlias = tuple[str, ...]  # from a partition down: the names of the volumes in each other

_SOFT: Final = frozenset({"swap"})  # holds nothing: gives way when there is no other way, and does not grow


class Bears(msgspec.Struct, frozen=True):
    """A volume of ``size`` bytes, reached by ``way``; of a container what is ``inside``, in the order of its places.

    A file system can be made as small as ``least``, and fills more room when ``can_grow``; ``anew``: smaller only by making it
    anew. A container takes ``overhead`` bytes for itself and gives the rest out in multiples of ``grain``. One that cannot be
    put together anew keeps its size, ``because`` of that.
    """

    way: Way
    type: str  # libblkid's word
    size: int
    least: int
    can_grow: bool = False
    anew: bool = False
    overhead: int = 0
    grain: int = 1
    inside: tuple[Bears, ...] = ()
    because: str = ""

    @property
    def is_soft(self) -> bool:
        """Whether it is made smaller only when nothing else helps."""
        return self.type in _SOFT

    def walk(self) -> Iterator[Bears]:
        """It and everything inside."""
        yield self
        for inner in self.inside:
            yield from inner.walk()
