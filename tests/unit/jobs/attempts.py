"""Backups of small disks that are interrupted and gone on with, in segments of 2 MiB."""

from __future__ import annotations

import datetime
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pytest

from rescue.engine.capture import Capture
from rescue.engine.making import Making
from rescue.engine.verify import verify_image
from rescue.images import keyslots, writer
from rescue.images.chain import Chain
from rescue.images.format import Kind, Row
from rescue.images.keyslots import Cost
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.jobs.destination import StoreDestination
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken, Message
from rescue.model.source import BytesSource
from rescue.records import replace
from rescue.stores.folder import FolderStore
from rescue.units import KIB, MIB
from tests.unit.images.disks import CREATED, SmallDisk, small_disk

NAME: Final = "x.img.zst"
SEGMENT: Final = 2 * MIB
CHEAP: Final = Cost(memory=8 * MIB, iterations=1, lanes=1)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of 2 MiB instead of 1 GiB, frames of 1 MiB, and passphrases that cost little."""
    monkeypatch.setattr(writer, "_SEGMENT_SPAN", SEGMENT)
    monkeypatch.setattr("rescue.engine.capture.FRAME_SIZE", MIB)
    monkeypatch.setattr("rescue.engine.regions.FRAME_SIZE", MIB)
    monkeypatch.setattr(keyslots.KeyArea.new, "__defaults__", (CHEAP, *(keyslots.KeyArea.new.__defaults__ or ())[1:]))


class CutError(BaseException):
    """The power is gone."""


class Cut(StoreDestination):
    """Stops taking data after so many bytes, and cleans nothing up."""

    def __init__(self, store: FolderStore, name: str, split: int, after: int) -> None:
        super().__init__(store, name, split)
        self._after = after

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """See Destination."""
        left = self._after - self.tell()
        super().write(memoryview(data)[: max(left, 0)])
        if len(data) > left:
            raise CutError


class Run(NamedTuple):
    """What a backup told, and the UUID of the image."""

    messages: list[str]
    uuid: str


class Attempt(msgspec.Struct, frozen=True):
    """How a backup is made. The same again is the same command again."""

    folder: Path
    disk: SmallDisk
    secrets: Secrets = NO_SECRETS
    split: int = 0
    kind: Kind = Kind.FULL
    parent: Path | None = None
    name: str = NAME
    comment: str = ""
    host: str = ""
    created: datetime.datetime = CREATED

    @property
    def partial(self) -> Path:
        """What an interrupted one leaves; of one in parts, the first."""
        return self.folder / f"{self.name}.partial"

    @property
    def image(self) -> Path:
        """What comes of it."""
        return self.folder / self.name

    @property
    def making(self) -> Making:
        """What is asked for."""
        parent = str(self.parent or "")
        return Making(self.kind, parent, encrypt=bool(self.secrets), level=3, comment=self.comment, host=self.host)

    def of(self, disk: SmallDisk) -> Attempt:
        """The same command when the disk has changed."""
        return replace(self, disk=disk)

    def run(self, output: StoreDestination | None = None) -> Run:
        """Make it, or go on with it."""
        messages: list[str] = []
        ended: list[tuple[int, int]] = []
        making = self.making
        description = Disk("disk", len(self.disk.content), is_file=True)

        def notify(message: Message) -> None:
            messages.append(message.text)

        with (
            output or StoreDestination(FolderStore(self.folder), self.name, self.split) as output,
            Chain(self.parent, self.secrets) if self.parent else nullcontext() as chain,
        ):
            capture = Capture(BytesSource(self.disk.content), description, self.disk.layout, self.disk.volumes, making, chain)
            result = capture.run(
                output, self.secrets, self.created, CancelToken(), lambda done, total: ended.append((done, total)), notify
            )
            output.commit()
        assert all(0 <= done <= total for done, total in ended)
        assert ended[-1][0] == ended[-1][1]
        return Run(messages, result.uuid)

    def interrupted(self, after: int) -> None:
        """Begin it, and cut it off after so many bytes of its file, as a power cut does: nothing is cleaned up."""
        output = Cut(FolderStore(self.folder), self.name, self.split, after)
        # Not left as a context: only its lock goes, with the writer.
        making = self.making
        description = Disk("disk", len(self.disk.content), is_file=True)
        with Chain(self.parent, self.secrets) if self.parent else nullcontext() as chain:
            capture = Capture(BytesSource(self.disk.content), description, self.disk.layout, self.disk.volumes, making, chain)
            with pytest.raises(CutError):
                capture.run(output, self.secrets, self.created, CancelToken(), lambda done, total: None, lambda message: None)
        assert output._writer is not None
        output._writer.abort(keep=True)


class Content(NamedTuple):
    """All of an image that its making anew must give again: what the disk holds and how it is stored."""

    rows: list[Row]
    hashes: list[bytes]
    statistics: object
    layout: object
    tables: object


def content_of(image: Path, secrets: Secrets = NO_SECRETS) -> Content:
    """Read by the index; the image is checked completely, as stock decoders see it too."""
    verify_image(str(image), secrets, token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None)
    with Chain(image, secrets) as chain:
        rows = list(chain.rows())
        manifest = chain.manifest
        # How long the index is depends on the hashes, and in an encrypted image these on its key.
        encrypted = bool(chain.header.encryption)
        return Content(
            [row._replace(hash=b"", **({"frame_offset": 0} if encrypted else {})) for row in rows],
            [] if encrypted else [row.hash for row in rows],
            manifest.statistics,
            manifest.layout,
            manifest.tables,
        )


def dense_disk(seed: int, size: int = 12 * MIB) -> SmallDisk:
    """A small disk with noise, zeros and holes of many sizes in every segment, so that its image is large."""
    disk = small_disk(seed, size)
    content = bytearray(disk.content)
    chance = random.Random(seed)
    volumes = []
    for volume, extents in disk.volumes:
        parts = []
        for number, start in enumerate(range(volume.start, volume.end - MIB + 1, MIB)):
            end = start + (900 - (64 << number % 4)) * KIB
            content[start:end] = chance.randbytes(end - start)
            content[start + 100 * KIB : start + 500 * KIB : 2] = bytes(200 * KIB)
            parts.append((start, end + 100 * KIB))
        kept = extents.union(ExtentMap(parts))
        volumes.append((replace(volume, used_bytes=kept.total), kept))
    return SmallDisk(bytes(content), disk.layout, tuple(volumes))


DISK = dense_disk(3)


def altered(disk: SmallDisk, offset: int) -> SmallDisk:
    """A disk with another byte."""
    content = bytearray(disk.content)
    content[offset] ^= 0x40
    return SmallDisk(bytes(content), disk.layout, disk.volumes)


def allocated_byte(disk: SmallDisk, start: int) -> int:
    """The first byte behind ``start`` that belongs to a file system."""
    return min(max(extent.start, start) for _, extents in disk.volumes for extent in extents if extent.end > start)
