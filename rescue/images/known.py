"""The chunks that a chain holds already, by their hashes: what an incremental backup need not store again."""

from __future__ import annotations

from array import array
from typing import Final

from rescue.errors import RefusedError
from rescue.images.chain import Chain
from rescue.images.format import MAX_FILES, ROW_SIZE, Kind, Row, RowKind, pack_row, unpack_row
from rescue.images.manifest import ChainMember

_EMPTY: Final = 0xFFFFFFFF


class KnownChunks:
    """Finds an equal chunk in a chain. 64 bytes of memory a chunk and about 8 for the table; lookups may come from many threads.

    ``members`` is the chain of an image that is made upon this one; the rows that are given carry its numbers.
    """

    def __init__(self, chain: Chain, *, only_full: bool = False) -> None:
        """``only_full`` leaves out what is not in the chain's full image: for a differential image. Raises as Chain.rows."""
        self.members = _members(chain)
        if len(self.members) >= MAX_FILES:
            raise RefusedError("The chain has too many images.", "Make a full backup.")
        full = next(number for number, member in enumerate(self.members, 1) if member.kind == Kind.FULL.word)
        if only_full:
            self.members = (self.members[full - 1],)
        self._rows = bytearray()
        for row in chain.rows():
            if row.kind != RowKind.DATA or (only_full and row.file != full - 1):
                continue
            # The image itself is the first of the members, the files of its chain follow in their order.
            self._rows += pack_row(row._replace(file=1 if only_full else row.file + 1))
        self._build()

    def _build(self) -> None:
        """An open-addressed table of row numbers, at most half full, by the first bytes of the hashes."""
        count = len(self._rows) // ROW_SIZE
        size = 1024
        while size < 2 * count:
            size *= 2
        self._mask = size - 1
        self._table = table = array("I", [_EMPTY]) * size
        rows, mask = self._rows, self._mask
        for number in range(count):
            end = (number + 1) * ROW_SIZE
            slot = int.from_bytes(rows[end - 32 : end - 24], "little") & mask
            while table[slot] != _EMPTY:
                slot = (slot + 1) & mask
            table[slot] = number

    def find(self, digest: bytes, length: int) -> Row | None:
        """The row of a chunk of this hash and length. Its file number is that in ``members``, its start means nothing."""
        slot = int.from_bytes(digest[:8], "little") & self._mask
        while (number := self._table[slot]) != _EMPTY:
            end = (number + 1) * ROW_SIZE
            if self._rows[end - 32 : end] == digest:
                row = unpack_row(self._rows, end - ROW_SIZE)
                if row.length == length:
                    return row
            slot = (slot + 1) & self._mask
        return None


def _members(chain: Chain) -> tuple[ChainMember, ...]:
    manifest = chain.manifest
    own = ChainMember(
        manifest.uuid, chain.fingerprint, chain.image.name, manifest.kind, manifest.created, manifest.statistics.own_bytes
    )
    return (own, *manifest.chain)
