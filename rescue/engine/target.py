"""What keeps a half-written target from looking like a whole disk: everything old is wiped first, the tables come last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from rescue.devices.table import read_layout
from rescue.errors import DamagedError
from rescue.images.frames import place
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.source import Source
from rescue.system.blockfile import FileSink
from rescue.units import MIB

SYNC_EVERY: Final = (
    512 * MIB
)  # so that what is told as done is on its way to the medium, and a slow one does not surprise at the end
_BORDER: Final = 1 * MIB  # where file systems, RAID and LVM keep their signatures, at either end of a partition
_FIRST_SECTORS: Final = 4096


def wipe(sink: FileSink, layouts: Iterable[Layout]) -> None:
    """Zero the first and last MiB of the target and of every partition in ``layouts``. Raises TargetWriteError."""
    size = sink.size
    ends = [(0, min(_BORDER, size)), (max(size - _BORDER, 0), size)]
    for layout in layouts:
        for part in layout.data_partitions:
            end = min(part.end, size)
            ends += [(part.start, min(part.start + _BORDER, end)), (max(end - _BORDER, part.start), end)]
    for low, high in ExtentMap(ends):
        sink.zero(low, high)
    sink.flush()
    sink.reread_table()


def write_late(sink: FileSink, late: Sequence[tuple[int, bytes]]) -> None:
    """Write ``(offset, data)``: first what is not in the first sectors, then those, the very first last; each flushed.

    Raises TargetWriteError.
    """
    for offset, data in late:
        if offset >= _FIRST_SECTORS:
            sink.pwrite(data, offset)
    sink.flush()
    for offset, data in late:
        if _FIRST_SECTORS > offset > 0 or (not offset and len(data) > _FIRST_SECTORS):
            skipped = 0 if offset else _FIRST_SECTORS
            sink.pwrite(data[skipped:], offset + skipped)
    sink.flush()
    for offset, data in late:
        if not offset:
            sink.pwrite(data[:_FIRST_SECTORS], 0)
    sink.flush()
    sink.reread_table()


def prove_layout(target: Source, path: str, layout: Layout) -> None:
    """Raise DamagedError unless the target's partition table reads as that of ``layout``."""
    if layout.label == "none":
        return  # what is there was compared byte by byte, and may read as a table on a disk of another size
    found = read_layout(target, layout.sector_size)
    if found.partitions != layout.partitions or found.id != layout.id:
        raise DamagedError(
            f"{path} was written, but its partition table does not read back as it should.", "Do not use the disk."
        )


def prove_late(target: Source, path: str, late: Sequence[tuple[int, bytes]], layout: Layout) -> int:
    """The bytes of what :func:`write_late` wrote, read and compared. Raises DamagedError, SourceReadError."""
    for offset, data in late:
        if target.pread(len(data), offset) != data:
            wrong(path, layout, offset)
    prove_layout(target, path, layout)
    return sum(len(data) for _, data in late)


def wrong(path: str, layout: Layout, offset: int) -> NoReturn:
    """Raise the DamagedError for a byte that does not read back as it was written."""
    raise DamagedError(
        f"{path} does not give back what was written to it: {place(layout, offset)}.",
        "The disk, its cable or this computer's memory is faulty. Do not use the disk.",
    )
