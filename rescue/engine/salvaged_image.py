"""An image that is damaged, opened with what can be had of it; where its description is lost, the data themselves tell."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from rescue.devices.gpt import relocate_from
from rescue.devices.table import read_layout, tables_for
from rescue.errors import DamagedError, RescueError, SourceReadError
from rescue.filesystems.identify import identify
from rescue.images.chain import Chain
from rescue.images.manifest import RawTable
from rescue.images.mended import MendedReader
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.view import ImageView
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.source import Source, check_range
from rescue.model.volume import Identity, Volume
from rescue.records import replace
from rescue.units import KIB, MIB

# What libblkid looks at of a volume stands in its first and last bytes.
_HEAD: Final = 2 * MIB
_TAIL: Final = 256 * KIB


class _Forgiving:
    """The disk in an image as a Source that gives zeros for what is lost or damaged."""

    def __init__(self, view: ImageView) -> None:
        self._view = view
        self.size = view.size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        try:
            return self._view.pread(length, offset)
        except (DamagedError, SourceReadError):
            return bytes(length)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)


def open_salvaged(path: str | Path, secrets: Secrets = NO_SECRETS) -> Chain:
    """Open an image of which files are missing, or whose end or index is damaged or cut off; ``defects`` say what is.

    Partitions and file systems of one whose manifest is lost are looked for in its data. Reads all of its index. Raises as
    Chain what cannot be helped.
    """
    chain = Chain(path, secrets, salvage=True)
    try:
        if isinstance(chain.image, MendedReader) and not chain.image.described:
            _describe(chain, chain.image)
    except BaseException:
        chain.close()
        raise
    return chain


def _describe(chain: Chain, image: MendedReader) -> None:
    disk = _Forgiving(ImageView(chain, bad_as_zeros=True))
    sector = image.header.logical_sector_size
    try:
        layout = read_layout(disk, sector)
    except RescueError:
        layout = Layout(disk.size, sector, "none")
    places = [(p.number, p.start, p.end) for p in layout.data_partitions] or [(0, 0, disk.size)]
    volumes = tuple(Volume(number, start, end, _identity(disk, start, end), 0) for number, start, end in places)
    if not layout.data_partitions:
        volumes = tuple(volume for volume in volumes if volume.identity.type)
    image.manifest = replace(
        image.manifest, layout=layout, volumes=volumes, tables=tuple(RawTable(*table) for table in _tables(disk, layout))
    )
    image.defects.append(
        f"Its partitions ({len(layout.data_partitions)}) were found in its data." if layout.data_partitions
        else "No partitions were found in its data."
    )  # fmt: skip


def _tables(disk: Source, layout: Layout) -> list[tuple[int, bytes]]:
    """The bytes of the partition tables; the copy of a GPT that is lost is made anew from the other one."""
    try:
        if layout.label == "gpt":
            return relocate_from(disk, layout.sector_size, layout.size)
        return tables_for(disk, layout, layout.size)
    except RescueError:
        return []


def _identity(disk: Source, start: int, end: int) -> Identity:
    """What is on a volume: libblkid is shown a sparse file with the bytes that it looks at."""
    size = end - start
    with tempfile.NamedTemporaryFile(prefix="rescue-") as file:
        file.truncate(size)
        for low, high in ExtentMap([(0, min(_HEAD, size)), (max(size - _TAIL, 0), size)]):
            file.seek(low)
            file.write(disk.pread(high - low, start + low))
        file.flush()
        return identify(file.name, 0, size)
