"""However a part is cut up, all that is in use is in the pieces, once, and nothing that is written late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rescue.engine.regions import FRAME_SIZE
from rescue.engine.transfer_parts import CHUNK, Part, Piece, Span, late_ranges, merged, pieces, runs
from rescue.engine.transfer_record import Record
from rescue.model.extents import ExtentMap
from rescue.model.source import check_range
from rescue.units import KIB, MIB

_SECTOR = 512
_SIZE = 40 * MIB


class _Nothing:
    """A Source that nobody reads."""

    size = _SIZE

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        check_range(self.size, offset, length)
        return bytes(length)

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        """See Source."""
        buffer[:] = self.pread(len(buffer), offset)


_SECTORS = st.integers(0, _SIZE // _SECTOR)
_RANGES = st.lists(st.tuples(_SECTORS, st.integers(1, 9000)), max_size=12).map(
    lambda found: ExtentMap(sorted((start * _SECTOR, min((start + length) * _SECTOR, _SIZE)) for start, length in found))
)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    """Any part that goes anywhere."""
    start, end = sorted((draw(_SECTORS) * _SECTOR, draw(_SECTORS) * _SECTOR))
    target = draw(_SECTORS) * _SECTOR
    return Part("x", _Nothing(), draw(_RANGES), start, end, target, target + end - start + draw(st.sampled_from([0, MIB])))


def on_target(piece: Piece) -> ExtentMap:
    """Where the spans of a piece are on the target."""
    return ExtentMap((piece.target_start + span.start, piece.target_start + span.end) for span in piece.spans)


@given(parts(), _RANGES)
def test_all_that_is_in_use_is_written_and_nothing_late(part: Part, late: ExtentMap) -> None:
    shift = part.target_start - part.start
    used = ExtentMap((e.start + shift, e.end + shift) for e in part.extents.clip(part.start, part.end))
    wanted = used.difference(late)
    found = ExtentMap()
    last = 0
    for piece in pieces(list(part.without(late))):
        spans = on_target(piece)
        assert not found.intersection(spans)
        found = found.union(spans)
        assert piece.target_start >= last
        last = piece.target_start
        assert piece.spans[-1].end <= FRAME_SIZE
        assert all(0 < span.length <= CHUNK and span.start // CHUNK == (span.end - 1) // CHUNK for span in piece.spans)
        # What is read for it is what is in use, at the offsets that belong to it.
        for extent in piece.stretch.extents:
            assert part.start <= extent.start < extent.end <= part.end
            at = piece.target_start + extent.start - piece.stretch.start
            assert at == extent.start + shift
    assert not wanted.difference(found)
    assert not found.intersection(late)
    assert not found.difference(ExtentMap([(part.target_start, part.target_start + part.end - part.start)]))
    # What is in use is widened to its pages and, within a chunk, to one stretch: no chunk in which nothing is.
    near = ExtentMap((max(start - CHUNK - 4 * KIB, 0), end + CHUNK + 4 * KIB) for start, end in used)
    assert not found.difference(near)


@given(st.lists(parts(), max_size=3), st.data())
def test_the_record_gives_back_what_was_put_in(some: list[Part], data: st.DataObject) -> None:
    record = Record()
    expected = []
    for number, piece in enumerate(pieces(some)):
        mask = data.draw(st.integers(0, (1 << len(piece.spans)) - 1))
        hash_ = number.to_bytes(32, "big")
        record.add(mask, hash_)
        if mask:
            expected.append((tuple(s for i, s in enumerate(piece.spans) if mask & 1 << i), hash_))
    assert [(spans, hash_) for _, spans, hash_ in record.written(pieces(some))] == expected


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=20)), max_size=8))
def test_of_what_is_written_late_the_last_word_counts(table: list[tuple[int, bytes]]) -> None:
    whole = bytearray(100)
    touched = set()
    for offset, content in table:
        whole[offset : offset + len(content)] = content
        touched |= set(range(offset, offset + len(content)))
    found = merged(table)
    assert all(bytes(whole[offset : offset + len(content)]) == content for offset, content in found)
    assert {place for offset, content in found for place in range(offset, offset + len(content))} == touched
    assert late_ranges(found).total == len(touched)
    assert [offset for offset, _ in found] == sorted({offset for offset, _ in found})


def test_spans_that_touch_are_one_run() -> None:
    spans = [Span(0, 10), Span(10, 20), Span(30, 40), Span(40, 41), Span(50, 60)]
    assert list(runs(spans)) == [Span(0, 20), Span(30, 41), Span(50, 60)]
    assert list(runs([])) == []
