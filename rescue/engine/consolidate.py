"""Consolidate: a full image out of an image and its chain, by copying its frames; only what must be is compressed anew."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import NamedTuple

import msgspec

from rescue import __version__
from rescue.engine.effort import Effort
from rescue.engine.pieces import Piece, pieces
from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.stored import Stored, StoredBuffers
from rescue.images.chain import Chain
from rescue.images.cipher import Cipher
from rescue.images.crypto import ImageKeys
from rescue.images.format import Header, Kind, Row, RowKind
from rescue.images.frames import FrameDecoder
from rescue.images.keyslots import KeyArea
from rescue.images.manifest import Manifest, Statistics
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.view import ImageView
from rescue.images.writer import Chunk, ImageWriter, Output
from rescue.model.progress import CancelToken


@dataclass(frozen=True, slots=True)
class ConsolidateResult:
    """What was written. Sizes in bytes; of ``data_bytes`` (of the disk), ``recompressed_bytes`` were compressed anew."""

    uuid: str
    fingerprint: str
    stored_size: int
    data_bytes: int
    recompressed_bytes: int


class _Loaded(NamedTuple):
    piece: Piece
    stored: Stored | None


class _Packed(NamedTuple):
    piece: Piece
    stored: bytes | memoryview
    copied: bool


def consolidate(
    chain: Chain,
    output: Output,
    secrets: Secrets = NO_SECRETS,
    *,
    token: CancelToken,
    progress: Callable[[int, int], None],
) -> ConsolidateResult:
    """Write a full image of the disk in ``chain`` to ``output``. Every chunk is checked by its hash on the way.

    An encrypted one gets keys of its own, which ``secrets`` open; its hash key is that of the chain, so that chunks can be
    compared. ``progress`` is told bytes of data done and in all. Raises DamagedError, FormatError, UsageError (encrypted, and
    no secrets), TargetWriteError, CancelledError.
    """
    header = replace(chain.header, uuid=uuid.uuid4().bytes, kind=Kind.FULL, parent=bytes(32))
    keys: ImageKeys | None = None
    key_area = b""
    if chain.image.keys is not None:
        keys = ImageKeys.child(chain.image.keys)
        key_area = KeyArea.new(header.binding, secrets, keys).pack()
    writer = ImageWriter(output, header, Cipher(header, keys), key_area)
    return _Consolidation(chain, header, token, progress).run(writer)


class _Consolidation:
    def __init__(self, chain: Chain, header: Header, token: CancelToken, progress: Callable[[int, int], None]) -> None:
        self._chain = chain
        self._header = header
        self._token = token
        self._progress = progress
        self._workers = worker_count()
        self._window = 2 * self._workers + 2
        self._stored = StoredBuffers(chain, self._window + 1)
        self._buffers = Buffers(self._workers, header.frame_limit)
        self._decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
        for _ in range(self._workers):
            self._decoders.put(FrameDecoder())
        self._effort = Effort(0)
        self._view = ImageView(chain, bad_as_zeros=True)

    def run(self, writer: ImageWriter) -> ConsolidateResult:
        total = self._chain.manifest.statistics.data_bytes
        done = again = 0
        self._progress(0, total)

        def consume(packed: _Packed) -> None:
            nonlocal done, again
            self._token.check()
            writer.add([Chunk(RowKind(row.kind), row.length, _hash(row)) for row in packed.piece.rows], packed.stored)
            size = packed.piece.data_bytes
            done += size
            again += 0 if packed.copied else size
            self._progress(done, max(total, done))

        run_ordered(self._load(), self._pack, consume, workers=self._workers, window=self._window)
        fingerprint = writer.finish(self._manifest())
        return ConsolidateResult(self._header.uuid_text, fingerprint, writer.stored_size, done, again)

    def _load(self) -> Iterator[_Loaded]:
        for number in range(len(self._chain.manifest.segments)):
            for piece in pieces(list(self._chain.segment_rows(number)), self._header):
                self._token.check()
                yield _Loaded(piece, self._stored.read(piece.frame) if piece.frame else None)

    def _pack(self, loaded: _Loaded) -> _Packed:
        piece, stored = loaded
        if not piece.data_bytes:
            return _Packed(piece, b"", True)
        buffer = self._buffers.lend()
        try:
            if stored is not None:
                copy = self._copied(piece, stored, buffer)
                if copy is not None:
                    return _Packed(piece, copy, True)
            return _Packed(piece, self._effort.compress(self._assembled(piece, buffer)), False)
        finally:
            self._buffers.give_back(buffer)

    def _copied(self, piece: Piece, stored: Stored, buffer: memoryview) -> bytes | None:
        """The frame as it is, if its content is what stands on the disk; it is in none of this program's images if not."""
        use = piece.frame
        assert use is not None
        decoder = self._decoders.get()
        try:
            decoder.decode(self._chain, use, stored.frame, buffer)
            if self._header.is_plain:
                for row in piece.rows:
                    inside = row.start - piece.rows[0].start
                    if row.kind != RowKind.DATA and bytes(buffer[inside : inside + row.length]).strip(b"\x00"):
                        return None
            file = self._chain.files[use.file]
            assert file is not None  # it was just read from
            return bytes(file.cipher.open_frame(stored.frame, use.offset))
        finally:
            self._decoders.put(decoder)
            self._stored.give_back(stored)

    def _assembled(self, piece: Piece, buffer: memoryview) -> memoryview:
        """What the frame of these rows holds: in a plain image all of them, else those of data one behind the other."""
        if self._header.is_plain:
            content = buffer[: piece.rows[-1].end - piece.rows[0].start]
            self._view.pread_into(content, piece.rows[0].start)
            return content
        position = 0
        for row in piece.rows:
            if row.kind == RowKind.DATA:
                self._view.pread_into(buffer[position : position + row.length], row.start)
                position += row.length
        return buffer[:position]

    def _manifest(self) -> Manifest:
        source = self._chain.manifest
        return msgspec.structs.replace(
            source,
            tool=f"rescue {__version__}",
            uuid=self._header.uuid_text,
            kind=self._header.kind.word,
            segments=(),
            statistics=Statistics(used_bytes=source.statistics.used_bytes),
            chain=(),
            parent="",
            made_from=source.uuid,
        )


def _hash(row: Row) -> bytes:
    return row.hash if row.kind == RowKind.DATA else b""
