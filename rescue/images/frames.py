"""Frames of an image as they are needed: which chunks a frame holds, its bytes read, decompressed and proved by their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import zstandard

from rescue.errors import DamagedError
from rescue.images.chain import Chain
from rescue.images.cipher import Cipher, Digest, Scratch
from rescue.images.format import MAX_FRAME, Row, RowKind
from rescue.model.layout import Layout
from rescue.system.zstd import decompressor


class FrameUse(NamedTuple):
    """A frame and the DATA rows of one segment that it holds, in disk order. ``file`` is the number of its file in the chain."""

    file: int
    offset: int
    length: int
    content: int
    chunks: tuple[Row, ...]


def uses(chain: Chain) -> Iterator[FrameUse | Row]:
    """Each frame that the image needs, once a segment, in the order in which the disk needs them, and the rows that are no DATA.

    In an incremental image chunks of several frames take turns on the disk: they are gathered, so that no frame is read twice.
    """
    for number in range(len(chain.manifest.segments)):
        yield from segment_uses(chain.segment_rows(number))


def segment_uses(rows: Iterable[Row]) -> Iterator[FrameUse | Row]:
    """The same for the rows of one segment."""
    gathered: dict[tuple[int, int, int, int], list[Row]] = {}
    for row in rows:
        if row.kind != RowKind.DATA:
            yield row
            continue
        key = (row.file, row.frame_offset, row.frame_length, row.frame_content)
        chunks = gathered.get(key)
        if chunks is None:
            gathered[key] = [row]
        else:
            chunks.append(row)
    for key, chunks in gathered.items():
        yield FrameUse(*key, tuple(chunks))


def adjacent(chunks: tuple[Row, ...]) -> Iterator[list[Row]]:
    """Runs of chunks that follow each other on the disk and in the frame: one write each."""
    run: list[Row] = []
    for chunk in chunks:
        if run and (chunk.start != run[-1].end or chunk.in_frame != run[-1].in_frame + run[-1].length):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


class BadFrameError(Exception):
    """A stored frame does not hold what the index says: the first chunk concerned, and what is wrong with its data."""

    def __init__(self, chunk: Row, what: str) -> None:
        super().__init__(what)
        self.chunk = chunk
        self.what = what


class FrameDecoder:
    """Decompresses frames into lent buffers. One object for each thread."""

    def __init__(self) -> None:
        self._decompressor = decompressor(MAX_FRAME)
        self._scratch = Scratch()

    def decode(self, chain: Chain, use: FrameUse, stored: memoryview, buffer: memoryview, *, to_end: bool = True) -> None:
        """Fill ``buffer`` with the frame's content and check every chunk in it. Raises DamagedError.

        With ``to_end`` False what follows the last of the chunks is left out.
        """
        file = chain.files[use.file]
        assert file is not None  # a chain gives no DATA rows of files that it has not
        try:
            self.fill(file.cipher, chain.digest, use, stored, buffer, to_end=to_end)
        except BadFrameError as error:
            raise damaged(chain, error.chunk, error.what) from error

    def fill(
        self, cipher: Cipher, digest: Digest, use: FrameUse, stored: memoryview, buffer: memoryview, *, to_end: bool = True
    ) -> None:
        """The same for a frame of any file. Raises BadFrameError."""
        content = buffer[: use.content]
        try:
            stored = cipher.open_frame(stored, use.offset, self._scratch)
        except DamagedError as error:
            raise BadFrameError(use.chunks[0], "cannot be decrypted") from error
        try:
            _check_head(use, stored)
            pieces = self._decompressor.fill(stored, content)
            filled = 0
            for chunk in use.chunks:
                # Each chunk is hashed as soon as it is there: it is still in the processor's cache then.
                end = chunk.in_frame + chunk.length
                while filled < end:
                    filled = next(pieces)
                if digest(content[chunk.in_frame : end]) != chunk.hash:
                    raise BadFrameError(chunk, "does not match its hash")
            if to_end:
                for _ in pieces:
                    # The frame's own checksum is checked only when its end is reached.
                    pass
        except zstandard.ZstdError as error:
            raise BadFrameError(use.chunks[0], "cannot be decompressed") from error

    def salvage(self, cipher: Cipher, digest: Digest, use: FrameUse, stored: memoryview, buffer: memoryview) -> tuple[Row, ...]:
        """Fill ``buffer`` with what can be had of a damaged frame; the chunks that are right in it."""
        content = buffer[: use.content]
        filled = 0
        with suppress(DamagedError, zstandard.ZstdError):
            stored = cipher.open_frame(stored, use.offset, self._scratch)
            _check_head(use, stored)
            for position in self._decompressor.fill(stored, content):
                filled = position
        ends = ((chunk, chunk.in_frame + chunk.length) for chunk in use.chunks)
        return tuple(chunk for chunk, end in ends if end <= filled and digest(content[chunk.in_frame : end]) == chunk.hash)


def _check_head(use: FrameUse, stored: memoryview) -> None:
    parameters = zstandard.get_frame_parameters(stored)
    # Bits 3 and 4 of the descriptor are 0 in every frame that was ever written; decoders ignore one of them.
    if parameters.content_size != use.content or not parameters.has_checksum or stored[4] & 0x18:
        raise zstandard.ZstdError("its content has another size than the index says")
    if parameters.window_size > MAX_FRAME:
        raise zstandard.ZstdError("its window is too large")


def damaged(chain: Chain, chunk: Row, what: str) -> DamagedError:
    """The error for a chunk whose stored data are not right."""
    where = place(chain.layout, chunk.start)
    file = chain.files[chunk.file]
    return DamagedError(
        f"{file.path if file else chain.path} is damaged: the data for {where} {what}.", "Use another image of this disk."
    )


def place(layout: Layout, offset: int) -> str:
    """Where a byte of the disk is, in words: ``partition 2, byte 4096 (byte 1052672 of the disk)``."""
    for partition in layout.data_partitions:
        if partition.start <= offset < partition.end:
            return f"partition {partition.number}, byte {offset - partition.start} (byte {offset} of the disk)"
    return f"byte {offset} of the disk"
