"""Capture: a disk into an image. Reads by extents, hashes and compresses in parallel, writes in order.

With a parent, chunks that its chain holds already are not stored again.
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from threading import Lock
from typing import NamedTuple

from blake3 import blake3

from rescue import __version__
from rescue.devices.table import read_layout
from rescue.engine.effort import Effort
from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.reading import read_extents
from rescue.engine.regions import FRAME_SIZE, Region, Stretch, regions_of, stretches_of
from rescue.engine.survey import map_disk
from rescue.errors import SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import Header, Kind, RowKind, chunk_size_for
from rescue.images.known import KnownChunks
from rescue.images.manifest import Manifest, RawTable, Statistics
from rescue.images.writer import Chunk, ImageWriter, Output
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.progress import CancelToken, Message
from rescue.model.source import Source
from rescue.model.volume import Volume
from rescue.system.blockfile import FileSource
from rescue.units import human_size


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What was written. Sizes in bytes; ``fingerprint`` is the hex hash of the manifest."""

    uuid: str
    used_bytes: int
    stored_size: int
    fingerprint: str
    volumes: tuple[Volume, ...]


class _Packed(NamedTuple):
    stretch: Stretch
    stored: bytes
    chunks: list[Chunk]


def capture_disk(
    disk: Disk,
    output: Output,
    *,
    kind: Kind,
    parent: str,
    level: int,
    comment: str,
    host: str,
    created: datetime.datetime,
    token: CancelToken,
    progress: Callable[[int, int], None],
    notify: Callable[[Message], None],
) -> CaptureResult:
    """Write an image of ``disk`` to ``output``; ``parent`` is the path of the image that one that is not full is made upon.

    The disk is only read. ``progress`` is told bytes done and bytes in all, of what is kept. Raises SourceReadError (named
    by partition), TargetWriteError, CancelledError; DamagedError, FormatError when the parent cannot be used.
    """
    with FileSource(disk.path, direct=True, cached=True) as source, ExitStack() as stack:
        if not disk.is_file:
            # What was written through a partition's node is not in the whole disk's cache: stale pages would be imaged.
            source.drop_cache()
        layout = read_layout(source, disk.logical_sector_size)
        volumes = map_disk(disk, source, layout)
        for volume, _ in volumes:
            if volume.whole_because:
                name = f"Partition {volume.partition}" if volume.partition else "The file system"
                notify(Message("warning", f"{name} is kept whole ({human_size(volume.size)}): {volume.whole_because}"))
        disk = replace(disk, size=source.size)
        known: KnownChunks | None = None
        if kind is not Kind.FULL:
            chain = stack.enter_context(Chain(parent))
            known = KnownChunks(chain, only_full=kind is Kind.DIFFERENTIAL)
        capture = Capture(source, disk, layout, volumes, level, kind, known)
        return capture.run(output, comment, host, created, token, progress)


