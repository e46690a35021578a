"""Sources put together of others, with zeros between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.model.source import BytesSource
from rescue.volumes.composed import Composed


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=9)), max_size=5), st.integers(0, 9), st.data())
def test_any_bytes(drawn: list[tuple[int, bytes]], behind: int, data: st.DataObject) -> None:
    parts, whole = [], b""
    for gap, content in drawn:
        whole += bytes(gap)
        parts.append((len(whole), BytesSource(content)))
        whole += content
    whole += bytes(behind)
    made = Composed(len(whole), parts[::-1])
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    assert made.pread(end - start, start) == whole[start:end]
    with pytest.raises(FormatError):
        made.pread(1, len(whole))


@pytest.mark.parametrize("parts", [[(0, 4), (3, 4)], [(7, 4)], [(-1, 2)]])
def test_parts_that_do_not_fit(parts: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="overlap others"):
        Composed(10, [(start, BytesSource(bytes(length))) for start, length in parts])
