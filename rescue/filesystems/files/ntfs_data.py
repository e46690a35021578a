"""The content of NTFS streams: plain, sparse, and compressed by LZNT1.

NTFS Documentation, R. Russon and Y. Fledel, 2004, "Compression"; Microsoft [MS-XCA] section 2.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rescue.errors import FormatError
from rescue.filesystems.files import stored
from rescue.filesystems.files.ntfs_attributes import Joined
from rescue.filesystems.files.tree import PIECE
from rescue.filesystems.ntfs_mft import Run
from rescue.model.source import Source

_BLOCK: Final = 4096
_MAX_UNIT: Final = 16 << 20


def read_content(source: Source, cluster_size: int, data: Joined) -> Iterator[tuple[int, bytes]]:
    """The value of an attribute as :meth:`FileTree.read` gives it. Raises FormatError."""
    if data.value is not None:
        return iter([(0, data.value)] if data.value else [])
    if data.unit:
        return _compressed(source, cluster_size, data)
    runs = (
        stored.Run(run.vcn * cluster_size, run.lcn * cluster_size, run.length * cluster_size) for run in data.runs if run.lcn >= 0
    )
    return stored.read_runs(source, runs, data.initialized)


def _units(data: Joined) -> Iterator[tuple[int, list[Run], int]]:
    """For each compression unit with something in it: its first cluster, its runs, how many clusters of it are there."""
    number, runs, present = -1, list[Run](), 0
    for run in data.runs:
        if run.lcn < 0:
            continue
        vcn, lcn, length = run.vcn, run.lcn, run.length
        while length:
            if vcn // data.unit != number:
                if runs:
                    yield number * data.unit, runs, present
                number, runs, present = vcn // data.unit, [], 0
            take = min(length, (number + 1) * data.unit - vcn)
            runs.append(Run(vcn, lcn, take))
            present += take
            vcn, lcn, length = vcn + take, lcn + take, length - take
    if runs:
        yield number * data.unit, runs, present


def _compressed(source: Source, cluster_size: int, data: Joined) -> Iterator[tuple[int, bytes]]:
    """A unit that lacks clusters at its end is compressed, one with all of them is not, one with none is a hole."""
    size = data.unit * cluster_size
    if size > _MAX_UNIT:
        raise FormatError(f"NTFS: compression units of {size} bytes.")
    for first, runs, present in _units(data):
        offset = first * cluster_size
        if offset >= data.initialized:
            return
        packed = b"".join(source.pread(run.length * cluster_size, run.lcn * cluster_size) for run in runs)
        plain = packed if present == data.unit else lznt1(packed, size)
        plain = plain[: data.initialized - offset]
        for start in range(0, len(plain), PIECE):
            yield offset + start, plain[start : start + PIECE]


def lznt1(packed: bytes, size: int) -> bytes:
    """Unpack blocks of 4 KiB into exactly ``size`` bytes, zeros where the blocks end early. Raises FormatError."""
    answer = bytearray()
    position = 0
    while len(answer) < size and position + 2 <= len(packed):
        header = int.from_bytes(packed[position : position + 2], "little")
        if not header:
            break
        end = position + 3 + (header & 0xFFF)
        if end > len(packed):
            raise FormatError("NTFS: a compressed block is cut.")
        block = _unpack(packed, position + 2, end) if header & 0x8000 else packed[position + 2 : end]
        answer += block
        if len(block) < _BLOCK:
            answer += bytes(_BLOCK - len(block))
        position = end
    return bytes(answer[:size]) + bytes(max(size - len(answer), 0))


def _unpack(packed: bytes, position: int, end: int) -> bytes:
    """One block: a byte of flags, then eight literals or references, whose split into offset and length moves as it grows."""
    block = bytearray()
    while position < end:
        flags = packed[position]
        position += 1
        if not flags:
            block += packed[position : min(position + 8, end)]
            position += 8
            continue
        for bit in range(8):
            if position >= end:
                break
            if not flags >> bit & 1:
                block.append(packed[position])
                position += 1
                continue
            if position + 2 > end or not block:
                raise FormatError("NTFS: a compressed block is damaged.")
            token = packed[position] | packed[position + 1] << 8
            position += 2
            length_bits = 16 - max((len(block) - 1).bit_length(), 4)
            back = (token >> length_bits) + 1
            length = (token & (1 << length_bits) - 1) + 3
            if back > len(block) or len(block) + length > _BLOCK:
                raise FormatError("NTFS: a compressed block is damaged.")
            if back >= length:
                start = len(block) - back
                block += block[start : start + length]
            else:
                chunk = bytes(block[-back:])
                block += (chunk * (length // back + 1))[:length]
    if len(block) > _BLOCK:
        raise FormatError("NTFS: a compressed block is longer than 4 KiB.")
    return bytes(block)
