"""What verifying finds that no chunk's hash covers: a stock decoder would stumble over it, or give out something else."""

from __future__ import annotations

import random
import struct
from itertools import product
from pathlib import Path

import pytest
import zstandard

from rescue.engine.verify import DamagedImageError, verify_image
from rescue.errors import DamagedError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import RowKind, SeekEntry, pack_seek_table, zero_checksum
from rescue.images.frames import FrameUse
from rescue.images.frames import uses as all_uses
from rescue.model.extents import ExtentMap
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSource
from rescue.units import KIB, MIB
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


def test_every_byte_of_the_seek_table(tmp_path: Path) -> None:
    image = tmp_path / "speck.img.zst"
    write_image(small_disk(5, 1 * MIB, 64 * KIB), image)
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


def _broken(path: Path) -> DamagedImageError:
    with pytest.raises(DamagedImageError) as raised:
        _verify(path)
    return raised.value


def _flip(path: Path, *offsets: int) -> None:
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset] ^= 0x10
    path.write_bytes(content)


class TestAllOfIt:
    """A check does not stop at the first damage: all of it is found, with what it costs."""

    @pytest.fixture
    def image(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("rescue.images.writer._SEGMENT_SPAN", 2 * MIB)
        path = tmp_path / "image.img.zst"
        write_image(small_disk(4, 16 * MIB), path)
        return path

    def test_frames(self, image: Path) -> None:
        with Chain(image) as chain:
            uses = [use for use in all_uses(chain) if isinstance(use, FrameUse)]
            starts = [partition.start for partition in chain.layout.partitions]
            one, two = (
                next((use for use in uses if use.chunks[0].start >= start), uses[-1]) for start in starts
            )  # fmt: skip
        damaged = [uses[0], one, two]
        _flip(image, *(use.offset + use.length // 2 for use in damaged))
        error = _broken(image)
        assert error.count == len(error.places) == 3
        for use, place in zip(damaged, error.places, strict=True):
            assert f"byte {use.offset} of {image} ({use.length} bytes)" in place
            assert list(error.lost.overlapping(use.chunks[0].start, use.chunks[-1].end))
        assert [text.split(",")[0].split(":")[0] for text in error.places] == [
            "Byte 0 of the disk", "Partition 1", "Partition 2",
        ]  # fmt: skip
        whole = ExtentMap(sorted((chunk.start, chunk.end) for use in damaged for chunk in use.chunks))
        assert not error.lost.difference(whole)

    def test_a_segment_and_a_frame_behind_it(self, image: Path) -> None:
        with Chain(image) as chain:
            entry = chain.manifest.segments[1]
            later = next(row for row in chain.rows() if row.kind == RowKind.DATA and row.start >= entry.end)
        _flip(image, entry.offset + entry.length // 2, later.frame_offset + later.frame_length // 2)
        error = _broken(image)
        assert error.count == 2
        assert "Part 1 of its index" in error.places[0]
        assert ExtentMap([(entry.start, entry.end)]).difference(error.lost) == ExtentMap()
        assert list(error.lost.overlapping(later.start - later.in_frame, later.start - later.in_frame + later.frame_content))

    def test_what_costs_nothing(self, image: Path) -> None:
        """The seek table, and zeros that a stock decoder would give out: the disk is whole."""
        with Chain(image) as chain:
            table = chain.image.seek_table_offset
            frames = [use for use in all_uses(chain) if isinstance(use, FrameUse)]
        content = image.read_bytes()
        zeros = content.index(b"\x28\xb5\x2f\xfd\x80\x38")
        assert all(not use.offset <= zeros < use.offset + use.length for use in frames)
        _flip(image, table + 8 + 12 * 3 + 4, zeros + 10)
        error = _broken(image)
        assert error.count == 2
        assert not error.lost
        assert "nothing of the disk is lost" in error.message

    def test_a_medium_that_does_not_give_some_of_it(self, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with Chain(image) as chain:
            use = [use for use in all_uses(chain) if isinstance(use, FrameUse)][1]
        good = FileSource.pread_into

        def pread_into(source: FileSource, buffer: memoryview, offset: int) -> None:
            if offset == use.offset:
                raise SourceReadError("The medium is bad.", offset, len(buffer))
            good(source, buffer, offset)

        monkeypatch.setattr(FileSource, "pread_into", pread_into)
        error = _broken(image)
        assert error.count == 1
        assert "The medium is bad." in error.places[0]
        assert error.lost == ExtentMap(sorted((chunk.start, chunk.end) for chunk in use.chunks))

    def test_a_medium_that_is_gone(self, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """That is no damage of the image: it is told as what it is."""
        monkeypatch.setattr("rescue.engine.verify._GIVEN_UP", 3)

        def pread_into(source: FileSource, buffer: memoryview, offset: int) -> None:
            raise SourceReadError("The medium is gone.", offset, len(buffer))

        monkeypatch.setattr(FileSource, "pread_into", pread_into)
        with pytest.raises(SourceReadError, match="gone"):
            _verify(image)
