"""The images of a folder as they depend on each other: by disk, the newest chain first, each below what it was made upon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from rescue.cli.text import table
from rescue.model.disk import Disk
from rescue.model.survey import ImageSummary
from rescue.planning.parent import disk_key
from rescue.planning.verify import when
from rescue.planning.words import disk_words, plain
from rescue.units import human_size

_KINDS: Final = {"full": "full", "incremental": "incr", "differential": "diff"}
_STATES: Final = {4: "damaged", 5: "locked"}  # by the exit code of an image's problem
_DEEPEST: Final = 6  # what is made upon what, drawn; a chain does not go deeper, only its branches do


class Placed(NamedTuple):
    """An image in its tree; ``depth`` 0: it was made upon none that is here."""

    image: ImageSummary
    depth: int


class Group(NamedTuple):
    """The images of one disk; None: it is not known which."""

    disk: Disk | None
    images: tuple[Placed, ...]


def needed_by(images: Sequence[ImageSummary]) -> dict[str, tuple[str, ...]]:
    """For the path of each image the names of those that have data in it, as far as that is known, newest first."""
    needing: dict[tuple[str, str], list[str]] = {}
    for image in images:
        for link in image.chain:
            needing.setdefault((link.uuid, link.fingerprint), []).append(image.name)
    return {image.path: tuple(needing.get((image.uuid, image.fingerprint), ())) for image in images}


def groups(images: Sequence[ImageSummary]) -> list[Group]:
    """Images, newest first, by disk and as trees; those of which the disk is not known come last."""
    by_disk: dict[object, list[ImageSummary]] = {}
    for image in images:
        key = disk_key(image.disk, image.layout) if image.disk and image.layout else None
        by_disk.setdefault(key, []).append(image)
    unknown = by_disk.pop(None, [])
    found = [Group(members[0].disk, tuple(_trees(members))) for members in by_disk.values()]
    return [*found, Group(None, tuple(_trees(unknown)))] if unknown else found


def _trees(images: Sequence[ImageSummary]) -> list[Placed]:
    """All of ``images``, newest tree first, each image below its parent."""
    by_uuid: dict[str, ImageSummary] = {}
    for image in images:
        if image.uuid:
            by_uuid.setdefault(image.uuid, image)
    children: dict[str, list[ImageSummary]] = {}
    placed: list[Placed] = []
    seen: set[str] = set()
    roots: dict[str, ImageSummary] = {}
    for image in images:  # newest first: so is the tree of the newest image
        root = _root(image, by_uuid)
        roots.setdefault(root.path, root)
        parent = by_uuid.get(image.parent) if image.parent else None
        if parent is not None and image is not root:
            children.setdefault(parent.path, []).insert(0, image)
    for root in roots.values():
        waiting = [Placed(root, 0)]
        while waiting:
            image, depth = waiting.pop()
            if image.path in seen:
                continue
            seen.add(image.path)
            placed.append(Placed(image, depth))
            below = children.get(image.path, [])
            # A chain goes straight down; only where it branches, and below a full image, it goes in.
            inner = depth + 1 if depth == 0 or len(below) > 1 else depth
            waiting += [Placed(child, min(inner, _DEEPEST)) for child in reversed(below)]
    return placed


def _root(image: ImageSummary, by_uuid: dict[str, ImageSummary]) -> ImageSummary:
    seen = {image.uuid}
    while image.parent and image.parent not in seen and image.parent in by_uuid:
        image = by_uuid[image.parent]
        seen.add(image.uuid)
    return image


def health_word(image: ImageSummary) -> str:
    """One word: what was proved of an image, or why it cannot be used."""
    if image.problem:
        return _STATES.get(image.problem_exit_code, "unusable")
    if image.health in ("", "never checked"):
        return "unchecked"
    return plain(image.health.split(" ")[0])


def list_text(images: Sequence[ImageSummary]) -> list[str]:
    """Each disk, and below it its images; a comment, and what is wrong, is said below the image."""
    lines: list[str] = []
    for group in groups(images):
        lines += ["", disk_words(group.disk) if group.disk else "Images whose disk is not known"]
        rows = [("MADE (UTC)", "KIND", "SIZE", "HEALTH")]
        for image, _ in group.images:
            made = when(image.created).removesuffix(" UTC") if image.created else "-"
            kind = _KINDS.get(image.kind, "-") if image.disk or image.locked else "-"
            rows.append((made, kind, human_size(image.stored_size), health_word(image)))
        drawn = table(rows, right=(2,))
        width = max(len(line) for line in drawn) + 2
        lines.append(f"{drawn[0]:{width}}NAME")
        for line, (image, depth) in zip(drawn[1:], group.images, strict=True):
            # Names are never cut: they are what other commands want.
            lines.append(f"{line:{width}}{'  ' * (depth - 1) + '└ ' if depth else ''}{plain(image.name)}")
            lines += [f"    {text}" for text in (plain(image.comment), image.problem) if text]
    return lines[1:]
