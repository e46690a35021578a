"""How the room of a container that gets another size is shared out among what is in it. Pure."""

from __future__ import annotations

from rescue.model.container import Bears, Way
from rescue.planning.fit_share import share
from rescue.units import align_up


def least_of(volume: Bears, *, soft: bool = True) -> int:
    """The smallest size in bytes that a volume can get with all that is in it. With ``soft`` swap space gives way."""
    if volume.because or (volume.is_soft and not soft):
        return volume.size
    if not volume.inside:
        return min(volume.least, volume.size)
    parts = sum(align_up(least_of(inner, soft=soft), volume.grain) for inner in volume.inside)
    return min(volume.overhead + parts, volume.size)


def can_grow(volume: Bears) -> bool:
    """Whether something in it can fill more room."""
    if volume.because:
        return False
    return any(map(can_grow, volume.inside)) if volume.inside else volume.can_grow and not volume.is_soft


def sizes_in(volume: Bears, size: int) -> dict[Way, int]:
    """Bytes by way of the volume, which gets ``size`` of them (at least :func:`least_of`), and of everything in it.

    What a larger container gets goes to all that can grow, in proportion to their sizes, and free extents stay free. In a smaller
    one free extents are given up first, then all that can be made smaller becomes so in proportion, and swap space last.
    """
    found = {volume.way: size}
    if not volume.inside or volume.because:
        return found
    now = [inner.size // volume.grain for inner in volume.inside]
    had, has = ((total - volume.overhead) // volume.grain for total in (volume.size, size))
    if has >= had:
        room = sum(now) + has - had
        floors = now
        caps = [room if can_grow(inner) else at for inner, at in zip(volume.inside, now, strict=True)]
    else:
        room, caps = min(sum(now), has), now
        floors = _floors(volume, soft=False)
        if sum(floors) > room:
            floors = _floors(volume, soft=True)
    shares = share([max(at, 1) for at in now], floors, caps, room)
    for inner, given in zip(volume.inside, shares, strict=True):
        found |= sizes_in(inner, given * volume.grain)
    return found


def _floors(volume: Bears, *, soft: bool) -> list[int]:
    """The fewest grains that each volume in it can have."""
    return [align_up(least_of(inner, soft=soft), volume.grain) // volume.grain for inner in volume.inside]
