"""Runs of set bits against a bit-by-bit reading."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rescue.model.bitmap import set_runs

BYTES = st.lists(st.one_of(st.just(0), st.just(255), st.integers(0, 255)), max_size=40).map(bytes)


@given(BYTES, st.integers(0, 330))
def test_runs_are_the_set_bits(bitmap: bytes, bits: int) -> None:
    expected = {bit for bit in range(min(bits, len(bitmap) * 8)) if bitmap[bit // 8] >> bit % 8 & 1}
    runs = list(set_runs(bitmap, bits))
    assert {bit for start, end in runs for bit in range(start, end)} == expected
    assert all(a[1] < b[0] for a, b in itertools.pairwise(runs))
    assert all(start < end for start, end in runs)
