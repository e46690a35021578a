"""The chunks that a chain holds already, by their hashes: what an incremental backup need not store again."""

from __future__ import annotations

import struct
from array import array
from itertools import compress
from typing import Final

from rescue.errors import FormatError, RefusedError
from rescue.images.chain import Chain
from rescue.images.format import MAX_FILES, Kind
from rescue.images.manifest import ChainMember
from rescue.images.segment import ROW_SIZE, data_flags
from rescue.units import MIB

_EMPTY: Final = 0xFFFFFFFF
_HASHES: Final = struct.Struct("<2xH28x32s")  # of a row: its file, its hash
_SIZES: Final = struct.Struct("<8xQ12xI")  # of a row: its length, the bytes of content of its frame
_FILE: Final = struct.Struct("<2xH")
# 576 MiB of rows: more than a disk of any size has chunks (docs/image-format.md, section 9), unless its image was made to
# take memory. What is beyond it is stored again.
MAX_KNOWN: Final = 9 << 20
FRAME_LIMIT: Final = 8 * MIB  # an image's header has to allow for the frames of its chain, and this program writes no larger ones


class KnownChunks:
    """Finds an equal chunk in a chain. 64 bytes of memory a chunk and 6 to 12 for the table; lookups may come from many threads.

    ``members`` is the chain of an image that is made upon this one; the rows that are given carry its numbers.
    """

    def __init__(self, chain: Chain, *, only_full: bool = False, limit: int = MAX_KNOWN) -> None:
        """``only_full`` leaves out what is not in the chain's full image: for a differential image.

        At most ``limit`` rows are kept; frames of more than FRAME_LIMIT bytes of content are not referred to.
        Raises as Chain.segment_table; RefusedError for a chain that is too long.
        """
        self.members = members_of(chain)
        if len(self.members) >= MAX_FILES:
            raise RefusedError("The chain has too many images.", "Make a full backup.")
        # The image itself is the first of the members, the files of its chain follow in their order.
        self._shift = 1
        only = None
        if only_full:
            if self.members[-1].kind != Kind.FULL.word:
                raise FormatError(f"{chain.path}: its chain does not end in a full image.")
            only = len(self.members) - 1
            self._shift -= only
            self.members = self.members[-1:]
        size = 1024
        count = min(sum(entry.rows for entry in chain.manifest.segments), limit)
        while size < count + count // 2:
            size *= 2
        self._mask = size - 1
        self._table = array("I", [_EMPTY]) * size
        self._rows = bytearray(count * ROW_SIZE)
        self._count = 0
        for number in range(len(chain.manifest.segments)):
            self._take(chain.segment_table(number)[: (count - self._count) * ROW_SIZE], only)

    def _take(self, rows: bytes, only: int | None) -> None:
        """Add a checked table of rows; of its DATA rows those in file ``only``, of equal ones the first."""
        first = self._count
        self._count += len(rows) // ROW_SIZE
        kept, table, mask = self._rows, self._table, self._mask
        memoryview(kept)[first * ROW_SIZE : self._count * ROW_SIZE] = rows
        numbers = range(first, self._count)
        for number, (file, digest) in compress(zip(numbers, _HASHES.iter_unpack(rows), strict=True), data_flags(rows)):
            if only is not None and file != only:
                continue
            # Python's own hash of bytes is keyed at random: nobody can make an image whose rows all fall into one place.
            slot = hash(digest) & mask
            while (other := table[slot]) != _EMPTY:
                if kept[other * ROW_SIZE + 32 : (other + 1) * ROW_SIZE] == digest:
                    break
                slot = (slot + 1) & mask
            else:
                table[slot] = number

    def find(self, digest: bytes, length: int) -> bytes:
        """The packed row of a chunk of this hash and length, with its file number in ``members``; empty if there is none."""
        slot = hash(digest) & self._mask
        while (number := self._table[slot]) != _EMPTY:
            start = number * ROW_SIZE
            if self._rows[start + 32 : start + ROW_SIZE] == digest:
                known, content = _SIZES.unpack_from(self._rows, start)
                # Equal hashes of other lengths are a lie of that image; its bytes would not be found right.
                if known != length or content > FRAME_LIMIT:
                    return b""
                row = self._rows[start : start + ROW_SIZE]
                if self._shift:
                    row[2:4] = (_FILE.unpack_from(row)[0] + self._shift).to_bytes(2, "little")
                return bytes(row)
            slot = (slot + 1) & self._mask
        return b""


def members_of(chain: Chain) -> tuple[ChainMember, ...]:
    """The chain of an image that is made upon this one: the image itself, then the files of its chain in their order."""
    manifest = chain.manifest
    own = ChainMember(
        manifest.uuid, chain.fingerprint, chain.image.name, manifest.kind, manifest.created, manifest.statistics.own_bytes,
        chain.image.keys.to_bytes().hex() if chain.image.keys else "",
    )  # fmt: skip
    return (own, *manifest.chain)
