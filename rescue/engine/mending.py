"""Mending an image of a failing disk: what it lacks is asked of the disk once more, as hard as can be, and nothing else is.

What was won becomes an incremental image upon it. All else in that is only referred to: neither the disk nor the data of the
first image is read for it.
"""

from __future__ import annotations

import datetime
import mmap
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from rescue import __version__
from rescue.engine.capture import gather_new
from rescue.engine.effort import Effort
from rescue.engine.making import Destination, Making, new_start
from rescue.engine.regions import FRAME_SIZE
from rescue.engine.salvage import Salvage
from rescue.errors import RefusedError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.cipher import Cipher, Digest, digest_of
from rescue.images.format import Kind, Row, RowKind
from rescue.images.known import members_of
from rescue.images.manifest import RawTable, Statistics
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.segment import pack_row
from rescue.images.view import ImageView
from rescue.images.writer import Chunk, ImageWriter
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import Source
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.units import KIB

_ROWS: Final = 4096  # are handed to the writer at a time
_FIRST: Final = 128 * KIB  # of each volume: where file systems write when they are mounted


class Output(Destination, Protocol):
    """A destination that can be made complete."""

    def commit(self) -> None:
        """Make what was written complete. Raises TargetWriteError, RefusedError."""
        ...


class Mended(msgspec.Struct, frozen=True):
    """How it ended, in bytes. ``uuid`` and ``fingerprint`` are empty when nothing was won and no image was made.

    ``gone``: the disk stopped to answer meanwhile.
    """

    won: int
    missing: int
    uuid: str = ""
    fingerprint: str = ""
    gone: SourceReadError | None = None


def missing_of(chain: Chain) -> ExtentMap:
    """The bytes of the disk that an image does not know. Raises as Chain.rows."""
    return ExtentMap((row.start, row.end) for row in chain.rows() if row.kind == RowKind.BAD)


def mend_image(
    disk: Disk,
    image: str,
    folder: Path,
    opened: Callable[[], AbstractContextManager[Output]],
    *,
    making: Making,
    secrets: Secrets = NO_SECRETS,
    created: datetime.datetime,
    token: CancelToken,
    progress: Callable[[int, int], None],
    retries: int = 1,
    seconds: float | None = None,
) -> Mended:
    """Ask ``disk`` for all that ``image`` lacks, and write what it gives to ``opened()`` as an image upon that one.

    ``folder`` keeps what is known of the disk, and what was won until it is in an image. ``progress`` is told bytes that are
    decided. Raises RefusedError when the disk was changed since or the folder is of other images, CancelledError,
    TargetWriteError, and as Chain. A disk that does not answer any more is no error: what was won before is in the image.
    """
    with Chain(image, secrets) as chain:
        wanted = missing_of(chain)
        if not wanted:
            return Mended(0, 0)
        with FileSource(disk.path, direct=True) as source:
            if source.size != chain.header.disk_size:
                raise RefusedError(f"{disk.title} has another size than the disk in {image}.")
            who = replace(disk, size=source.size).who
            image_uuid, keys = chain.header.uuid_text, chain.image.keys
            with Salvage(source, folder, disk=who, image=image_uuid, keys=keys, sector_size=disk.physical_sector_size) as salvage:
                gone: SourceReadError | None = None
                missing = wanted
                refuse_changed(source, chain, disk)
                try:
                    outcome = salvage.rescue(
                        wanted, token=token, progress=progress, retries=retries, seconds=seconds
                    )  # fmt: skip
                    missing = outcome.missing
                except SourceReadError as error:
                    gone = error
                    missing = wanted.difference(salvage.held)
                won = wanted.difference(missing)
                if not won:
                    return Mended(0, missing.total, gone=gone)
                with opened() as output:
                    uuid, fingerprint = write_mended(chain, salvage, won, output, making, secrets, created, token)
                    output.commit()
                return Mended(won.total, missing.total, uuid, fingerprint, gone)


def refuse_changed(source: Source, chain: Chain, disk: Disk) -> None:
    """Raise RefusedError when a file system on the disk was written to since the image was made, as far as that can be read."""
    view = ImageView(chain)
    for volume in chain.manifest.volumes:
        length = min(_FIRST, volume.size)
        # What is not allocated is zeros in the image.
        for held in view.extents(volume.start, volume.start + length):
            if held.kind != RowKind.DATA:
                continue
            content = memoryview(mmap.mmap(-1, held.end - held.start))
            with suppress(SourceReadError):
                source.pread_into(content, held.start)
                if not _is_same(bytes(content), view.pread(held.end - held.start, held.start)):
                    what = f"partition {volume.partition}" if volume.partition else "its file system"
                    raise RefusedError(
                        f"{disk.title} was written to since {chain.image.name} was made: {what} begins with something else.",
                        "The two do not fit together any more. Make a new image with --kind full --salvage.",
                    )


