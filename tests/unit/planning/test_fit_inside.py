"""Sharing out a container's room: never too much, never below what is needed, and swap space gives way last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rescue.model.container import Bears
from rescue.planning.fit_inside import can_grow, least_of, sizes_in
from rescue.units import GIB, MIB

_EXTENT = 4 * MIB


def _leaf(name: str, size: int, least: int, kind: str = "ext4", *, grows: bool = True) -> Bears:
    return Bears(("", name), kind, size, least, can_grow=grows)


def _locked(size: int, *volumes: Bears) -> Bears:
    """LVM on LUKS."""
    inner = Bears(("",), "LVM2_member", size - 16 * MIB, size, overhead=MIB, grain=_EXTENT, inside=volumes)
    return Bears((), "crypto_LUKS", size, size, overhead=16 * MIB, grain=4096, inside=(inner,))


_DEBIAN = _locked(
    20 * GIB,
    _leaf("root", 8 * GIB, 3 * GIB),
    _leaf("swap", GIB, MIB, "swap", grows=False),
    _leaf("home", 8 * GIB, GIB),
)  # fmt: skip


def test_growing_goes_to_what_can_grow_and_leaves_free_what_was_free() -> None:
    sizes = sizes_in(_DEBIAN, 40 * GIB)
    assert sizes[()] == 40 * GIB
    assert sizes[("",)] == 40 * GIB - 16 * MIB
    assert sizes["", "swap"] == GIB
    assert sizes["", "root"] == sizes["", "home"] == 18 * GIB


def test_shrinking_takes_what_is_free_first() -> None:
    assert sizes_in(_DEBIAN, 18 * GIB)["", "root"] == 8 * GIB
    sizes = sizes_in(_DEBIAN, 9 * GIB)
    assert sizes["", "swap"] == GIB
    assert sizes["", "root"] + sizes["", "home"] == (8 * GIB - 17 * MIB) // _EXTENT * _EXTENT
    assert abs(sizes["", "root"] - sizes["", "home"]) <= _EXTENT


def test_swap_gives_way_last() -> None:
    least = least_of(_DEBIAN)
    assert least == 16 * MIB + MIB + 4 * GIB + _EXTENT
    sizes = sizes_in(_DEBIAN, least)
    assert sizes["", "swap"] == _EXTENT
    assert (sizes["", "root"], sizes["", "home"]) == (3 * GIB, GIB)


def test_what_cannot_be_laid_out_anew_keeps_its_size() -> None:
    held = Bears((), "LVM2_member", GIB, GIB, because="Its volume pool is not a plain linear one.")
    assert least_of(held) == GIB
    assert not can_grow(held)
    # Also where it is in another one.
    outer = Bears((), "crypto_LUKS", 2 * GIB, 2 * GIB, overhead=16 * MIB, grain=512, inside=(held,))
    assert not can_grow(outer)
    assert least_of(outer) == GIB + 16 * MIB


_volumes = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500), st.booleans(), st.booleans()), min_size=1, max_size=6)


@given(_volumes, st.integers(0, 300), st.integers(0, 4000), st.integers(0, 4095))
def test_any_size(drawn: list[tuple[int, int, bool, bool]], free: int, more: int, odd: int) -> None:
    """Everything fits into what is around it, and nothing is smaller than it can be."""
    volumes = [
        Bears(("", str(n)), "swap" if swap else "ext4", size * _EXTENT, min(least, size) * MIB, can_grow=grows)
        for n, (size, least, grows, swap) in enumerate(drawn)
    ]
    whole = _locked(17 * MIB + (sum(size for size, *_ in drawn) + free) * _EXTENT + odd, *volumes)
    least = least_of(whole)
    assert least <= whole.size
    for size in (least, least + more * MIB, whole.size, whole.size + more * MIB):
        found = sizes_in(whole, size)
        inside = found[("",)]
        assert inside <= size - 16 * MIB
        assert sum(found[v.way] for v in volumes) <= inside - MIB
        for volume in volumes:
            assert found[volume.way] % _EXTENT == 0
            assert found[volume.way] >= volume.least
            if size >= whole.size:
                assert found[volume.way] >= volume.size
            if size <= whole.size:
                assert found[volume.way] <= volume.size
            if not can_grow(volume):
                assert found[volume.way] <= volume.size
