"""Writes an image in one pass, front to back (docs/image-format.md). Knows nothing of disks: it is given frames and rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from blake3 import blake3

from rescue.images.begun import Begun
from rescue.images.cipher import Cipher, Scratch
from rescue.images.crypto import SealedKind
from rescue.images.format import (
    MAX_ROWS,
    MAX_ZERO_FRAME,
    SKIPPABLE_HEAD,
    Header,
    RowKind,
    SeekEntry,
    Trailer,
    pack_seek_table,
    skippable,
    zero_checksum,
    zero_frame,
)
from rescue.images.frames import FrameUse, segment_uses
from rescue.images.manifest import Manifest, Statistics
from rescue.images.segment import ROW_SIZE, SegmentEntry, pack_gap, pack_own, pack_row, pack_segment, tally
from rescue.images.walk import SegmentWalk
from rescue.records import replace
from rescue.units import GIB

_SEGMENT_SPAN = 1 * GIB
_SEGMENT_ROWS = 1 << 16  # bounds a segment of tiny chunks, far below MAX_ROWS


class Output(Protocol):
    """Where an image goes: a file, a pipe, an upload. Only ever appended to."""

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take all of ``data``. Raises TargetWriteError."""
        ...


class Chunk(NamedTuple):
    """The next bytes of the disk. ``hash`` is empty unless ``kind`` is DATA.

    ``known`` is the packed row of an equal chunk of the chain, with the file's number in this image's chain; empty if there is
    none.
    """

    kind: RowKind
    length: int
    hash: bytes = b""
    known: bytes = b""

    @property
    def is_new(self) -> bool:
        """Whether its bytes have to be stored in this image."""
        return self.kind is RowKind.DATA and not self.known