def _is_same(found: bytes, expected: bytes) -> bool:
    """Whether all sectors are alike that are not empty in the image: those may be unallocated."""
    if found == expected:
        return True
    sectors = (slice(start, start + 512) for start in range(0, len(expected), 512))
    return all(found[sector] == expected[sector] or not any(expected[sector]) for sector in sectors)


def write_mended(
    chain: Chain,
    salvage: Salvage,
    won: ExtentMap,
    output: Destination,
    making: Making,
    secrets: Secrets,
    created: datetime.datetime,
    token: CancelToken,
) -> tuple[str, str]:
    """Write the incremental image upon ``chain`` that has ``won`` besides; its UUID and fingerprint."""
    old = chain.manifest
    members = members_of(chain)
    making = replace(making, kind=Kind.INCREMENTAL, parent=chain.path, encrypt=bool(chain.header.encryption))
    header = chain.header
    start = new_start(making, old.disk, header.chunk_size, header.frame_limit, created, chain, secrets)
    salvage.belongs_to(start.header.uuid_text)
    writer = ImageWriter(output, start.header, Cipher(start.header, start.keys), start.key_area)
    effort = Effort(making.level)
    size = min(FRAME_SIZE, chain.header.frame_limit)
    patch = _Patch(salvage, won, digest_of(start.keys), chain.header.chunk_size, size)
    kept: list[Chunk] = []
    for row in chain.rows():
        if row.kind != RowKind.BAD:
            kept.append(_kept(row))
            if len(kept) < _ROWS:
                continue
        writer.add(kept)
        kept = []
        if row.kind == RowKind.BAD:
            for chunks, new in patch.fill(row):
                token.check()
                writer.add(chunks, effort.compress(new) if new else b"")
    writer.add(kept)
    made = datetime.datetime.fromtimestamp(start.header.created, datetime.UTC)
    manifest = replace(
        old, tool=f"rescue {__version__}", uuid=start.header.uuid_text, kind=Kind.INCREMENTAL.word,
        created=made.strftime("%Y-%m-%dT%H:%M:%SZ"), comment=making.comment or old.comment, host=making.host,
        tables=tuple(RawTable(table.start, patch.over(table.start, table.data)) for table in old.tables),
        segments=(), statistics=Statistics(used_bytes=old.statistics.used_bytes),
        chain=members, parent=members[0].uuid, made_from="",
    )  # fmt: skip
    return start.header.uuid_text, writer.finish(manifest)


def _kept(row: Row) -> Chunk:
    """What the image below knows: its files are numbered one further here."""
    if row.kind == RowKind.DATA:
        return Chunk(RowKind.DATA, row.length, row.hash, pack_row(row._replace(file=row.file + 1)))
    return Chunk(RowKind(row.kind), row.length)


class _Patch:
    """Fills BAD rows with what was won."""

    def __init__(self, salvage: Salvage, won: ExtentMap, digest: Digest, chunk: int, frame: int) -> None:
        self._salvage = salvage
        self._won = won
        self._digest = digest
        self._chunk = chunk
        self._frame = frame
        self._buffer = memoryview(mmap.mmap(-1, frame))

    def fill(self, row: Row) -> Iterator[tuple[list[Chunk], memoryview | None]]:
        """The chunks that take the place of a row, a frame's worth at a time, and what a new frame for them holds, if any."""
        for start in range(row.start, row.end, self._frame):
            end = min(start + self._frame, row.end)
            chunks: list[Chunk] = []
            position = start
            for extent in self._won.overlapping(start, end):
                if position < extent.start:
                    chunks.append(Chunk(RowKind.BAD, extent.start - position))
                chunks += self._chunks(extent.start, extent.end, start)
                position = extent.end
            if position < end:
                chunks.append(Chunk(RowKind.BAD, end - position))
            length = gather_new(chunks, self._buffer)
            yield chunks, self._buffer[:length] if length else None

    def _chunks(self, start: int, end: int, base: int) -> Iterable[Chunk]:
        for low in range(start, end, self._chunk):
            high = min(low + self._chunk, end)
            content = self._buffer[low - base : high - base]
            self._read(low, high, content)
            digest = self._digest(content)
            is_zero = digest == self._digest(bytes(high - low))
            yield Chunk(RowKind.ZERO, high - low) if is_zero else Chunk(RowKind.DATA, high - low, digest)

    def _read(self, start: int, end: int, buffer: memoryview) -> None:
        for lost in self._salvage.read(start, end, buffer):
            raise SourceReadError("What was salvaged is not there any more.", lost.start, lost.length)

    def over(self, start: int, data: bytes) -> bytes:
        """``data`` of the disk from ``start`` on, with what was won of it."""
        patched = bytearray(data)
        for extent in self._won.overlapping(start, start + len(data)):
            self._read(extent.start, extent.end, memoryview(patched)[extent.start - start : extent.end - start])
        return bytes(patched)
