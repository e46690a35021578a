"""The file systems of a disk or of an image, opened to look inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from rescue.engine.beside import Together, volumes_beside
from rescue.engine.inner import Inner, inner_volume, inner_volumes
from rescue.engine.mounted_files import MOUNTED, mounted_files
from rescue.engine.salvaged_image import open_salvaged
from rescue.errors import RescueError, UsageError
from rescue.filesystems.files.open import open_tree
from rescue.filesystems.files.tree import FileTree
from rescue.images.chain import open_chain
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.view import ImageView
from rescue.model.source import SliceSource, Source
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Volume
from rescue.system.blockfile import FileSource
from rescue.volumes.stack import CONTAINERS

# Each of our images begins with a frame that zstd skips (RFC 8878, 3.1.2): 0x184D2A50 to 5F.
_SKIPPABLE: Final = b"\x2a\x4d\x18"


class Opened(msgspec.Struct, frozen=True):
    """A disk or an image that can be read. ``name`` is what a person calls it."""

    name: str
    source: Source
    volumes: tuple[Volume, ...]
    defects: tuple[str, ...] = ()  # sentences: what is damaged of an image but for its data
    keys: Mapping[str, bytes] = msgspec.field(default_factory=dict)  # of encrypted volumes, by UUID

    def volume(self, partition: int) -> Volume:
        """The volume on a partition; 0 is a file system on the whole disk. Raises UsageError."""
        for volume in self.volumes:
            if volume.partition == partition:
                return volume
        known = ", ".join(str(volume.partition) for volume in self.volumes)
        raise UsageError(
            f"{self.name} has no partition {partition}.", f"It has {known}." if known else "It has no partitions at all."
        )

    @property
    def containers(self) -> tuple[Volume, ...]:
        """The volumes that hold other volumes."""
        return tuple(volume for volume in self.volumes if volume.identity.type in CONTAINERS)

    def inner(self, partition: int) -> list[Inner]:
        """The volumes in a container. Raises ProgramError."""
        return inner_volumes(self.source, self.containers, partition, self.keys)

    def tree(self, partition: int, inside: str = "") -> AbstractContextManager[FileTree]:
        """The files on a partition, or of the volume ``inside`` of it. Raises as :meth:`volume` and :func:`volume_files`;

        CredentialError when it is locked.
        """
        volume = self.volume(partition)
        if inside or volume.identity.type in CONTAINERS:
            _, source, volume = inner_volume(self.source, self.containers, partition, inside, self.keys)
            return volume_files(source, volume)
        return volume_files(self.source, volume)


@contextmanager
def volume_files(source: Source, volume: Volume) -> Iterator[FileTree]:
    """The files of a volume of the disk ``source``; those of btrfs and f2fs by mounting it, which needs root.

    Raises UnsupportedError, FormatError, SourceReadError; DamagedError, ProgramError when it cannot be mounted.
    """
    if volume.identity.type in MOUNTED:
        with mounted_files(source, volume) as tree:
            yield tree
        return
    yield open_tree(SliceSource(source, volume.start, volume.end), volume.identity)


def is_image(path: Path) -> bool:
    """Whether a file begins as our images do. A disk does not: its first bytes are boot code or zeros."""
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(4)[1:] == _SKIPPABLE
    except OSError:
        return False


@contextmanager
def open_disk_files(survey: DiskSurvey, secrets: Secrets = NO_SECRETS) -> Iterator[Opened]:
    """A disk as it is now, opened read-only. Raises RescueError."""
    if survey.unreadable:
        raise RescueError(f"{survey.disk.path} cannot be read. {survey.unreadable}")
    with volumes_beside(survey.disk.beside) as beside, FileSource(survey.disk.path) as source:
        yield Opened(survey.disk.path, Together(source, beside), survey.volumes, keys=secrets.volume_keys)


@contextmanager
def open_image_files(path: Path, secrets: Secrets = NO_SECRETS, *, salvage: bool = False) -> Iterator[Opened]:
    """The disk in an image; with ``salvage`` also when files of its chain are missing, or its end or its index is damaged.

    What is lost cannot be read then. Raises as :func:`~rescue.images.chain.open_chain`.
    """
    with open_salvaged(path, secrets) if salvage else open_chain(path, secrets) as chain:
        yield Opened(str(path), ImageView(chain), chain.summary().volumes, chain.defects, chain.volume_keys(secrets.volume_keys))
