"""The file of rescued bytes: what was added is there again, whatever a power cut did to the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.engine.rescued_data import RescuedData
from rescue.errors import RescueError
from rescue.model.extents import ExtentMap

_SIZE = 64


@given(st.lists(st.tuples(st.integers(0, _SIZE - 1), st.binary(min_size=1, max_size=20)), max_size=12), st.booleans())
def test_the_last_word_on_each_byte_wins(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, bytes]], again: bool
) -> None:
    path = tmp_path_factory.mktemp("rescued") / "rescued"
    expected: dict[int, int] = {}
    with RescuedData(path, _SIZE) as kept:
        for start, data in writes:
            data = data[: _SIZE - start]
            kept.add(start, data)
            expected.update(enumerate(data, start))
        if not again:
            _holds(kept, expected)
    with RescuedData(path, _SIZE) as kept:
        _holds(kept, expected)


def _holds(kept: RescuedData, expected: dict[int, int]) -> None:
    assert kept.extents == ExtentMap((n, n + 1) for n in sorted(expected))
    for start, end in kept.extents:
        buffer = bytearray(end - start)
        kept.read_into(memoryview(buffer), start)
        assert list(buffer) == [expected[n] for n in range(start, end)]


@pytest.mark.parametrize("cut", range(0, 96, 5))
def test_a_file_that_was_cut_gives_its_whole_records(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rescued"
    with RescuedData(path, _SIZE) as kept:
        kept.add(0, b"first!!!")
        kept.add(32, b"second!!")
    assert path.stat().st_size == 96
    path.write_bytes(path.read_bytes()[:cut])
    with RescuedData(path, _SIZE) as kept:
        assert kept.extents == ExtentMap([(0, 8)] if cut >= 48 else [])
        kept.add(8, b"third")  # goes where the halved record was
    with RescuedData(path, _SIZE) as kept:
        assert kept.extents == ExtentMap([(0, 13)] if cut >= 48 else [(8, 13)])


@pytest.mark.parametrize("place", range(0, 48, 3))
def test_a_flipped_bit_is_not_believed(tmp_path: Path, place: int) -> None:
    path = tmp_path / "rescued"
    with RescuedData(path, _SIZE) as kept:
        kept.add(0, b"first!!!")
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with RescuedData(path, _SIZE) as kept:
        assert not kept.extents


def test_what_is_not_held_cannot_be_read(tmp_path: Path) -> None:
    with RescuedData(tmp_path / "rescued", _SIZE) as kept:
        kept.add(8, bytes(8))
        for start, length in ((0, 4), (6, 4), (14, 4), (20, 1)):
            with pytest.raises(RescueError, match="does not hold"):
                kept.read_into(memoryview(bytearray(length)), start)


def test_a_file_that_something_else_cut_is_said(tmp_path: Path) -> None:
    with RescuedData(tmp_path / "rescued", _SIZE) as kept:
        kept.add(8, bytes(8))
        (tmp_path / "rescued").write_bytes(b"")
        with pytest.raises(RescueError, match="cut short"):
            kept.read_into(memoryview(bytearray(8)), 8)


def test_it_needs_a_place(tmp_path: Path) -> None:
    with pytest.raises(RescueError, match="cannot be opened"):
        RescuedData(tmp_path / "nowhere" / "rescued", _SIZE)
