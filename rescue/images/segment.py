"""Segments: the index of an image, in pieces (docs/image-format.md, section 5)."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress
from operator import add, le
from typing import Final, NamedTuple

import msgspec
import zstandard
from blake3 import blake3

from rescue.errors import DamagedError, FormatError
from rescue.images.format import HASH_SIZE, MAX_ROWS, TAG_SEGMENT, Header, Row, RowKind, decompress_exactly

_SEGMENT = struct.Struct("<8s16sIIQQQ")
_ROW = struct.Struct("<BBHIQQII32s")
_NO_HASH: Final = bytes(HASH_SIZE)


class SegmentEntry(msgspec.Struct, frozen=True):
    """How the manifest refers to a segment."""

    offset: int
    length: int
    start: int
    end: int
    rows: int
    hash: str


ROW_SIZE: Final = _ROW.size


def pack_row(row: Row) -> bytes:
    """A row as it is in a segment; where it is on the disk is implied there."""
    kind, _, length, file, in_frame, *frame = row
    return _ROW.pack(kind, 0, file, in_frame, length, *frame)


def pack_own(in_frame: int, length: int, frame_offset: int, frame_length: int, frame_content: int, digest: bytes) -> bytes:
    """The same of a chunk in a frame of the image itself."""
    return _ROW.pack(RowKind.DATA, 0, 0, in_frame, length, frame_offset, frame_length, frame_content, digest)


def pack_gap(kind: RowKind, length: int) -> bytes:
    """The same of a row without data."""
    return _ROW.pack(kind, 0, 0, 0, length, 0, 0, 0, _NO_HASH)


def unpack_row(table: bytes | bytearray, offset: int) -> Row:
    """The reverse, with a start of 0, for rows that were checked before they were packed."""
    kind, _, file, in_frame, length, frame_offset, frame_length, content, digest = _ROW.unpack_from(table, offset)
    return Row(kind, 0, length, file, in_frame, frame_offset, frame_length, content, digest)


def pack_segment(uuid: bytes, number: int, table: bytes | bytearray, start: int, end: int, previous: int = 0) -> bytes:
    """The payload of a segment; its last 32 bytes are its hash.

    ``table`` is its packed rows, for the bytes of the disk from ``start`` to ``end``; ``previous`` is the offset of the frame
    of the segment before it.
    """
    head = _SEGMENT.pack(TAG_SEGMENT, uuid, number, len(table) // ROW_SIZE, start, end, previous)
    body = head + zstandard.ZstdCompressor(level=3, write_content_size=True).compress(table)
    return body + blake3(body).digest()


class SegmentHead(NamedTuple):
    """What a segment says about itself. ``previous`` is the offset of the frame of the one before it; 0 in the first."""

    tag: bytes
    uuid: bytes
    number: int
    rows: int
    start: int
    end: int
    previous: int


def read_head(payload: bytes, header: Header) -> SegmentHead | None:
    """The head of a whole segment of this image; None when it is none or damaged."""
    if len(payload) < _SEGMENT.size + HASH_SIZE or blake3(payload[:-HASH_SIZE]).digest() != payload[-HASH_SIZE:]:
        return None
    head = SegmentHead(*_SEGMENT.unpack_from(payload))
    if (head.tag, head.uuid) != (TAG_SEGMENT, header.uuid) or not 0 < head.rows <= MAX_ROWS or head.start >= head.end:
        return None
    return head


def segment_table(payload: bytes, header: Header, number: int, entry: SegmentEntry) -> bytes:
    """The rows of a segment as they are stored, ROW_SIZE bytes each, every number bounded. Raises DamagedError, FormatError."""
    head = read_head(payload, header)
    if head is None or payload[-HASH_SIZE:].hex() != entry.hash:
        raise DamagedError(f"Part {number} of the image's index is damaged.")
    if (head.number, head.rows, head.start, head.end) != (number, entry.rows, entry.start, entry.end):
        raise FormatError(f"Part {number} of the image's index is not the one that the manifest means.")
    table = decompress_exactly(payload[_SEGMENT.size : -HASH_SIZE], head.rows * _ROW.size)
    if not _is_possible(table, header):
        raise FormatError(f"Part {number} of the image's index holds impossible numbers.")
    if sum(memoryview(table).cast("Q")[1::8].tolist()) != head.end - head.start:
        raise FormatError(f"Part {number} of the image's index does not cover its part of the disk.")
    return table


# The tables are checked a column at a time, for all rows at once: an index has millions of them. The columns are read in the
# byte order of the machine, which is that of the format on all that this program runs on.
_KINDS: Final = tuple(RowKind)
_IS_DATA: Final = bytes(kind == RowKind.DATA for kind in range(256))


def data_flags(table: bytes | bytearray) -> bytes | bytearray:
    """A byte for each row: 1 for DATA, else 0."""
    return table[::ROW_SIZE].translate(_IS_DATA)


class Tally(NamedTuple):
    """Bytes of the disk in a table of rows: those of each kind, those of the data in each file; and the number of chunks."""

    kinds: Counter[RowKind]
    files: Counter[int]
    chunks: int


def tally(table: bytes | bytearray) -> Tally:
    """Count a table of rows."""
    with memoryview(table) as view, view.cast("Q") as words, view.cast("H") as halves:
        lengths, files = words[1::8].tolist(), halves[1::32].tolist()
    kinds: Counter[RowKind] = Counter()
    of_files: Counter[int] = Counter()
    data = data_flags(table)
    for kind, length in zip(table[::ROW_SIZE], lengths, strict=True):
        kinds[_KINDS[kind]] += length
    for file, length in zip(compress(files, data), compress(lengths, data), strict=True):
        of_files[file] += length
    return Tally(kinds, of_files, sum(data))


def _is_possible(table: bytes, header: Header) -> bool:
    lengths = memoryview(table).cast("Q")[1::8].tolist()
    words = memoryview(table).cast("I")
    if max(table[::ROW_SIZE]) > RowKind.BAD or any(table[1::ROW_SIZE]) or not min(lengths):
        return False
    data = data_flags(table)
    lengths = list(compress(lengths, data))
    contents = list(compress(words[7::16].tolist(), data))
    ends = map(add, compress(words[1::16].tolist(), data), lengths)
    return (
        max(lengths, default=0) <= header.chunk_size
        and max(contents, default=0) <= header.frame_limit
        and min(compress(words[6::16].tolist(), data), default=1) > 0
        and all(map(le, ends, contents))
    )


def frames_are_within(table: bytes, sizes: Sequence[int]) -> bool:
    """Whether each frame that a checked table points to lies in its file. ``sizes`` are those of the files, by their numbers."""
    data = data_flags(table)
    files = list(compress(memoryview(table).cast("H")[1::32].tolist(), data))
    if max(files, default=0) >= len(sizes):
        return False
    offsets = compress(memoryview(table).cast("Q")[2::8].tolist(), data)
    lengths = compress(memoryview(table).cast("I")[6::16].tolist(), data)
    return all(map(le, map(add, offsets, lengths), map(sizes.__getitem__, files)))


def rows_of(table: bytes, start: int) -> Iterator[Row]:
    """The rows of a checked table that begins at byte ``start`` of the disk."""
    position = start
    for kind, _, file, in_frame, length, offset, frame_length, content, digest in _ROW.iter_unpack(table):
        yield Row(kind, position, length, file, in_frame, offset, frame_length, content, digest)
        position += length


def unpack_segment(payload: bytes, header: Header, number: int, entry: SegmentEntry) -> Iterator[Row]:
    """The rows of a segment. Raises as :func:`segment_table`."""
    return rows_of(segment_table(payload, header, number, entry), entry.start)
