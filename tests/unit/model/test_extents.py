"""ExtentMap against plain sets of integers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rescue.model.extents import ExtentMap

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def as_set(extents: ExtentMap) -> set[int]:
    return {byte for start, end in extents for byte in range(start, end)}


def plain(pairs: list[tuple[int, int]]) -> set[int]:
    return {byte for start, end in pairs for byte in range(start, end)}


def well_formed(extents: ExtentMap) -> bool:
    listed = list(extents)
    return all(e.start < e.end for e in listed) and all(a.end < b.start for a, b in itertools.pairwise(listed))


@given(PAIRS)
def test_it_is_the_set_of_its_bytes(pairs: list[tuple[int, int]]) -> None:
    extents = ExtentMap(pairs)
    assert well_formed(extents)
    assert as_set(extents) == plain(pairs)
    assert extents.total == len(plain(pairs))
    assert extents.end == max(plain(pairs), default=-1) + 1
    assert all((byte in extents) == (byte in plain(pairs)) for byte in range(62))


@given(PAIRS, PAIRS)
def test_algebra(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = ExtentMap(one), ExtentMap(other)
    for found, expected in (
        (a.union(b), plain(one) | plain(other)),
        (a.intersection(b), plain(one) & plain(other)),
        (a.difference(b), plain(one) - plain(other)),
    ):
        assert well_formed(found)
        assert as_set(found) == expected


@given(PAIRS, st.integers(0, 60), st.integers(0, 60), st.integers(1, 9))
def test_cut_shift_complement_and_align(pairs: list[tuple[int, int]], start: int, end: int, unit: int) -> None:
    extents = ExtentMap(pairs)
    assert as_set(extents.clip(start, end)) == {byte for byte in plain(pairs) if start <= byte < end}
    assert as_set(extents.shift(7)) == {byte + 7 for byte in plain(pairs)}
    assert as_set(extents.complement(end)) == set(range(end)) - plain(pairs)
    widened = {wide for byte in plain(pairs) for wide in range(byte // unit * unit, min((byte // unit + 1) * unit, 60))}
    assert as_set(extents.align(unit, 60)) == widened
    assert ExtentMap(pairs) == extents
    assert hash(ExtentMap(pairs)) == hash(extents)
