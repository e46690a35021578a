"""What is told of volumes that are in each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rescue.model.volume import Nested, Volume


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


def walk(inside: tuple[Nested, ...]) -> Iterator[Nested]:
    """Every volume in a volume, the outer ones first."""
    for nested in inside:
        yield nested
        yield from walk(nested.inside)
