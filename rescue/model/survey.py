"""What was found: a disk with its layout, its volumes and its protections; a place for images; an image in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from rescue.model.damage import VolumeDamage
from rescue.model.disk import Disk, Fingerprint, Protection
from rescue.model.layout import Layout
from rescue.model.volume import Volume

FAILED: Final = "FAILED"
_PUT_TOGETHER: Final = 1 << 16  # no chain is as long


class DiskSurvey(msgspec.Struct, frozen=True):
    """One disk, read and understood; nothing was changed. ``volumes`` are sorted by start."""

    disk: Disk
    layout: Layout
    volumes: tuple[Volume, ...]
    fingerprint: Fingerprint
    protections: tuple[Protection, ...] = ()  # empty: may be written to
    is_rescue_medium: bool = False  # the running system comes from it
    unreadable: str = ""  # why the disk could not be read, as a sentence; the other fields are then empty
    moving: int = 0  # the partition whose move was interrupted, which is half at its old place; 0: none

    @property
    def used_bytes(self) -> int:
        """Bytes that an image would keep, as far as the volumes tell."""
        return sum(v.used_bytes for v in self.volumes)

    @property
    def notices(self) -> tuple[str, ...]:
        """What people must know of the disk, as sentences."""
        if not self.moving:
            return self.layout.problems
        moving = (
            f"The move of partition {self.moving} was interrupted: what it holds is at two places. Complete it: {self.completion}"
        )
        return (*self.layout.problems, moving)

    @property
    def completion(self) -> str:
        """The command that completes an interrupted move."""
        return f"rescue partition {self.disk.path} --continue"


class Place(msgspec.Struct, frozen=True):
    """A local file system that may hold images. ``folder`` is set when it is mounted already."""

    device: str  # "/dev/sdb1"
    label: str
    filesystem: str
    size: int
    disk: Disk
    folder: str = ""
    point: str = ""  # where it is mounted when it is opened, if it is not mounted already

    @property
    def title(self) -> str:
        """How it is named to people."""
        return f"{self.label or self.device} on {self.disk.title}"


class BegunImage(msgspec.Struct, frozen=True):
    """An unfinished image: ``stored`` bytes of its file are whole, and hold the first ``done`` bytes of the disk.

    ``parent`` is the fingerprint of the image that it is made upon (zeros for a full one).
    """

    name: str
    kind: str
    encrypted: bool
    parent: str
    stored: int
    done: int


class ChainLink(msgspec.Struct, frozen=True):
    """Another image that an image needs: ``data_bytes`` of the disk are in it. ``name`` is what its file was called."""

    uuid: str
    fingerprint: str
    name: str
    data_bytes: int


class ImageSummary(msgspec.Struct, frozen=True):
    """An image file as its header, manifest and trailer tell. ``problem`` is set, and most else empty, when it cannot be used."""

    path: str
    name: str
    stored_size: int
    uuid: str = ""
    kind: str = "full"
    created: str = ""  # ISO 8601, UTC; of one that was gone on with: when that was
    comment: str = ""
    host: str = ""
    disk: Disk | None = None
    layout: Layout | None = None
    volumes: tuple[Volume, ...] = ()
    used_bytes: int = 0
    fingerprint: str = ""  # BLAKE3 (hex) of the manifest
    health: str = ""  # what was proved of it so far: "proved 2026-11-22", "verified …" (its hashes), "never checked", "FAILED"
    encrypted: bool = False
    locked: bool = False  # encrypted, and not opened: only what the header says is known
    clear: tuple[int, ...] = ()  # partitions whose LUKS volumes are in clear inside of it
    bad_bytes: int = 0  # that the source could not give
    damage: tuple[VolumeDamage, ...] = ()  # what those cost, where that is known
    own_bytes: int = 0  # of the disk's data, those in this file
    chain: tuple[ChainLink, ...] = ()  # the other images that it needs
    parent: str = ""  # UUID of the image that it was made upon
    made_from: str = ""  # UUID of the image that it was put together from, with the chain of that
    problem: str = ""
    problem_exit_code: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether its last check found it bad."""
        return self.health == FAILED

    @property
    def rank(self) -> int:
        """Of images of one date the newer has more: it needs the other, or was put together from it."""
        return _PUT_TOGETHER if self.made_from else len(self.chain)

    @property
    def order(self) -> tuple[str, int, str]:
        """Older ones first."""
        return self.created, self.rank, self.name


def dates(images: Iterable[ImageSummary]) -> Mapping[str, str]:
    """When images were made, by UUID (ISO 8601, UTC): none is older than what it is made of, whatever the clock was then."""
    found = {image.uuid: image for image in images}
    return {
        uuid: max([image.created, *(found[link.uuid].created for link in image.chain if link.uuid in found)])
        for uuid, image in found.items()
    }