class ImageWriter:
    """Appends stretches of the disk in disk order, then :meth:`finish`. Memory stays bounded by one segment.

    In a full image a frame holds the whole of its stretch, zeros where there is no data; in others only its new chunks.
    """

    def __init__(
        self,
        output: Output,
        header: Header,
        cipher: Cipher | None = None,
        key_area: bytes = b"",
        begun: Begun | None = None,
    ) -> None:
        """``key_area`` is the payload of the key frame of an encrypted image.

        ``begun`` is what ``output`` holds already; nothing is written for it.
        """
        self._output = output
        self._cipher = cipher or Cipher(header, None)
        self._scratch = Scratch()
        self._header = header
        self._plain = header.is_plain
        self._offset = 0  # in the file
        self._disk = 0  # everything below is described by rows
        self._zeros = 0  # bytes of zeros that were described but not yet written
        self._table = bytearray()  # the packed rows of the segment at hand
        self._segment_start = 0  # on the disk
        self._gap: tuple[RowKind, int] | None = None  # the last row of it, while it may still become longer
        self._segments: list[SegmentEntry] = []
        self._seek: list[SeekEntry] = []
        self._counts: Counter[RowKind] = Counter()  # bytes of the segments that are written
        self._from_file: Counter[int] = Counter()  # bytes of data by the file that they are in
        self._chunks = 0
        self._frames = 0
        self._stored = 0
        preamble = [header.pack(), *([key_area] if key_area else [])]
        if begun is None:
            for payload in preamble:
                self._append_skippable(payload)
        else:
            for payload in preamble:
                self._count(SKIPPABLE_HEAD.size + len(payload))
            self._go_on(begun)

    def _go_on(self, begun: Begun) -> None:
        walk = SegmentWalk(self._header, "The unfinished image", self._offset)
        for number, entry in enumerate(begun.segments):
            rows = begun.rows(number)
            uses = [use for use in segment_uses(rows) if isinstance(use, FrameUse) and not use.file]
            for piece in walk.frames(uses, entry.end):
                if piece.use and not self._header.encryption:
                    self._count(piece.stored, piece.content, begun.checksum(piece.offset + piece.stored))
                else:
                    self._count(piece.stored, piece.content, zero_checksum(piece.content))
                self._frames += piece.use is not None
                self._stored += piece.stored if piece.use else 0
            self._tally(b"".join(map(pack_row, rows)))
            self._disk = self._segment_start = entry.end
            self._segments.append(entry)
            self._count(SKIPPABLE_HEAD.size + entry.length)
            walk.skip(SKIPPABLE_HEAD.size + entry.length)

    @property
    def stored_size(self) -> int:
        """Bytes written so far."""
        return self._offset

    @property
    def disk_position(self) -> int:
        """The disk is described up to here."""
        return self._disk

    @property
    def bad_bytes(self) -> int:
        """Bytes of the disk that are not known, of the segments that are written: all of them, when it is finished."""
        return self._counts[RowKind.BAD]

    def add(self, chunks: Iterable[Chunk], stored: bytes | bytearray | memoryview = b"") -> None:
        """Describe the next bytes of the disk, and append the frame that holds what is new of them, if anything is."""
        chunks = tuple(chunks)
        plain = self._plain
        offset = content = inside = 0
        if stored:
            self._flush_zeros()
            offset = self._offset
            checksum = int.from_bytes(stored[-4:], "little")
            stored = self._cipher.seal_frame(stored, offset, self._scratch)
            content = sum(chunk.length for chunk in chunks if plain or chunk.is_new)
            # To a stock decoder, a sealed frame is one to skip.
            self._append(stored, *(() if self._header.encryption else (content, checksum)))
            self._frames += 1
            self._stored += len(stored)
        elif plain:
            self._zeros += sum(chunk.length for chunk in chunks)
        frame_length = len(stored)
        for kind, length, digest, known in chunks:
            if known:
                self._add_row(known)
            elif kind is RowKind.DATA:
                self._add_row(pack_own(inside, length, offset, frame_length, content, digest))
                inside += length
            else:
                self._add_gap(kind, length)
                inside += length if plain else 0
            self._disk += length
        self._maybe_end_segment()

    def finish(self, manifest: Manifest) -> str:
        """Write segment, manifest, trailer and seek table; return the fingerprint (hex).

        What only the writer knows (segments, statistics but its used bytes, what is in which file) is filled in here.
        """
        if self._disk != self._header.disk_size:
            raise ValueError(f"the disk was described up to {self._disk}, not {self._header.disk_size}")
        self._end_segment()
        statistics = Statistics(
            used_bytes=manifest.statistics.used_bytes, data_bytes=self._counts[RowKind.DATA],
            zero_bytes=self._counts[RowKind.ZERO], hole_bytes=self._counts[RowKind.HOLE],
            bad_bytes=self._counts[RowKind.BAD], own_bytes=self._from_file[0],
            stored_bytes=self._stored, chunks=self._chunks, frames=self._frames,
        )  # fmt: skip
        chain = tuple(replace(member, data_bytes=self._from_file[number]) for number, member in enumerate(manifest.chain, 1))
        whole = replace(manifest, segments=tuple(self._segments), statistics=statistics, chain=chain)
        payload = self._cipher.seal_meta(whole.pack(), SealedKind.MANIFEST, self._offset)
        digest = blake3(payload).digest()
        trailer = Trailer(self._header.uuid, self._offset, len(payload), digest)
        self._append_skippable(payload)
        self._append_skippable(trailer.pack())
        seek_table = pack_seek_table(self._seek)
        self._output.write(seek_table)
        self._offset += len(seek_table)
        return digest.hex()

    def _append(self, data: bytes | bytearray | memoryview, *content: int) -> None:
        self._output.write(data)
        self._count(len(data), *content)

    def _count(self, stored: int, *content: int) -> None:
        """``content``: bytes and checksum of what a stock decoder makes of it; nothing for a frame that it skips."""
        self._offset += stored
        self._seek.append(SeekEntry(stored, *content))

    def _append_skippable(self, payload: bytes) -> None:
        self._append(skippable(payload))

    def _add_row(self, row: bytes) -> None:
        if self._gap:
            self._end_gap()
        self._table += row

    def _add_gap(self, kind: RowKind, length: int) -> None:
        if self._gap and self._gap[0] is kind:
            length += self._gap[1]
        else:
            self._end_gap()
        self._gap = (kind, length)

    def _end_gap(self) -> None:
        if self._gap:
            self._table += pack_gap(*self._gap)
            self._gap = None

    def _tally(self, table: bytes | bytearray) -> None:
        kinds, files, chunks = tally(table)
        self._counts.update(kinds)
        self._from_file.update(files)
        self._chunks += chunks

    def _flush_zeros(self) -> None:
        while self._zeros:
            length = min(self._zeros, MAX_ZERO_FRAME)
            self._append(zero_frame(length), length, zero_checksum(length))
            self._zeros -= length

    def _maybe_end_segment(self) -> None:
        if self._disk - self._segment_start >= _SEGMENT_SPAN or len(self._table) >= _SEGMENT_ROWS * ROW_SIZE:
            self._end_segment()

    def _end_segment(self) -> None:
        self._flush_zeros()
        self._end_gap()
        if not self._table:
            return
        assert len(self._table) <= MAX_ROWS * ROW_SIZE
        number = len(self._segments)
        previous = self._segments[-1].offset if self._segments else 0
        start, end = self._segment_start, self._disk
        plain = pack_segment(self._header.uuid, number, self._table, start, end, previous)
        payload = self._cipher.seal_meta(plain, SealedKind.SEGMENT, self._offset, number)
        entry = SegmentEntry(self._offset, len(payload), start, end, len(self._table) // ROW_SIZE, plain[-32:].hex())
        self._segments.append(entry)
        self._append_skippable(payload)
        self._tally(self._table)
        self._table = bytearray()
        self._segment_start = end
