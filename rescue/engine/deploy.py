"""Deploy: an image onto a disk, in the order that keeps a half-restored disk from looking like a healthy one, and the proof.

Wipe both ends and every border -> data -> backup GPT -> head -> first sectors; then everything is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, NoReturn

from rescue.devices.table import head_end, tables_for
from rescue.engine.delta import Delta
from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.proof import prove
from rescue.engine.regions import tail_of
from rescue.engine.salvaged_image import open_salvaged
from rescue.engine.stored import Stored, StoredBuffers
from rescue.engine.target import SYNC_EVERY, prove_layout, wipe, write_late, wrong
from rescue.errors import DamagedError, RefusedError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import Row, RowKind
from rescue.images.frames import FrameDecoder, FrameUse, adjacent, uses
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.extents import Extent, ExtentMap
from rescue.model.progress import CancelToken
from rescue.model.source import MemorySink
from rescue.model.volume import Volume
from rescue.system.blockfile import FileSink, FileSource
from rescue.units import MIB, human_size


class _Decoded(NamedTuple):
    use: FrameUse
    chunks: tuple[Row, ...]  # to be written; of those of the frame
    buffer: memoryview
    lost: tuple[Row, ...] = ()  # that are damaged in the image


class Deployment:
    """One restore of an image onto a target (a block device, or an existing file). A context manager; call in order.

    Opening raises RefusedError when the target is in use or too small; nothing has been written then.
    """

    def __init__(self, image_path: str, target_path: str, secrets: Secrets = NO_SECRETS, *, salvage: bool = False) -> None:
        """With ``salvage`` what the image lacks or holds damaged is zeros on the target, and in :attr:`lost`; else refused."""
        self._salvage = salvage
        self._lost: list[Extent] = []
        self._image = open_salvaged(image_path, secrets) if salvage else Chain(image_path, secrets)
        try:
            bad = self._image.manifest.statistics.bad_bytes
            if bad and not salvage:
                raise self._refusal(bad)
            self._sink = FileSink(target_path, direct=True)
        except BaseException:
            self._image.close()
            raise
        self._layout = self._image.layout
        missing = self._image.header.disk_size - self._sink.size
        if missing > 0:
            self.close()
            raise RefusedError(
                f"{target_path} is too small: it has {missing} bytes less than the disk in the image.", "Choose a bigger disk."
            )
        # The head, and the backup GPT with its table, are kept in memory until everything else is on the medium.
        self._head = MemorySink(head_end(self._layout))
        self._tail_place = tail_of(self._layout)
        self._tail = MemorySink(self._tail_place.length)
        self._same = ExtentMap()  # what was on the target already, compared by hash
        self._written = 0
        try:
            self._clear = self._image.clear
        except BaseException:
            self.close()
            raise

    def wipe(self) -> None:
        """Remove what is at both ends of the target and at the borders of the partitions to come. Raises TargetWriteError."""
        wipe(self._sink, [self._layout])

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """Of the disk in the image."""
        return self._image.manifest.volumes

    @property
    def defects(self) -> tuple[str, ...]:
        """What is damaged of the image but for its data, as sentences; looked for with ``salvage`` only."""
        return self._image.defects

    @property
    def same_bytes(self) -> int:
        """How much of the data was on the target already."""
        return self._same.total

    @property
    def written_bytes(self) -> int:
        """How much of the data was written."""
        return self._written

    def write_data(
        self, token: CancelToken, progress: Callable[[int, int], None], delta: bool | None = None, *, proof: bool = True
    ) -> None:
        """Write everything but the head and the backup GPT, each chunk proved by its hash before it is written.

        With ``delta`` the target is compared first, and only what differs is written; None tries a sample to find out
        whether that is worth it. With ``proof`` comparing is reading from the medium, as :meth:`read_back` would; without,
        what the kernel has in memory of a target that is a file is taken from there.
        Raises DamagedError, TargetWriteError, CancelledError; ``progress`` is told bytes of content.
        """
        with FileSource(self._sink.path, direct=True, cached=True) as target:
            compare: Delta | None = None
            if delta is not False:
                self._sink.flush()
                if proof or target.is_device:
                    # What was written through a partition's node is not in the whole disk's cache: stale pages would be compared.
                    target.drop_cache()
                compare = Delta(self._image, target, self._is_late, self._clear)
                if delta is None and not compare.is_worth_it():
                    compare = None
            self._write_data(token, progress, compare)
        self._same = compare.same if compare else ExtentMap()

    @property
    def lost(self) -> ExtentMap:
        """What the image could not give: zeros on the target, or what partition tables are known to have been."""
        return ExtentMap(sorted(self._lost))

    def _refusal(self, missing: int) -> DamagedError:
        return DamagedError(
            f"{self._image.path} is incomplete: {human_size(missing)} of the disk are not in it.",
            "To restore all the rest, run the same command with --salvage.",
        )

    def _lose(self, start: int, end: int) -> None:
        """Zeros for what the image cannot give; but the partition tables are in its manifest a second time."""
        if not self._salvage:
            raise self._refusal(end - start)
        self._lost.append(Extent(start, end))
        self._zero(start, end)
        for table in self._image.manifest.tables:
            low, high = max(start, table.start), min(end, table.start + len(table.data))
            if low < high:
                self._write(memoryview(table.data)[low - table.start : high - table.start], low)

    def _write_data(self, token: CancelToken, progress: Callable[[int, int], None], delta: Delta | None) -> None:
        image = self._image
        total = image.manifest.statistics.data_bytes
        workers = worker_count()
        window = 2 * workers + 2
        buffers = Buffers(window, image.header.frame_limit, image.header.disk_size)
        stored_buffers = StoredBuffers(image, window + 1)
        decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
        for _ in range(workers):
            decoders.put(FrameDecoder())
        done = 0
        self._written = 0
        synced = 0

        def load() -> Iterator[tuple[FrameUse, Stored | None] | Row]:
            for item in uses(image):
                token.check()
                later = delta or self._salvage
                yield (item, None if later else stored_buffers.read(item)) if isinstance(item, FrameUse) else item

        def decode(loaded: tuple[FrameUse, Stored | None] | Row) -> _Decoded | Row:
            if isinstance(loaded, Row):
                return loaded
            use, stored = loaded
            buffer = buffers.lend()
            chunks = delta.differing(use, buffer) if delta else use.chunks
            if not chunks:
                return _Decoded(use, (), buffer)
            if self._salvage:
                good = salvaged(use, buffer)
                return _Decoded(
                    use, tuple(c for c in chunks if c in good), buffer, tuple(c for c in chunks if c not in good)
                )  # fmt: skip
            stored = stored or stored_buffers.read(use)
            decoder = decoders.get()
            decoder.decode(image, use._replace(chunks=chunks), stored.frame, buffer, to_end=chunks == use.chunks)
            decoders.put(decoder)
            stored_buffers.give_back(stored)
            return _Decoded(use, chunks, buffer)

        def salvaged(use: FrameUse, buffer: memoryview) -> frozenset[Row]:
            file = image.files[use.file]
            assert file is not None  # a chain gives no DATA rows of files that it has not
            decoder = decoders.get()
            try:
                stored = memoryview(file.source.pread(use.length, use.offset))
                return frozenset(decoder.salvage(file.cipher, image.digest, use, stored, buffer))
            except SourceReadError:
                return frozenset()
            finally:
                decoders.put(decoder)

        def write(item: _Decoded | Row) -> None:
            nonlocal done, synced
            token.check()
            if isinstance(item, Row):
                if item.kind == RowKind.ZERO:
                    self._zero(item.start, item.end)
                elif item.kind == RowKind.BAD:
                    self._lose(item.start, item.end)
                return
            for run in adjacent(item.chunks):
                first = run[0]
                length = run[-1].end - first.start
                self._write(item.buffer[first.in_frame : first.in_frame + length], first.start)
                self._written += length
            buffers.give_back(item.buffer)
            for chunk in item.lost:
                self._lose(chunk.start, chunk.end)
            done += sum(chunk.length for chunk in item.use.chunks)
            if self._written - synced >= SYNC_EVERY:
                self._sink.flush()
                synced = self._written
            progress(done, total)

        progress(0, total)
        run_ordered(load(), decode, write, workers=workers, window=window)
        self._sink.flush()

    def write_head(self) -> None:
        """Write the backup GPT (at the target's own end), the head of the disk and, last, its first sectors.

        Raises TargetWriteError, RefusedError (the tables do not fit this size).
        """
        write_late(self._sink, self._late_writes())

    def read_back(self, token: CancelToken, progress: Callable[[int, int], None]) -> int:
        """Read from the medium all that was written and compare; return the bytes proved. Raises DamagedError."""
        with FileSource(self._sink.path, direct=True) as target:
            target.drop_cache()
            late = self._late_writes() if self._relocated else []
            # What was read and compared before the restore need not be read again.
            rows = (
                row for row in (self._as_written() if self._salvage else self._image.rows())
                if not (late and self._is_late(row.start, row.end)) and not self._was_same(row)
            )  # fmt: skip
            expected = self._image.manifest.statistics.data_bytes + self._image.manifest.statistics.zero_bytes - self._same.total
            read = self._clear.opened(target).pread_into
            proved = self._same.total + prove(rows, expected, self._image.digest, read, self._wrong, token, progress)
            for offset, data in late:
                if target.pread(len(data), offset) != data:
                    self._wrong(offset)
                proved += len(data)
            prove_layout(target, self._sink.path, self._layout)
        return proved

    def _as_written(self) -> Iterator[Row]:
        """The rows, with those that are lost as zeros, but for the partition tables."""
        lost = self.lost
        tables = ExtentMap(sorted((table.start, table.start + len(table.data)) for table in self._image.manifest.tables))
        for row in self._image.rows():
            if any(lost.overlapping(row.start, row.end)):
                zeros = ExtentMap([(row.start, row.end)]).difference(tables)
                yield from (Row(RowKind.ZERO, start, end - start) for start, end in zeros)
            else:
                yield row

    def _was_same(self, row: Row) -> bool:
        return sum(extent.length for extent in self._same.overlapping(row.start, row.end)) == row.length

    def _wrong(self, offset: int) -> NoReturn:
        wrong(self._sink.path, self._layout, offset)

    @property
    def _relocated(self) -> bool:
        return self._layout.label == "gpt" and self._sink.size != self._layout.size

    def _late_writes(self) -> list[tuple[int, bytes]]:
        """The head and what belongs to the tables, as they must be on this target: ``(offset, data)``."""
        head = MemorySink(self._head.size)
        head.pwrite(bytes(self._head.data), 0)
        if not self._relocated:
            return [(0, bytes(head.data)), (self._tail_place.start, bytes(self._tail.data))]
        behind: list[tuple[int, bytes]] = []
        for offset, data in tables_for(_TablesOfImage(self._image), self._layout, self._sink.size):
            if offset + len(data) <= head.size:
                head.pwrite(data, offset)
            else:
                behind.append((offset, data))
        return [(0, bytes(head.data)), *behind]

    def _is_late(self, start: int, end: int) -> bool:
        return start < self._head.size or (start < self._tail_place.end and end > self._tail_place.start)

    def _write(self, data: memoryview, offset: int) -> None:
        """Write to the target, or into the memory of the head or the tail, each byte where it belongs, as it is on the disk."""
        data = memoryview(self._clear.sealed(data, offset))
        tail = self._tail_place
        cuts = sorted({offset, offset + len(data), *self._borders_within(offset, offset + len(data))})
        for start, end in pairwise(cuts):
            part = data[start - offset : end - offset]
            if end <= self._head.size:
                self._head.pwrite(part, start)
            elif tail.start <= start and end <= tail.end:
                self._tail.pwrite(part, start - tail.start)
            else:
                self._sink.pwrite(part, start)

    def _zero(self, start: int, end: int) -> None:
        for low, high, clear in self._clear.pieces(start, end):
            if clear:
                for at in range(low, high, MIB):
                    self._write(memoryview(bytes(min(MIB, high - at))), at)
            else:
                self._make_zero(low, high)

    def _make_zero(self, start: int, end: int) -> None:
        cuts = sorted({start, end, *self._borders_within(start, end)})
        for low, high in pairwise(cuts):
            # The memory of the head and the tail is zero already.
            if not (high <= self._head.size or (self._tail_place.start <= low and high <= self._tail_place.end)):
                self._sink.zero(low, high)

    def _borders_within(self, start: int, end: int) -> list[int]:
        return [b for b in (self._head.size, self._tail_place.start, self._tail_place.end) if start < b < end]

    def close(self) -> None:
        """Close image and target."""
        self._image.close()
        self._sink.close()

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _TablesOfImage:
    """The Source of a disk of which only the partition tables are there (from the manifest); zeros elsewhere."""

    def __init__(self, image: Chain) -> None:
        self.size = image.header.disk_size
        self._tables = image.manifest.tables

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        answer = bytearray(length)
        self.pread_into(memoryview(answer), offset)
        return bytes(answer)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        end = offset + len(buffer)
        buffer[:] = bytes(len(buffer))
        for table in self._tables:
            low, high = max(offset, table.start), min(end, table.start + len(table.data))
            if low < high:
                buffer[low - offset : high - offset] = table.data[low - table.start : high - table.start]
