"""The images of a place as a timeline: by computer and disk, newest first, with what depends on what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.tui.describe import disk_name
from rescue.units import human_size

LOCKED_TITLE = "Encrypted: whose they are is known when they are opened"


class Group(msgspec.Struct, frozen=True):
    """The images of one disk of one computer, newest first."""

    title: str
    images: tuple[ImageSummary, ...]


class Timeline(msgspec.Struct, frozen=True):
    """The groups, that with the newest image first; what is damaged or foreign, and so of no disk, apart."""

    groups: tuple[Group, ...]
    others: tuple[ImageSummary, ...]

    @staticmethod
    def of(images: Iterable[ImageSummary]) -> Timeline:
        """Sort what a place holds."""
        groups: dict[tuple[str, ...], list[ImageSummary]] = {}
        others = []
        for image in sorted(images, key=lambda image: image.order, reverse=True):
            if image.locked:
                groups.setdefault((), []).append(image)
            elif image.disk is None:
                others.append(image)
            else:
                groups.setdefault(_whose(image), []).append(image)
        return Timeline(tuple(Group(_title(found[0]), tuple(found)) for found in groups.values()), tuple(others))

    @property
    def images(self) -> list[ImageSummary]:
        """All of them, in their order."""
        return [image for group in self.groups for image in group.images] + list(self.others)


def _whose(image: ImageSummary) -> tuple[str, ...]:
    disk = image.disk
    if disk is None:
        return ()
    who = disk.serial.strip() or disk.path.rsplit("/", 1)[-1]
    return (image.host, disk.model, who, str(disk.size))


def _title(image: ImageSummary) -> str:
    disk = image.disk
    if disk is None:
        return LOCKED_TITLE
    name = plain(disk.path.rsplit("/", 1)[-1]) if disk.is_file else disk_name(disk)
    serial = f", serial {plain(disk.serial)}" if disk.serial.strip() else ""
    host = f"{plain(image.host)} – " if image.host else ""
    return f"{host}{name}, {human_size(disk.size)}{serial}"


class Dependence(msgspec.Struct, frozen=True):
    """What an image needs, nearest first, and how many need it. Images that are not here are named by their links."""

    needs: tuple[ImageSummary, ...]
    missing: tuple[str, ...]
    needed_by: tuple[ImageSummary, ...]


def dependences(images: Sequence[ImageSummary]) -> dict[str, Dependence]:
    """What depends on what, by path. One pass over the links, so that hundreds of images are no work."""
    by_uuid = {image.uuid: image for image in images if image.uuid}
    dependents: dict[str, list[ImageSummary]] = {}
    for image in images:
        for link in image.chain:
            dependents.setdefault(link.uuid, []).append(image)
    found = {}
    for image in images:
        here = [by_uuid[link.uuid] for link in image.chain if link.uuid in by_uuid]
        found[image.path] = Dependence(
            tuple(sorted(here, key=lambda needed: needed.created, reverse=True)),
            tuple(plain(link.name) for link in image.chain if link.uuid not in by_uuid),
            tuple(dependents.get(image.uuid, ())),
        )
    return found


class Health(msgspec.Struct, frozen=True):
    """How an image is, for a column (``short``) and as a sentence. ``mark`` says it without colour: ✓ – ⚠ ✗ ▪."""

    mark: str
    short: str
    sentence: str

    @property
    def bad(self) -> bool:
        """Whether it needs attention."""
        return self.mark in "✗⚠"


def health_of(image: ImageSummary) -> Health:
    """In words, the most important first."""
    if image.locked:
        return Health("▪", "locked", "Encrypted. Choose it to give its passphrase, key file or recovery key.")
    if image.problem and image.disk is not None:
        return Health("✗", "chain incomplete", plain(image.problem))
    if image.problem:
        return Health("✗", "cannot be used", plain(image.problem))
    if image.has_failed:
        return Health("✗", "FAILED", "its last check found damage. Use another image if you can.")
    if image.bad_bytes:
        words = f"{human_size(image.bad_bytes)} of the disk could not be read when this image was made."
        return Health("⚠", image.health or "not complete", words)
    if image.health.startswith("proved"):
        return Health("✓", plain(image.health), "every hash right, file systems checked and opened.")
    if image.health.startswith("verified"):
        return Health("✓", plain(image.health), "every hash right; file systems not opened.")
    return Health("–", "never checked", "its head, index and end agree; nobody has read all of it.")


def names(images: Sequence[ImageSummary], most: int = 2) -> str:
    """A few by name, the others counted."""
    shown = ", ".join(plain(image.name) for image in images[:most])
    return shown + (f" and {len(images) - most} more" if len(images) > most else "")


def chain_words(image: ImageSummary, dependence: Dependence) -> str:
    """What it needs and what needs it, in a sentence or two."""
    if dependence.missing:
        needs = f"It needs {', '.join(dependence.missing)}, not found here."
    elif dependence.needs:
        needs = f"It needs {names(dependence.needs)}."
    else:
        needs = "It needs no other image." if image.uuid and not image.locked else ""
    if dependence.needed_by:
        count = len(dependence.needed_by)
        needs += f" {count} newer {'image needs' if count == 1 else 'images need'} it."
    return needs.strip()


def size_words(image: ImageSummary) -> str:
    """How much data, and how much of it is in this file."""
    stored = human_size(image.stored_size)
    if image.locked or image.disk is None:
        return f"{stored} stored"
    if image.chain:
        return f"{human_size(image.used_bytes)} of data, {human_size(image.own_bytes)} of it in this file ({stored} stored)"
    return f"{human_size(image.used_bytes)} of data in {stored}"
