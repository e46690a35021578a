"""Capture: a disk into an image. Reads by extents, hashes and compresses in parallel, writes in order.

With a parent, chunks that its chain holds already are not stored again.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import msgspec

from rescue import __version__
from rescue.devices.table import read_layout
from rescue.engine.clear_content import clear_contents
from rescue.engine.confirm import Confirmation, Expected
from rescue.engine.effort import Effort
from rescue.engine.gaps import NO_GAPS, pieces, read_around
from rescue.engine.making import Destination, Making, Start, fitting, new_start
from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.reading import read_extents
from rescue.engine.regions import FRAME_SIZE, Region, Stretch, regions_of, stretches_of
from rescue.engine.salvage import Salvage
from rescue.engine.survey import map_disk
from rescue.errors import SourceReadError, UsageError
from rescue.images.begun import Begun
from rescue.images.chain import Chain
from rescue.images.cipher import Cipher, digest_of
from rescue.images.clear import Clear, ClearContent
from rescue.images.crypto import ImageKeys
from rescue.images.format import Kind, RowKind, chunk_size_for
from rescue.images.known import KnownChunks
from rescue.images.manifest import Manifest, RawTable, Statistics
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.writer import Chunk, ImageWriter
from rescue.model.disk import Disk
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout
from rescue.model.nested import whole_parts
from rescue.model.progress import CancelToken, Message
from rescue.model.source import Source
from rescue.model.text import shown
from rescue.model.volume import Volume
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.units import MIB, human_size


class CaptureResult(msgspec.Struct, frozen=True):
    """What was written. Sizes in bytes; ``fingerprint`` is the hex hash of the manifest."""

    uuid: str
    used_bytes: int
    stored_size: int
    fingerprint: str
    volumes: tuple[Volume, ...]
    bad_bytes: int = 0  # that a salvaged disk did not give


# What the kernel has in memory is read and hashed in pieces of this many bytes, so that they are still in the processor's cache.
_HOT: Final = 1 * MIB
_LOOKS: Final = 32  # at each volume, to see whether it is in memory
# Packed frames that may wait for one before them: beside many that are known one that is new takes long.
_WAITING: Final = 12


class _ChangedError(Exception):
    """The disk holds something else than the unfinished image."""


class _Packed(NamedTuple):
    stretch: Stretch
    stored: bytes
    chunks: list[Chunk]


def capture_disk(
    disk: Disk,
    output: Destination,
    making: Making,
    *,
    secrets: Secrets = NO_SECRETS,
    salvage: Path | None = None,
    created: datetime.datetime,
    token: CancelToken,
    progress: Callable[[int, int], None],
    notify: Callable[[Message], None],
) -> CaptureResult:
    """Write an image of ``disk`` to ``output``, going on with what an earlier attempt left there. The disk is only read.

    With ``salvage``, the folder of what is known of a failing disk, it goes on over what cannot be read quickly: that is BAD
    in the image.

    ``secrets`` open the parent of an encrypted image, and are what opens the new one. ``progress`` is told bytes done and
    bytes in all, of what is kept. Raises SourceReadError (named by partition), TargetWriteError, CancelledError;
    DamagedError, FormatError, CredentialError when the parent cannot be used.
    """
    with FileSource(disk.path, direct=True, cached=True) as source, ExitStack() as stack:
        if not disk.is_file:
            # What was written through a partition's node is not in the whole disk's cache: stale pages would be imaged.
            source.drop_cache()
        disk = replace(disk, size=source.size)
        salvaged = (
            stack.enter_context(Salvage(source, salvage, disk=disk.who, sector_size=disk.physical_sector_size))
            if salvage
            else None
        )
        layout = read_layout(salvaged or source, disk.logical_sector_size)
        volumes = map_disk(disk, salvaged or source, layout, secrets.volume_keys)
        for volume, _ in volumes:
            for part in whole_parts(volume):
                name = f"Partition {volume.partition}" if volume.partition else "The file system"
                named = shown(", ".join((name, *part.way)))
                notify(Message("warning", f"{named} is kept whole ({human_size(part.size)}): {part.because}"))
        parent = stack.enter_context(Chain(making.parent, secrets)) if making.kind is not Kind.FULL else None
        if making.decrypt and salvaged:
            raise UsageError("What cannot be read quickly cannot be decrypted on the way.", "Leave out --decrypt or --salvage.")
        clear = clear_contents(source, [volume for volume, _ in volumes], making.decrypt, secrets.volume_keys)
        capture = Capture(source, disk, layout, volumes, making, parent, salvaged, is_cached=source.is_cached, clear=clear)
        return capture.run(output, secrets, created, token, progress, notify)


class Capture:
    """One capture of a disk whose layout and used maps are known."""

    def __init__(
        self,
        source: Source,
        disk: Disk,
        layout: Layout,
        volumes: Sequence[tuple[Volume, ExtentMap]],
        making: Making,
        parent: Chain | None = None,
        salvage: Salvage | None = None,
        *,
        is_cached: Callable[[int, int], bool] = lambda start, end: False,
        clear: tuple[ClearContent, ...] = (),
    ) -> None:
        self._source = Clear(clear).opened(source)
        self._clear = clear
        self._is_cached = is_cached
        self._salvage = salvage
        self._disk = disk
        self._layout = layout
        self._volumes = volumes
        self._making = making
        self._parent = parent
        self._known = KnownChunks(parent, only_full=making.kind is Kind.DIFFERENTIAL) if parent else None
        self._chunk = chunk_size_for(disk.size)
        # More threads than cores: while one waits for the disk, the others compute. Where nobody waits they would only throw
        # each other's data out of the processors' caches.
        self._workers = worker_count() + (0 if self._is_mostly_cached() else 2)
        self._buffers = Buffers(self._workers, FRAME_SIZE, disk.size)
        self._effort = Effort(making.level)
        # A disk with a head to move is read by one thread at a time, in order.
        self._turn: AbstractContextManager[object] = Lock() if disk.rotational else nullcontext()
        self._digest = digest_of(None)
        self._zero_hash: dict[int, bytes] = {}
        self._is_plain = True

    def _is_mostly_cached(self) -> bool:
        extents = [e for _, allocated in self._volumes for e in islice(allocated, 0, None, len(allocated) // _LOOKS + 1)]
        return 2 * sum(self._is_cached(extent.start, extent.end) for extent in extents) > len(extents)

    def run(
        self, output: Destination, secrets: Secrets, created: datetime.datetime, token: CancelToken,
        progress: Callable[[int, int], None], notify: Callable[[Message], None],
    ) -> CaptureResult:  # fmt: skip
        """Read, hash, compress and write it all; raises as :func:`capture_disk`."""
        regions = regions_of(self._layout, self._volumes)

        def stretches() -> Iterator[Stretch]:
            return (stretch for region in regions for stretch in stretches_of(region, self._chunk))

        total = sum(region.allocated.total for region in regions)
        done = 0
        progress(0, total)

        def advance(stretch: Stretch) -> None:
            nonlocal done
            token.check()
            done += sum(extent.length for extent in stretch.extents)
            progress(done, total)

        begun = fitting(output.begun(secrets), self._making, self._disk, self._chunk, FRAME_SIZE, self._parent)
        begun = self._confirmed(begun, stretches(), advance) if begun else None
        start = (
            Start(begun.header, begun.key_area, begun.keys)
            if begun
            else new_start(self._making, self._disk, self._chunk, FRAME_SIZE, created, self._parent, secrets)
        )
        if self._salvage is not None:
            self._salvage.belongs_to(start.header.uuid_text)
        self._use(start.keys)
        self._is_plain = start.header.is_plain
        cipher = Cipher(start.header, start.keys)
        if begun:
            notify(Message("info", f"Going on at {human_size(begun.disk_position)} of the disk: the rest was written before."))
            writer = ImageWriter(output, start.header, cipher, start.key_area, begun)
            output.go_on(begun.length)
        else:
            writer = ImageWriter(output, start.header, cipher, start.key_area)
        done = sum(region.allocated.clip(0, writer.disk_position).total for region in regions)

        def consume(packed: _Packed) -> None:
            began = time.monotonic()
            writer.add(packed.chunks, packed.stored)
            if packed.stored:
                self._effort.written(began, time.monotonic())
            advance(packed.stretch)

        left = (stretch for stretch in stretches() if stretch.start >= writer.disk_position)
        run_ordered(left, self._pack, consume, workers=self._workers, window=2 * self._workers + _WAITING)
        used = sum(volume.used_bytes for volume, _ in self._volumes)
        made = datetime.datetime.fromtimestamp(start.header.created, datetime.UTC)
        known = self._known
        manifest = Manifest(
            format=1, tool=f"rescue {__version__}", uuid=start.header.uuid_text, kind=self._making.kind.word,
            created=_time(made), comment=self._making.comment, host=self._making.host,
            disk=self._disk, layout=self._layout, volumes=tuple(volume for volume, _ in self._volumes),
            tables=tuple(RawTable(e.start, self._table(e)) for e in self._layout.table),
            segments=(), statistics=Statistics(used_bytes=used),
            chain=known.members if known else (), parent=known.members[0].uuid if known else "",
            clear=self._clear, as_of=_time(created) if begun else "",
        )  # fmt: skip
        fingerprint = writer.finish(manifest)
        return CaptureResult(start.header.uuid_text, used, writer.stored_size, fingerprint, manifest.volumes, writer.bad_bytes)

    def _table(self, extent: Extent) -> bytes:
        """The raw bytes of a range that holds a partition table."""
        if self._salvage is None:
            return self._source.pread(extent.length, extent.start)
        buffer = bytearray(extent.length)
        read_around(self._salvage, extent.start, extent.end, (extent,), memoryview(buffer))
        return bytes(buffer)

    def _confirmed(self, begun: Begun, stretches: Iterator[Stretch], advance: Callable[[Stretch], None]) -> Begun | None:
        """What of an earlier attempt is still right: it is read from the disk, and from the image, and hashed once more."""
        self._use(begun.keys)
        confirmation = Confirmation(begun, self._workers)
        good = 0

        def look(expected: Expected) -> tuple[Expected, bool]:
            buffer = self._buffers.lend()
            try:
                if self._salvage is not None:
                    # A failing disk is not read twice to compare all of it: where each region begins has to do.
                    same = not expected.stretch.is_first or self._holds(expected, buffer)
                    return expected, same and confirmation.is_stored(expected, buffer)
                return expected, confirmation.agrees(expected, self._chunks_of(expected.stretch, buffer), buffer)
            finally:
                self._buffers.give_back(buffer)

        def count(looked: tuple[Expected, bool]) -> None:
            nonlocal good
            expected, agrees = looked
            if not agrees:
                raise _ChangedError
            good = expected.segments or good
            advance(expected.stretch)

        with suppress(_ChangedError):
            run_ordered(confirmation.expected(stretches), look, count, workers=self._workers, window=2 * self._workers)
        return begun.up_to(good) if good else None

    def _holds(self, expected: Expected, buffer: memoryview) -> bool:
        """Whether the failing disk holds what an unfinished image has of a stretch, as far as it can be read now."""
        stretch = expected.stretch
        gaps = self._read(stretch, buffer)
        for row in expected.rows:
            start, end = max(row.start, stretch.start), min(row.end, stretch.end)
            if row.kind == RowKind.BAD or any(gaps.overlapping(start, end)):
                continue
            found = self._digest(buffer[start - stretch.start : end - stretch.start])
            if found != (row.hash if row.kind == RowKind.DATA else self._zeros(end - start)):
                return False
        return True

    def _use(self, keys: ImageKeys | None) -> None:
        """Hash chunks as an image with these keys does."""
        self._digest = digest_of(keys)
        self._zero_hash = {}

    def _chunks_of(self, stretch: Stretch, buffer: memoryview) -> list[Chunk]:
        """Read and hash a stretch."""
        if not stretch.extents:
            return [Chunk(RowKind.HOLE, stretch.end - stretch.start)]
        if self._salvage or not self._is_cached(stretch.extents[0].start, stretch.extents[-1].end):
            return self._hash(stretch, buffer, self._read(stretch, buffer))
        chunks: list[Chunk] = []
        for part in stretch.parts(max(_HOT, self._chunk)):
            place = buffer[part.start - stretch.start :]
            chunks += self._hash(part, place, self._read(part, place))
        return chunks

    def _pack(self, stretch: Stretch) -> _Packed:
        if not stretch.extents:
            return _Packed(stretch, b"", self._chunks_of(stretch, memoryview(b"")))
        buffer = self._buffers.lend()
        try:
            chunks = self._chunks_of(stretch, buffer)
            if not any(chunk.is_new for chunk in chunks):
                return _Packed(stretch, b"", chunks)
            length = stretch.end - stretch.start if self._is_plain else gather_new(chunks, buffer)
            return _Packed(stretch, self._effort.compress(buffer[:length]), chunks)
        finally:
            self._buffers.give_back(buffer)

    def _read(self, stretch: Stretch, buffer: memoryview) -> ExtentMap:
        """Read a stretch; what of it could not be read, where that is no error."""
        try:
            with self._turn:
                if self._salvage is not None:
                    return read_around(self._salvage, stretch.start, stretch.end, stretch.extents, buffer)
                read_extents(self._source, stretch.start, stretch.end, stretch.extents, buffer)
                return NO_GAPS
        except SourceReadError as error:
            raise _named(error, self._disk, stretch.region) from error

    def _hash(self, stretch: Stretch, buffer: memoryview, gaps: ExtentMap) -> list[Chunk]:
        chunks: list[Chunk] = []
        extents = iter(stretch.extents)
        extent = next(extents, None)
        for start, end, missing in pieces(stretch.start, stretch.end, self._chunk, gaps):
            if missing:
                chunks.append(Chunk(RowKind.BAD, end - start))
                continue
            while extent is not None and extent.end <= start:
                extent = next(extents, None)
            if extent is None or extent.start >= end:
                chunks.append(Chunk(RowKind.HOLE, end - start))
                continue
            digest = self._digest(buffer[start - stretch.start : end - stretch.start])
            if digest == self._zeros(end - start):
                chunks.append(Chunk(stretch.region.zero_kind, end - start))
            else:
                known = self._known.find(digest, end - start) if self._known else b""
                chunks.append(Chunk(RowKind.DATA, end - start, digest, known))
        return chunks

    def _zeros(self, length: int) -> bytes:
        digest = self._zero_hash.get(length)
        if digest is None:
            digest = self._zero_hash[length] = self._digest(bytes(length))
        return digest


def gather_new(chunks: list[Chunk], buffer: memoryview) -> int:
    """Move the chunks that are to be stored together at the start of the buffer; the bytes that they take there."""
    position = gathered = 0
    for chunk in chunks:
        if chunk.is_new:
            if gathered != position:
                buffer[gathered : gathered + chunk.length] = buffer[position : position + chunk.length]
            gathered += chunk.length
        position += chunk.length
    return gathered


def _time(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _named(error: SourceReadError, disk: Disk, region: Region) -> SourceReadError:
    inside = error.offset - region.start
    hint = error.hint or (
        "The disk may be failing: nothing was written to it. Check its cable, and its health with `smartctl -a`."
        " To get all that can still be read, run the same command with --salvage."
    )
    return SourceReadError(
        f"{disk.title} cannot be read at byte {error.offset}, which is byte {inside} of {region.name}. {error.message}",
        error.offset, error.length, hint,
    )  # fmt: skip
