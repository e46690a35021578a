"""The steps of cloning a disk."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rescue.devices.table import read_layout
from rescue.engine.survey import map_disk
from rescue.engine.transfer import Transfer
from rescue.engine.transfer_disk import late_of, layout_with, parts_of
from rescue.errors import RefusedError
from rescue.jobs.reporter import Reporter
from rescue.model.clone import CloneDisk
from rescue.model.extents import ExtentMap
from rescue.model.nested import whole_parts
from rescue.model.progress import CancelToken, Message
from rescue.model.text import shown
from rescue.model.volume import Volume
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.units import human_size

_Facts = dict[str, str | int | float | bool | list[str]]


class Cloning:
    """Both disks of a clone, open from its first step to its last. A context manager; call in order.

    Opening reads what is on the source. It raises RefusedError when that is not what was planned for, or the target is in use;
    SourceReadError. Nothing has been written then. ``keys`` open encrypted volumes, so that only what they use is copied.
    """

    def __init__(self, step: CloneDisk, keys: Mapping[str, bytes]) -> None:
        self._step = step
        self._keys = keys
        self._source = FileSource(step.source.path, direct=True, cached=True)
        try:
            self._volumes, self._transfer = self._open()
        except BaseException:
            self._source.close()
            raise

    def _open(self) -> tuple[list[tuple[Volume, ExtentMap]], Transfer]:
        disk, source = self._step.source, self._source
        if not disk.is_file:
            # What was written through a partition's node is not in the whole disk's cache: stale pages would be copied.
            source.drop_cache()
        disk = replace(disk, size=source.size)
        layout = read_layout(source, disk.logical_sector_size)
        volumes = map_disk(disk, source, layout, self._keys)
        _check_places(self._step, [volume for volume, _ in volumes])
        with FileSource(self._step.target) as target:
            size = target.size
        late = late_of(source, layout, volumes, size)
        starts = {placed.partition: placed.target_start for placed in self._step.volumes}
        transfer = Transfer(
            self._step.target,
            parts_of(source, layout, volumes, starts),
            late,
            layout_with(late, size, disk.logical_sector_size),
            title=disk.title,
            rotational=disk.rotational,
        )
        return volumes, transfer

    def wipe(self) -> None:
        """See Transfer.wipe."""
        self._transfer.wipe()

    def copy(self, token: CancelToken, reporter: Reporter) -> _Facts:
        """See Transfer.copy."""
        for volume, _ in self._volumes:
            for part in whole_parts(volume):
                name = f"Partition {volume.partition}" if volume.partition else "The file system"
                named = shown(", ".join((name, *part.way)))
                reporter.message(Message("warning", f"{named} is copied whole ({human_size(part.size)}): {part.because}"))
        self._transfer.copy(token, reporter.progress, self._step.delta)
        return {
            "source": self._step.source.path,
            "target": self._step.target,
            "same_bytes": self._transfer.same_bytes,
            "written_bytes": self._transfer.written_bytes,
        }

    def write_table(self) -> None:
        """See Transfer.write_head."""
        self._transfer.write_head()

    def read_back(self, token: CancelToken, reporter: Reporter) -> _Facts:
        """See Transfer.read_back."""
        return {"read_back": True, "read_back_bytes": self._transfer.read_back(token, reporter.progress)}

    def close(self) -> None:
        """Close both."""
        self._transfer.close()
        self._source.close()

    def __enter__(self) -> Cloning:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _check_places(step: CloneDisk, volumes: list[Volume]) -> None:
    planned = [(placed.partition, placed.start, placed.end) for placed in step.volumes]
    if planned != [(volume.partition, volume.start, volume.end) for volume in volumes]:
        raise RefusedError(
            f"The partitions of {step.source.title} have changed since it was chosen. Nothing was written.",
            "Look at the disks again and choose anew.",
        )
