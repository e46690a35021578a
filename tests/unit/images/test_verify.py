"""What verifying finds that no chunk's hash covers: a stock decoder would stumble over it, or give out something else."""

from __future__ import annotations

import random
import struct
from itertools import product
from pathlib import Path

import pytest
import zstandard

from rescue.engine.verify import verify_image
from rescue.errors import DamagedError
from rescue.images.chain import Chain
from rescue.images.format import RowKind, SeekEntry, pack_seek_table, zero_checksum
from rescue.model.progress import CancelToken
from rescue.units import MIB
from tests.unit.images.disks import small_disk, write_image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.img.zst"
    write_image(small_disk(5, 9 * MIB), path)
    return path


def _verify(path: Path) -> int:
    return verify_image(
        str(path), token=CancelToken(), progress=lambda done, total: None, notify=lambda message: None
    ).checked_bytes


def _first_frame(path: Path) -> tuple[int, int, int]:
    with Chain(path) as chain:
        row = next(row for row in chain.rows() if row.kind == RowKind.DATA)
    return row.frame_offset, row.frame_length, row.frame_content


@pytest.mark.parametrize("byte", [-1, -2, -3, -4])
def test_the_checksum_of_a_frame(image: Path, byte: int) -> None:
    assert _verify(image)
    offset, length, _ = _first_frame(image)
    content = bytearray(image.read_bytes())
    content[offset + length + byte] ^= 1 << random.Random(byte).randrange(8)
    image.write_bytes(content)
    with pytest.raises(DamagedError, match="checksum"):
        _verify(image)


def test_every_byte_of_the_seek_table(image: Path) -> None:
    content = image.read_bytes()
    with Chain(image) as chain:
        start = chain.image.seek_table_offset
    for position in range(start, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x41
        image.write_bytes(damaged)
        with pytest.raises(DamagedError):
            _verify(image)


def test_something_that_is_not_zeros_between_the_chunks(image: Path) -> None:
    """A frame made anew by somebody who knows the format, with the same chunks: only its holes are another."""
    with Chain(image) as chain:
        rows = [row for row in chain.rows() if row.kind == RowKind.DATA]
        first = next(
            row for row in rows
            if row.frame_content > sum(r.length for r in rows if r.frame_offset == row.frame_offset)
        )  # fmt: skip
        offset, length = first.frame_offset, first.frame_length
        covered = {(r.in_frame, r.in_frame + r.length) for r in rows if r.frame_offset == offset}
        hole = next(at for at in range(first.frame_content) if not any(low <= at < high for low, high in covered))
        entries = chain.image.seek_entries()
        table = chain.image.seek_table_offset
    content = bytearray(image.read_bytes())
    plain = bytearray(zstandard.ZstdDecompressor().decompress(bytes(content[offset : offset + length])))
    # What is missing to the old length is made up by empty blocks, of three bytes each: a decoder takes any number of them.
    made = b""
    for level, value in product(range(1, 20), range(1, 20)):
        plain[hole] = value
        made = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(bytes(plain))
        if len(made) <= length and (length - len(made)) % 3 == 0:
            break
    assert (length - len(made)) % 3 == 0 <= length - len(made)
    checksum = made[-4:]
    body = bytearray(made[:-4])
    head = zstandard.frame_header_size(made)
    body[head:head] = bytes(length - len(made))
    content[offset : offset + length] = body + checksum
    entries = [
        entry._replace(checksum=struct.unpack("<I", checksum)[0])
        if sum(e.stored for e in entries[:number]) == offset else entry
        for number, entry in enumerate(entries)
    ]  # fmt: skip
    image.write_bytes(content[:table] + pack_seek_table(entries))
    with pytest.raises(DamagedError, match="not zeros"):
        _verify(image)


def test_the_checksum_of_zeros_is_that_of_a_frame() -> None:
    for length in (1, 1000, MIB, MIB + 1, 5 * MIB - 7):
        frame = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(length))
        assert zero_checksum(length) == int.from_bytes(frame[-4:], "little")
    assert SeekEntry(1).checksum == int.from_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(b"")[-4:], "little")
