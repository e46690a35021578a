"""Verify: read a stored image again and check every frame and every hash in it, as this program and as a stock decoder see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import NamedTuple

from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.stored import Stored, StoredBuffers
from rescue.errors import DamagedError
from rescue.images.chain import Chain
from rescue.images.format import HEADER_SIZE, SKIPPABLE_HEAD, TRAILER_SIZE, Row, SeekEntry, zero_checksum, zero_frame
from rescue.images.frames import FrameDecoder, FrameUse, damaged, segment_uses
from rescue.images.keyslots import KEY_AREA_SIZE
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.walk import SegmentWalk
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken, Message


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was proved: every chunk's hash, and that a plain file is a seekable ``.zst`` of the disk. Sizes in bytes."""

    uuid: str
    fingerprint: str
    checked_bytes: int
    chunks: int
    disk_size: int
    bad_bytes: int = 0  # of the disk, which the image does not know


class _Frame(NamedTuple):
    """A data frame; ``checksum`` is the one in the seek table, None where a stock decoder does not decode it."""

    use: FrameUse
    checksum: int | None


class _ZeroFrame(NamedTuple):
    offset: int
    length: int  # of its content


def verify_image(
    path: str,
    secrets: Secrets = NO_SECRETS,
    *,
    own_only: bool = False,
    token: CancelToken,
    progress: Callable[[int, int], None],
    notify: Callable[[Message], None],
) -> VerifyResult:
    """Check an image completely: its own file, and what its index points to in other files of its chain unless ``own_only``.

    ``progress`` is told bytes of content. Raises DamagedError, FormatError, CancelledError.
    """
    with Chain(path, secrets) as image:
        return verify_chain(image, own_only=own_only, token=token, progress=progress)


def verify_chain(
    image: Chain, *, own_only: bool = False, token: CancelToken, progress: Callable[[int, int], None]
) -> VerifyResult:
    """The same for an open image. One of which files are missing can be checked with ``own_only``. Raises as verify_image."""
    statistics = image.manifest.statistics
    expected = statistics.own_bytes if own_only else statistics.data_bytes
    done = 0
    chunks = 0
    workers = worker_count()
    window = 2 * workers + 2
    buffers = Buffers(workers, image.header.frame_limit)
    stored_buffers = StoredBuffers(image, window + 1)
    decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
    for _ in range(workers):
        decoders.put(FrameDecoder())

    def load() -> Iterator[tuple[_Frame, Stored] | _ZeroFrame]:
        for item in _Walk(image, own_only).items():
            token.check()
            yield (item, stored_buffers.read(item.use)) if isinstance(item, _Frame) else item

    def check(loaded: tuple[_Frame, Stored] | _ZeroFrame) -> FrameUse | None:
        if isinstance(loaded, _ZeroFrame):
            zeros = zero_frame(loaded.length)
            if image.image.source.pread(len(zeros), loaded.offset) != zeros:
                raise DamagedError(f"{image.path} is damaged: the zeros at byte {loaded.offset} of the file are none.")
            return None
        (use, checksum), stored = loaded
        decoder = decoders.get()
        buffer = buffers.lend()
        try:
            decoder.decode(image, use, stored.frame, buffer)
            if checksum is not None:
                _check_as_stock(image, use, checksum, stored.frame, buffer)
        finally:
            stored_buffers.give_back(stored)
            buffers.give_back(buffer)
            decoders.put(decoder)
        return use

    def count(use: FrameUse | None) -> None:
        nonlocal done, chunks
        if use is not None:
            done += sum(chunk.length for chunk in use.chunks)
            chunks += len(use.chunks)
            progress(done, max(expected, done))

    progress(0, expected)
    run_ordered(load(), check, count, workers=workers, window=window)
    if done != expected or (chunks != statistics.chunks and not own_only):
        raise DamagedError(f"{image.path} is damaged: its manifest counts other chunks than its index holds.")
    return VerifyResult(
        image.manifest.uuid, image.fingerprint, done, chunks, image.header.disk_size, statistics.bad_bytes
    )  # fmt: skip


class _Walk:
    """Goes through the file as a stock decoder does and holds every frame against the index and the seek table."""

    def __init__(self, chain: Chain, own_only: bool) -> None:
        self._chain = chain
        self._own_only = own_only
        self._entries = iter(chain.image.seek_entries())
        self._walk = SegmentWalk(chain.header, chain.path, 0)

    def items(self) -> Iterator[_Frame | _ZeroFrame]:
        """What is to be read and checked, in file order. Raises DamagedError when the frames do not follow each other."""
        image = self._chain.image
        self._skip(HEADER_SIZE)
        if image.header.encryption:
            self._skip(KEY_AREA_SIZE)
        for number, entry in enumerate(image.manifest.segments):
            own, others = _parted(segment_uses(self._chain.segment_rows(number)))
            for piece in self._walk.frames(own, entry.end):
                checksum = self._next(piece.stored, piece.content)
                if piece.use:
                    yield _Frame(piece.use, checksum if piece.content else None)
                elif checksum == zero_checksum(piece.content):
                    yield _ZeroFrame(piece.offset, piece.content)
                else:
                    raise self._walk.wrong()
            if not self._own_only:
                yield from (_Frame(use, None) for use in others)
            if entry.offset != self._walk.offset:
                raise self._walk.wrong()
            self._skip(entry.length)
        trailer = image.trailer
        if trailer.manifest_offset != self._walk.offset:
            raise self._walk.wrong()
        self._skip(trailer.manifest_length)
        self._skip(TRAILER_SIZE)
        whole = self._walk.disk == image.header.disk_size or not image.header.is_plain
        if self._walk.offset != image.seek_table_offset or not whole or next(self._entries, None):
            raise self._walk.wrong()

    def _skip(self, payload: int) -> None:
        stored = SKIPPABLE_HEAD.size + payload
        if self._next(stored, 0) != SeekEntry(stored).checksum:
            raise self._walk.wrong()
        self._walk.skip(stored)

    def _next(self, stored: int, content: int) -> int:
        """The checksum of the next frame, which must have these sizes."""
        entry = next(self._entries, None)
        if entry is None or (entry.stored, entry.content) != (stored, content):
            raise self._walk.wrong()
        return entry.checksum


def _check_as_stock(chain: Chain, use: FrameUse, checksum: int, stored: memoryview, content: memoryview) -> None:
    """What a stock decoder checks or gives out and no chunk's hash covers: the frame's checksum, and zeros between chunks.

    The checksum is not computed anew (the hashes say more): there are two copies of it, and they must agree.
    """
    if int.from_bytes(stored[-4:], "little") != checksum:
        raise damaged(chain, use.chunks[0], "have a damaged checksum")
    covered = ExtentMap((chunk.in_frame, chunk.in_frame + chunk.length) for chunk in use.chunks)
    for gap in covered.complement(use.content):
        if chain.digest(content[gap.start : gap.end]) != chain.digest(bytes(gap.length)):
            raise damaged(chain, use.chunks[0], "are followed by something that is not zeros")


def _parted(uses: Iterable[FrameUse | Row]) -> tuple[list[FrameUse], list[FrameUse]]:
    """The frames of a segment that are in the image's own file, and those in other files."""
    frames = [use for use in uses if isinstance(use, FrameUse)]
    return [use for use in frames if not use.file], [use for use in frames if use.file]
