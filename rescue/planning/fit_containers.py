"""Partitions that hold LUKS or LVM when a disk is fitted: what they may become, and the words for it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rescue.model.container import Bears
from rescue.model.fit import FitVolume
from rescue.model.fitting import FittedInner, FittedVolume
from rescue.model.layout import Layout
from rescue.model.volume import Identity, Volume
from rescue.planning.fit_inside import can_grow, least_of, sizes_in
from rescue.planning.words import content_words, partition_words, plain
from rescue.units import human_size

_CONTAINERS: Final = ("crypto_LUKS", "LVM2_member", "linux_raid_member")


def container_bears(number: int, container: Bears, *, fixed: bool) -> FitVolume:
    """How a partition that is a container bears another size."""
    return FitVolume(number, least_of(container), can_grow=can_grow(container), fixed=fixed)


def inner_sizes(container: Bears, size: int) -> tuple[FittedInner, ...]:
    """Every volume in a container that gets ``size`` bytes, itself included, and its size in it."""
    sizes = sizes_in(container, size)
    return tuple(
        FittedInner(inner.way, inner.type, inner.size, sizes[inner.way], inner.anew and sizes[inner.way] < inner.size)
        for inner in container.walk()
        if inner.way in sizes
    )


def inner_words(volume: FittedVolume) -> Iterator[str]:
    """A sentence for each file system in a container that gets another size."""
    containers = {
        inner.way for inner in volume.inside if any(other.way[:-1] == inner.way for other in volume.inside if other.way)
    }
    for inner in volume.inside:
        if inner.way in containers or inner.size == inner.old or not inner.way:
            continue
        name = plain(", ".join(part for part in inner.way if part)) or content_words(Identity(inner.filesystem))
        how = "smaller" if inner.size < inner.old else "larger"
        anew = " It is made anew, with the same UUID, and filled by its files." if inner.anew else ""
        yield f"In it {name} becomes {how}: {human_size(inner.old)} → {human_size(inner.size)}.{anew}"


def kept_sizes(layout: Layout, volumes: Sequence[Volume], containers: Mapping[int, Bears]) -> tuple[str, ...]:
    """Which partitions keep their size for what they hold, and why. ``containers`` are those that were looked into for that."""
    by_number = {p.number: p for p in layout.data_partitions}
    said = []
    for volume in volumes:
        if not (volume.inside or volume.identity.type in _CONTAINERS):
            continue
        known = containers.get(volume.partition)
        if known is not None and (can_grow(known) or least_of(known) < known.size):
            continue
        partition = by_number.get(volume.partition)
        what = partition_words(partition, volume) if partition else "The whole disk"
        because = next((f" {inner.because}" for inner in known.walk() if inner.because), "") if known else ""
        said.append(f"{what}: it keeps its size, for it holds other volumes.{because}")
    return tuple(said)


def still_whole(volumes: Sequence[Volume], containers: Mapping[int, Bears]) -> list[Volume]:
    """The volumes without those that were kept whole for the want of a key, which is there now."""
    opened = {number for number, container in containers.items() if not container.because and container.inside}
    return [volume for volume in volumes if volume.inside or volume.partition not in opened]
