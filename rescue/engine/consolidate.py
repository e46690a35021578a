"""Consolidate: a full image out of an image and its chain, by copying its frames; only what must be is compressed anew."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import NamedTuple

import msgspec

from rescue import __version__
from rescue.engine.confirm import Confirmation
from rescue.engine.effort import Effort
from rescue.engine.pieces import Piece, pieces
from rescue.engine.pipeline import Buffers, run_ordered, worker_count
from rescue.engine.stored import Stored, StoredBuffers
from rescue.images.begun import Begun
from rescue.images.chain import Chain
from rescue.images.cipher import Cipher, Scratch
from rescue.images.crypto import ImageKeys
from rescue.images.format import Header, Kind, Row, RowKind
from rescue.images.frames import FrameDecoder
from rescue.images.keyslots import KeyArea
from rescue.images.manifest import Manifest, Statistics
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.view import ImageView
from rescue.images.writer import Chunk, ImageWriter, Output
from rescue.model.progress import CancelToken
from rescue.records import replace


class ConsolidateResult(msgspec.Struct, frozen=True):
    """What was written. Sizes in bytes; of ``data_bytes`` (of the disk), ``recompressed_bytes`` were compressed anew.

    Of what an interrupted attempt had written before, none is counted as that.
    """

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
    begun: Begun | None = None,
    go_on: Callable[[int], None] = lambda length: None,
) -> ConsolidateResult:
    """Write a full image of the disk in ``chain`` to ``output``. Every chunk is checked by its hash on the way.

    ``begun`` is what :func:`confirmed` found of an interrupted attempt; ``go_on`` is called with the bytes of it that stay.

    An encrypted one gets keys of its own, which ``secrets`` open; its hash key is that of the chain, so that chunks can be
    compared. ``progress`` is told bytes of data done and in all. Raises DamagedError, FormatError, UsageError (encrypted, and
    no secrets), TargetWriteError, CancelledError.
    """
    if begun is not None:
        writer = ImageWriter(output, begun.header, Cipher(begun.header, begun.keys), begun.key_area, begun)
        go_on(begun.length)
        return _Consolidation(chain, begun.header, token, progress, begun.disk_position).run(writer)
    header = replace(chain.header, uuid=uuid.uuid4().bytes, kind=Kind.FULL, parent=bytes(32))
    keys: ImageKeys | None = None
    key_area = b""
    if chain.image.keys is not None:
        keys = ImageKeys.child(chain.image.keys)
        key_area = KeyArea.new(header.binding, secrets, keys).pack()
    writer = ImageWriter(output, header, Cipher(header, keys), key_area)
    return _Consolidation(chain, header, token, progress).run(writer)


def confirmed(chain: Chain, begun: Begun | None) -> Begun | None:
    """What an interrupted attempt wrote of the full image of ``chain``, up to where its frames and its index are right; or None.

    Reads and checks all of it: of what a computer wrote before its power was cut, a late part may be there and an earlier
    one not. Raises DamagedError, FormatError when the index of the chain is damaged.
    """
    if begun is None or not _is_of(chain, begun):
        return None
    buffer = memoryview(bytearray(begun.header.frame_limit))
    cuts = _pieces(chain, begun.header)
    good = 0
    for rows in Confirmation(begun, 1).stored_segments(buffer):
        wanted: list[Row] = []
        while not wanted or wanted[-1].end < rows[-1].end:
            wanted += next(cuts).rows
        # It goes on where a piece begins, as the attempt before did.
        if _merged(wanted) != _merged(rows):
            break
        good += 1
    return begun.up_to(good) if good else None


def _is_of(chain: Chain, begun: Begun) -> bool:
    """Whether its header is that of the full image of a chain, and its chunks are hashed with the same key."""
    same = replace(chain.header, uuid=begun.header.uuid, kind=Kind.FULL, parent=bytes(32)) == begun.header
    above, own = chain.image.keys, begun.keys
    return same and (above.hash_key if above else None) == (own.hash_key if own else None)


def _merged(rows: Sequence[Row]) -> list[tuple[int, int, int, bytes]]:
    """Kind, start, end and hash, neighbours without data of one kind as one."""
    found: list[tuple[int, int, int, bytes]] = []
    for row in rows:
        if found and row.kind != RowKind.DATA and found[-1][0] == row.kind:
            found[-1] = (row.kind, found[-1][1], row.end, b"")
        else:
            found.append((row.kind, row.start, row.end, _hash(row)))
    return found


def _pieces(chain: Chain, header: Header) -> Iterator[Piece]:
    for number in range(len(chain.manifest.segments)):
        yield from pieces(list(chain.segment_rows(number)), header)


class _Consolidation:
    def __init__(
        self, chain: Chain, header: Header, token: CancelToken, progress: Callable[[int, int], None], start: int = 0
    ) -> None:
        self._chain = chain
        self._header = header
        self._start = start  # on the disk: what is before it was written
        self._before = 0  # bytes of data there
        self._token = token
        self._progress = progress
        self._workers = worker_count()
        self._window = 2 * self._workers + 2
        self._stored = StoredBuffers(chain, self._window + 1)
        self._buffers = Buffers(self._workers, header.frame_limit, header.disk_size)
        self._decoders: SimpleQueue[FrameDecoder] = SimpleQueue()
        for _ in range(self._workers):
            self._decoders.put(FrameDecoder())
        self._effort = Effort(0)
        self._view = ImageView(chain, bad_as_zeros=True, as_stored=True)

    def run(self, writer: ImageWriter) -> ConsolidateResult:
        total = self._chain.manifest.statistics.data_bytes
        done = again = 0
        self._progress(0, total)
        todo = self._todo()

        def consume(packed: _Packed) -> None:
            nonlocal done, again
            self._token.check()
            writer.add([Chunk(RowKind(row.kind), row.length, _hash(row)) for row in packed.piece.rows], packed.stored)
            size = packed.piece.data_bytes
            done += size
            again += 0 if packed.copied else size
            self._progress(self._before + done, max(total, self._before + done))

        run_ordered(self._load(todo), self._pack, consume, workers=self._workers, window=self._window)
        fingerprint = writer.finish(self._manifest())
        return ConsolidateResult(self._header.uuid_text, fingerprint, writer.stored_size, self._before + done, again)

    def _todo(self) -> Iterator[Piece]:
        """The pieces behind what was written; those before it are counted."""
        cuts = _pieces(self._chain, self._header)
        position = 0
        while position < self._start:
            piece = next(cuts)
            position = piece.rows[-1].end
            self._before += piece.data_bytes
        return cuts

    def _load(self, todo: Iterator[Piece]) -> Iterator[_Loaded]:
        for piece in todo:
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
            return bytes(file.cipher.open_frame(stored.frame, use.offset, Scratch()))
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
        return replace(
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
