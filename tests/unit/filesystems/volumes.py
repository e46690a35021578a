"""Small volumes in memory: packed ones from tests/data, changed byte by byte, and what was read of them."""

from __future__ import annotations

import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.model.source import Source, check_range
from rescue.model.volume import UsedMap

_DATA = Path(__file__).parents[2] / "data" / "filesystems"
_BLOCK = 4096

Flip = tuple[int, int, int]  # which read, where in it, what to XOR with
FLIPS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 65_535), st.integers(1, 255)), min_size=1, max_size=6)


class SparseVolume:
    """A Source and a Sink of which only the blocks that are not zero take memory. ``reads`` are the ranges read so far."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._blocks: dict[int, bytearray] = {}
        self.reads: list[tuple[int, int]] = []

    @staticmethod
    def load(name: str) -> SparseVolume:
        """A volume as tests/data/filesystems/make.py packed it."""
        data = lzma.decompress((_DATA / name).read_bytes())
        volume = SparseVolume(struct.unpack_from("<Q", data)[0])
        for position in range(8, len(data), 8 + _BLOCK):
            (offset,) = struct.unpack_from("<Q", data, position)
            volume._blocks[offset // _BLOCK] = bytearray(data[position + 8 : position + 8 + _BLOCK])
        return volume

    def copy(self) -> SparseVolume:
        """A volume with the same content, which can be changed on its own."""
        twin = SparseVolume(self._size)
        twin._blocks = {number: bytearray(block) for number, block in self._blocks.items()}
        return twin

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def pread(self, length: int, offset: int) -> bytes:
        """See Source. More than 4 MiB at once is what no reader of small structures may ask for."""
        assert length <= 4 << 20
        check_range(self._size, offset, length)
        self.reads.append((offset, length))
        first, last = offset // _BLOCK, -(-(offset + length) // _BLOCK)
        data = b"".join(bytes(self._blocks.get(number, b"")) or bytes(_BLOCK) for number in range(first, last))
        return data[offset - first * _BLOCK :][:length]

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)

    def write(self, data: bytes, offset: int) -> None:
        """Change bytes."""
        check_range(self._size, offset, len(data))
        for index, byte in enumerate(data, offset):
            self._blocks.setdefault(index // _BLOCK, bytearray(_BLOCK))[index % _BLOCK] = byte

    def resize(self, size: int) -> None:
        """Cut the volume or let it grow by zeros."""
        self._size = size


def damaged(volume: SparseVolume, used_map: Callable[[Source], UsedMap], flips: list[Flip]) -> SparseVolume:
    """A copy with bytes changed among those that ``used_map`` reads, so that no flip goes unseen."""
    if not volume.reads:
        used_map(volume)
    reads = list(volume.reads)
    twin = volume.copy()
    for which, place, mask in flips:
        offset, length = reads[which % len(reads)]
        position = offset + place % length
        twin.write(bytes([twin.pread(1, position)[0] ^ mask]), position)
    twin.reads.clear()
    return twin


def bears(volume: Source, used_map: Callable[[Source], UsedMap]) -> None:
    """Assert that a map is made that lies inside the volume, or that it is refused with FormatError."""
    try:
        used = used_map(volume)
    except FormatError:
        return
    assert 0 < used.extents.total <= volume.size
    assert used.extents.end <= volume.size
    if used.whole_because:
        assert used.extents.total == volume.size
        assert used.whole_because.endswith(".")


def refused(volume: Source, used_map: Callable[[Source], UsedMap], words: str) -> None:
    """Assert that FormatError is raised with these words."""
    with pytest.raises(FormatError, match=words):
        used_map(volume)
