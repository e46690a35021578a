"""Which images of a store need which others: what must stay when some of them are removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from rescue.records import replace

_NOTHING = "0" * 64


class Lineage(msgspec.Struct, frozen=True):
    """What of one image tells which others it needs. Images are known by their fingerprints (hex), names are in the store.

    ``needs``: the fingerprints of those that hold data of it; None when that is not known, because it is encrypted and was not
    opened, or damaged. ``parent`` (of the image that it was made upon, as its header says), ``kind``, ``encrypted`` and
    ``disk_size`` are from the header, which can be read without secrets; ``kind`` is "" when it cannot be read.
    """

    name: str
    fingerprint: str = ""  # "" when its end cannot be read
    kind: str = ""
    needs: frozenset[str] | None = None
    parent: str = _NOTHING
    encrypted: bool = False
    disk_size: int = 0
    locked: bool = False  # encrypted, and not opened
    problem: str = ""  # why ``needs`` is None, as a sentence


def could_need(image: Lineage, images: Iterable[Lineage]) -> frozenset[str]:
    """The names of those of ``images`` that ``image`` needs itself; where that is not known, of all that it could need.

    An image needs nothing but ancestors, and each header names the one above. Where that trail ends at one that is not here,
    every image of that size of disk and encrypted alike could be meant; without a header, every image.
    """
    others = [other for other in images if other.name != image.name]
    if image.needs is not None:
        return frozenset(other.name for other in others if other.fingerprint in image.needs)
    if image.kind == "full":
        return frozenset()
    alike = frozenset(
        other.name
        for other in others
        if not image.kind or not other.kind or (other.encrypted, other.disk_size) == (image.encrypted, image.disk_size)
    )
    return alike if not image.kind else _ancestors(image, others, alike)


def _ancestors(image: Lineage, others: Sequence[Lineage], alike: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    seen = {image.fingerprint}
    above = image.parent
    while above not in seen:
        seen.add(above)
        here = [other for other in others if other.fingerprint == above]
        if not here:
            return alike
        found.update(other.name for other in here)
        parent = here[0]
        if parent.needs is not None:
            return frozenset(found | could_need(parent, others))
        if parent.kind == "full":
            return frozenset(found)
        above = parent.parent
    return alike


def without_aliases(images: Sequence[Lineage], links: AbstractSet[str]) -> tuple[Lineage, ...]:
    """The same, but of ``links`` (names) nothing is needed that is here under another name as well: that one is."""
    real = {image.fingerprint for image in images if image.name not in links}
    return tuple(
        replace(image, fingerprint="") if image.name in links and image.fingerprint in real else image for image in images
    )


def needed_by(images: Sequence[Lineage]) -> dict[str, frozenset[str]]:
    """For each image the names of those that need it themselves, or could."""
    needing: dict[str, set[str]] = {image.name: set() for image in images}
    for image in images:
        for name in could_need(image, images):
            needing[name].add(image.name)
    return {name: frozenset(names) for name, names in needing.items()}


def with_needed(kept: Iterable[str], images: Sequence[Lineage]) -> frozenset[str]:
    """The names ``kept`` and of all that those need, and what these need in turn."""
    by_name = {image.name: image for image in images}
    stays: set[str] = set()
    waiting = [name for name in kept if name in by_name]
    while waiting:
        name = waiting.pop()
        if name not in stays:
            stays.add(name)
            waiting += could_need(by_name[name], images)
    return frozenset(stays)


def dependents_first(names: Iterable[str], images: Sequence[Lineage]) -> tuple[str, ...]:
    """The names in an order in which none comes after one that it needs: removed so, what is left is whole at every moment."""
    depth = {name: len(with_needed([name], images)) for name in names}
    return tuple(sorted(depth, key=lambda name: (-depth[name], name)))
