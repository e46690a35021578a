"""Other disks that hold parts of what is on the one that is looked at: arrays, volume groups and file systems over several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, TypeAlias

from rescue.devices.open import resolve
from rescue.devices.table import read_layout
from rescue.devices.usage import mounts_of
from rescue.errors import RescueError
from rescue.filesystems.identify import identify
from rescue.model.disk import Disk
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.volumes.elsewhere import Elsewhere
from rescue.volumes.placed import Placed
from rescue.volumes.stack import CONTAINERS

Places: TypeAlias = Sequence[tuple[Identity, Placed]]

_SPREAD: Final = CONTAINERS | {"btrfs"}


class Together:
    """A disk, and what may hold the rest of what is on it."""

    def __init__(self, disk: Source, beside: Places) -> None:
        self._disk = disk
        self.beside = beside

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self._disk.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        return self._disk.pread(length, offset)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        self._disk.pread_into(buffer, offset)


@contextmanager
def volumes_beside(paths: Sequence[str]) -> Iterator[Places]:
    """What on other disks, opened read-only as long as the context lasts, may be a part of something. Raises RescueError."""
    found: list[tuple[Identity, Placed]] = []
    with ExitStack() as stack:
        for path in paths:
            disk = resolve(path)
            source = stack.enter_context(FileSource(disk.path))
            if not disk.is_file:
                source.drop_cache()
            found += _spread_on(disk, source)
        yield found


def _spread_on(disk: Disk, source: FileSource) -> Iterator[tuple[Identity, Placed]]:
    mounts = mounts_of(disk)
    partitions = read_layout(source, disk.logical_sector_size).data_partitions
    for start, end in [(p.start, p.end) for p in partitions] or [(0, source.size)]:
        if any(mounted.start < end and start < mounted.end for mounted in mounts):
            continue  # what is on it may change while it is read
        identity = identify(disk.path, start, end - start)
        if identity.type in _SPREAD:
            yield identity, Elsewhere(SliceSource(source, start, end))


def disks_of_use(paths: Sequence[str]) -> tuple[str, ...]:
    """Those of several disks that hold anything which may be spread over disks. What cannot be read is left out."""
    found = []
    for path in paths:
        try:
            with volumes_beside([path]) as places:
                if places:
                    found.append(path)
        except RescueError:
            continue
    return tuple(found)
