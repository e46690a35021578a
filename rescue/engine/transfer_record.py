"""What a transfer wrote, kept in 36 bytes for each piece of up to 8 MiB, so that it can be read back and compared."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from blake3 import blake3

from rescue.engine.transfer_parts import Piece, Span

_HASH: Final = 32


def digest(data: bytes | memoryview) -> bytes:
    """BLAKE3."""
    return blake3(data).digest()


@lru_cache(maxsize=128)  # of most chunks it is one length
def digest_of_zeros(length: int) -> bytes:
    """BLAKE3 of so many zeros."""
    return digest(bytes(length))


class Record:
    """Of each piece, in order: which of its spans are to be proved (a bit each), and the hash of their hashes."""

    def __init__(self) -> None:
        self._masks = array("Q")
        self._hashes = bytearray()

    def add(self, proved: int, hash_: bytes) -> None:
        """The next piece: the bits of the spans that were written, and the hash of their hashes."""
        self._masks.append(proved)
        if proved:
            self._hashes += hash_

    def written(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, tuple[Span, ...], bytes]]:
        """The pieces (those that were added, in the same order) of which something was written, with that and its hash."""
        position = 0
        for piece, mask in zip(pieces, self._masks, strict=False):
            if mask:
                spans = tuple(span for index, span in enumerate(piece.spans) if mask >> index & 1)
                yield piece, spans, bytes(self._hashes[position : position + _HASH])
                position += _HASH
