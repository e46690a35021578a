"""Frames of an image as they are needed: which chunks a frame holds, its bytes read, decompressed and proved by their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import zstandard
from blake3 import blake3

from rescue.errors import DamagedError
from rescue.images.format import MAX_FRAME, Row, RowKind
from rescue.images.reader import ImageReader
from rescue.model.layout import Layout

_WINDOW_LIMIT = MAX_FRAME


class FrameUse(NamedTuple):
    """A frame and the DATA rows that it holds, in disk order."""

    offset: int
    length: int
    content: int
    chunks: tuple[Row, ...]


def uses(rows: Iterable[Row]) -> Iterator[FrameUse | Row]:
    """Group DATA rows by their frame; other rows come as they are, at the latest before the next frame."""
    chunks: list[Row] = []
    for row in rows:
        if row.kind != RowKind.DATA:
            yield row
            continue
        if chunks and not _same_frame(chunks[-1], row):
            yield _use(chunks)
            chunks = []
        chunks.append(row)
    if chunks:
        yield _use(chunks)


def _same_frame(one: Row, other: Row) -> bool:
    return (one.file, one.frame_offset, one.frame_length, one.frame_content) == (
        other.file, other.frame_offset, other.frame_length, other.frame_content,
    )  # fmt: skip


def _use(chunks: list[Row]) -> FrameUse:
    first = chunks[0]
    return FrameUse(first.frame_offset, first.frame_length, first.frame_content, tuple(chunks))


class FrameDecoder:
    """Decompresses frames into lent buffers. One object for each thread."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT)

    def decode(self, image: ImageReader, use: FrameUse, stored: memoryview, buffer: memoryview) -> None:
        """Fill ``buffer`` with the frame's content and check every chunk in it. Raises DamagedError."""
        content = buffer[: use.content]
        try:
            parameters = zstandard.get_frame_parameters(stored)
            # Bits 3 and 4 of the descriptor are 0 in every frame that was ever written; decoders ignore one of them.
            if parameters.content_size != use.content or not parameters.has_checksum or stored[4] & 0x18:
                raise zstandard.ZstdError("its content has another size than the index says")
            with self._decompressor.stream_reader(stored) as reader:
                filled = 0
                while filled < use.content and (got := reader.readinto(content[filled:])):
                    filled += got
                # The frame's own checksum is checked only when its end is read.
                if filled < use.content or reader.read(1):
                    raise zstandard.ZstdError("its content has another size than the index says")
        except zstandard.ZstdError as error:
            raise damaged(image, use.chunks[0], "cannot be decompressed") from error
        for chunk in use.chunks:
            if blake3(content[chunk.in_frame : chunk.in_frame + chunk.length]).digest() != chunk.hash:
                raise damaged(image, chunk, "does not match its hash")


def damaged(image: ImageReader, chunk: Row, what: str) -> DamagedError:
    where = place(image.manifest.layout, chunk.start)
    return DamagedError(f"{image.path} is damaged: the data for {where} {what}.", "Use another image of this disk.")


def place(layout: Layout, offset: int) -> str:
    """Where a byte of the disk is, in words: ``partition 2, byte 4096 (byte 1052672 of the disk)``."""
    for partition in layout.data_partitions:
        if partition.start <= offset < partition.end:
            return f"partition {partition.number}, byte {offset - partition.start} (byte {offset} of the disk)"
    return f"byte {offset} of the disk"
