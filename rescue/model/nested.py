"""What is told of volumes that are in each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from rescue.model.volume import Nested, Volume

MAX_DEPTH: Final = 16  # more than what is opened


class WholePart(NamedTuple):
    """Something that is kept whole, named by its way from the partition. ``size`` in bytes."""

    way: tuple[str, ...]
    size: int
    because: str


def whole_parts(volume: Volume) -> Iterator[WholePart]:
    """What in a volume is kept whole, or that it is."""
    if volume.whole_because:
        yield WholePart((), volume.size, volume.whole_because)
    yield from _whole(volume.inside, ())


def _whole(inside: tuple[Nested, ...], way: tuple[str, ...]) -> Iterator[WholePart]:
    for nested in inside:
        here = (*way, nested.name) if nested.name else way
        if nested.whole_because:
            yield WholePart(here, nested.size, nested.whole_because)
        yield from _whole(nested.inside, here)


def depth(inside: tuple[Nested, ...]) -> int:
    """How many volumes are in each other."""
    levels = 0
    while inside:
        inside = tuple(below for nested in inside for below in nested.inside)
        levels += 1
    return levels


def walk(inside: tuple[Nested, ...]) -> Iterator[Nested]:
    """Every volume in a volume, the outer ones first."""
    for nested in inside:
        yield nested
        yield from walk(nested.inside)
