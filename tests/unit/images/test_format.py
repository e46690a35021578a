"""The bytes of the format, against the Zstandard library and against damage."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rescue.errors import DamagedError, FormatError, RescueError, UnsupportedError
from rescue.images.format import MAX_ZERO_FRAME, Header, Row, RowKind, Trailer, chunk_size_for, zero_frame
from rescue.images.segment import SegmentEntry, pack_row, pack_segment, unpack_segment
from rescue.units import GIB, KIB, MIB, TIB

HEADER = Header(uuid=bytes(range(16)), disk_size=64 * MIB, created=1_700_000_000, chunk_size=256 * KIB, frame_limit=8 * MIB)


@given(st.integers(1, 3 * MIB))
def test_a_zero_frame_is_what_a_stock_decoder_reads_as_zeros(length: int) -> None:
    frame = zero_frame(length)
    assert zstandard.frame_content_size(frame) == length
    assert zstandard.ZstdDecompressor(max_window_size=128 * KIB).decompress(frame) == bytes(length)


def test_the_largest_zero_frame_needs_a_small_window_and_little_space() -> None:
    frame = zero_frame(MAX_ZERO_FRAME)
    assert len(frame) < 33 * KIB
    parameters = zstandard.get_frame_parameters(frame)
    assert (parameters.content_size, parameters.window_size) == (GIB, 128 * KIB)


def test_header_round_trip() -> None:
    assert Header.unpack(HEADER.pack()) == HEADER
    assert len(HEADER.pack()) == 128


@given(st.integers(0, 128 * 8 - 1))
def test_every_flipped_bit_of_a_header_is_found(bit: int) -> None:
    damaged = bytearray(HEADER.pack())
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FormatError) if bit < 80 else pytest.raises(DamagedError):
        try:
            Header.unpack(bytes(damaged))
        except DamagedError as error:
            if bit < 80:  # tag and version have sentences of their own; the length has not
                raise FormatError("as good") from error
            raise


def test_version_99_is_refused_by_name() -> None:
    packed = bytearray(HEADER.pack())
    packed[8:10] = (99).to_bytes(2, "little")
    with pytest.raises(UnsupportedError, match="version 99"):
        Header.unpack(bytes(packed))


@pytest.mark.parametrize(
    ("disk", "chunk"), [(GIB, 256 * KIB), (2 * TIB, 256 * KIB), (2 * TIB + 1, 512 * KIB), (8 * TIB, MIB), (1 << 61, 8 * MIB)]
)
def test_chunk_sizes_keep_the_index_small(disk: int, chunk: int) -> None:
    assert chunk_size_for(disk) == chunk


@given(st.integers(0, 112 * 8 - 1))
def test_every_flipped_bit_of_a_trailer_is_found(bit: int) -> None:
    trailer = Trailer(bytes(range(16)), 1000, 2000, bytes(range(32)))
    packed = trailer.pack()
    assert Trailer.unpack(packed) == trailer
    damaged = bytearray(packed)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedError):
        Trailer.unpack(bytes(damaged))


ROW = st.one_of(
    st.tuples(st.just(RowKind.HOLE), st.integers(1, 1 << 40)),
    st.tuples(st.just(RowKind.ZERO), st.integers(1, 1 << 40)),
    st.tuples(st.just(RowKind.DATA), st.integers(1, 256 * KIB)),
)


def _rows(kinds: list[tuple[RowKind, int]]) -> list[Row]:
    rows = []
    position = 0
    for kind, length in kinds:
        data = kind is RowKind.DATA
        rows.append(
            Row(kind, position, length, 0, 7 if data else 0, 300 if data else 0, 10 if data else 0, length + 7 if data else 0,
                bytes(range(32)) if data else bytes(32))
        )  # fmt: skip
        position += length
    return rows


def _segment(number: int, rows: list[Row]) -> bytes:
    return pack_segment(HEADER.uuid, number, b"".join(map(pack_row, rows)), rows[0].start, rows[-1].end)


def _entry(payload: bytes, rows: list[Row]) -> SegmentEntry:
    return SegmentEntry(0, len(payload), 0, rows[-1].end, len(rows), payload[-32:].hex())


@given(st.lists(ROW, min_size=1, max_size=30))
def test_segment_round_trip(kinds: list[tuple[RowKind, int]]) -> None:
    rows = _rows(kinds)
    payload = _segment(3, rows)
    assert list(unpack_segment(payload, HEADER, 3, _entry(payload, rows))) == rows


@pytest.mark.parametrize(
    "bad",
    [
        Row(4, 0, 10),
        Row(RowKind.DATA, 0, 256 * KIB + 1, 0, 0, 300, 10, 8 * MIB, bytes(32)),
        Row(RowKind.DATA, 0, 100, 0, 0, 300, 10, 8 * MIB + 1, bytes(32)),
        Row(RowKind.DATA, 0, 100, 0, 1, 300, 10, 100, bytes(32)),
        Row(RowKind.DATA, 0, 100, 0, 0, 300, 0, 100, bytes(32)),
        Row(RowKind.ZERO, 0, 0),
    ],
)
def test_rows_with_impossible_numbers_are_refused(bad: Row) -> None:
    payload = _segment(0, [bad])
    with pytest.raises(RescueError):
        list(unpack_segment(payload, HEADER, 0, _entry(payload, [bad])))