class Capture:
    """One capture of a disk whose layout and used maps are known."""

    def __init__(
        self,
        source: Source,
        disk: Disk,
        layout: Layout,
        volumes: Sequence[tuple[Volume, ExtentMap]],
        level: int,
        kind: Kind = Kind.FULL,
        known: KnownChunks | None = None,
    ) -> None:
        self._source = source
        self._disk = disk
        self._layout = layout
        self._volumes = volumes
        self._kind = kind
        self._known = known
        self._chunk = chunk_size_for(disk.size)
        # More threads than cores: while one waits for the disk, the others compute.
        self._workers = worker_count() + 2
        self._buffers = Buffers(self._workers, FRAME_SIZE)
        self._effort = Effort(level)
        # A disk with a head to move is read by one thread at a time, in order.
        self._turn: AbstractContextManager[object] = Lock() if disk.rotational else nullcontext()
        self._zero_hash: dict[int, bytes] = {}

    def run(
        self, output: Output, comment: str, host: str, created: datetime.datetime, token: CancelToken,
        progress: Callable[[int, int], None],
    ) -> CaptureResult:  # fmt: skip
        """Read, hash, compress and write it all; raises as :func:`capture_disk`."""
        identity = uuid.uuid4()
        header = Header(
            identity.bytes, self._disk.size, int(created.timestamp()), self._chunk, FRAME_SIZE,
            self._disk.logical_sector_size, self._disk.physical_sector_size, self._kind,
        )  # fmt: skip
        writer = ImageWriter(output, header)
        regions = regions_of(self._layout, self._volumes)
        total = sum(region.allocated.total for region in regions)
        done = 0

        def consume(packed: _Packed) -> None:
            nonlocal done
            token.check()
            stretch = packed.stretch
            began = time.monotonic()
            writer.add(packed.chunks, packed.stored)
            if packed.stored:
                self._effort.written(began, time.monotonic())
            done += sum(extent.length for extent in stretch.extents)
            progress(done, total)

        progress(0, total)
        stretches = (stretch for region in regions for stretch in stretches_of(region, self._chunk))
        run_ordered(stretches, self._pack, consume, workers=self._workers, window=2 * self._workers)
        used = sum(volume.used_bytes for volume, _ in self._volumes)
        manifest = Manifest(
            format=1, tool=f"rescue {__version__}", uuid=str(identity), kind=self._kind.word,
            created=created.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), comment=comment, host=host,
            disk=self._disk, layout=self._layout, volumes=tuple(volume for volume, _ in self._volumes),
            tables=tuple(RawTable(e.start, self._source.pread(e.length, e.start)) for e in self._layout.table),
            segments=(), statistics=Statistics(used_bytes=used),
            chain=self._known.members if self._known else (), parent=self._known.members[0].uuid if self._known else "",
        )  # fmt: skip
        fingerprint = writer.finish(manifest)
        return CaptureResult(str(identity), used, writer.stored_size, fingerprint, manifest.volumes)

    def _pack(self, stretch: Stretch) -> _Packed:
        if not stretch.extents:
            return _Packed(stretch, b"", [Chunk(RowKind.HOLE, stretch.end - stretch.start)])
        buffer = self._buffers.lend()
        try:
            self._read(stretch, buffer)
            chunks = self._hash(stretch, buffer)
            if all(chunk.kind is not RowKind.DATA or chunk.known for chunk in chunks):
                return _Packed(stretch, b"", chunks)
            length = stretch.end - stretch.start if self._kind is Kind.FULL else _gather_new(chunks, buffer)
            return _Packed(stretch, self._effort.compress(buffer[:length]), chunks)
        finally:
            self._buffers.give_back(buffer)

    def _read(self, stretch: Stretch, buffer: memoryview) -> None:
        try:
            with self._turn:
                read_extents(self._source, stretch.start, stretch.end, stretch.extents, buffer)
        except SourceReadError as error:
            raise _named(error, self._disk, stretch.region) from error

    def _hash(self, stretch: Stretch, buffer: memoryview) -> list[Chunk]:
        chunks: list[Chunk] = []
        extents = iter(stretch.extents)
        extent = next(extents, None)
        for start in range(stretch.start, stretch.end, self._chunk):
            end = min(start + self._chunk, stretch.end)
            while extent is not None and extent.end <= start:
                extent = next(extents, None)
            if extent is None or extent.start >= end:
                chunks.append(Chunk(RowKind.HOLE, end - start))
                continue
            digest = blake3(buffer[start - stretch.start : end - stretch.start]).digest()
            if digest == self._zeros(end - start):
                chunks.append(Chunk(stretch.region.zero_kind, end - start))
            else:
                known = self._known.find(digest, end - start) if self._known else None
                chunks.append(Chunk(RowKind.DATA, end - start, digest, known))
        return chunks

    def _zeros(self, length: int) -> bytes:
        digest = self._zero_hash.get(length)
        if digest is None:
            digest = self._zero_hash[length] = blake3(bytes(length)).digest()
        return digest


def _gather_new(chunks: list[Chunk], buffer: memoryview) -> int:
    """Move the chunks that are to be stored together at the start of the buffer; the bytes that they take there."""
    position = gathered = 0
    for chunk in chunks:
        if chunk.kind is RowKind.DATA and chunk.known is None:
            if gathered != position:
                buffer[gathered : gathered + chunk.length] = buffer[position : position + chunk.length]
            gathered += chunk.length
        position += chunk.length
    return gathered


def _named(error: SourceReadError, disk: Disk, region: Region) -> SourceReadError:
    inside = error.offset - region.start
    return SourceReadError(
        f"{disk.title} cannot be read at byte {error.offset}, which is byte {inside} of {region.name}. {error.message}",
        error.offset, error.length,
        "The disk may be failing: nothing was written to it. Check its cable, and its health with `smartctl -a`.",
    )  # fmt: skip
