"""What an overlay takes: estimated before anything is done, and refused with numbers when there is no room."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.engine import overlay
from rescue.engine.overlay import MEMORY, SourceBlocks, overlay_estimate, require_room, room
from rescue.errors import RefusedError, RescueError
from rescue.images.format import RowKind
from rescue.images.nbd.changed import GRAIN
from rescue.images.view import Held
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.units import KIB, MIB

_RUNS = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 60)), min_size=1, max_size=40)


def _map(runs: list[tuple[int, int]]) -> ExtentMap:
    return ExtentMap(sorted((first * 4096, (first + count) * 4096) for first, count in runs))


@given(_RUNS, st.integers(1, 4100))
def test_it_is_never_less_than_what_moves(runs: list[tuple[int, int]], size: int) -> None:
    used = _map(runs)
    moves = used.total - used.clip(0, size * 4096).total
    estimate = overlay_estimate(used, size * 4096)
    assert estimate >= moves + 16 * MIB
    # Each piece of free space costs two grains of the overlay more at most.
    assert estimate <= moves + 16 * MIB + used.total // 50 + 2 * GRAIN * (len(used) + 1)


@given(_RUNS, st.integers(1, 4000), st.integers(1, 100))
def test_a_smaller_size_never_moves_less(runs: list[tuple[int, int]], size: int, less: int) -> None:
    used = _map(runs)
    smaller = max(size - less, 0) * 4096
    moves = [used.total - used.clip(0, at).total for at in (smaller, size * 4096)]
    assert moves[0] >= moves[1]


def test_small_free_places_take_whole_grains() -> None:
    # Every second KiB of the first MiB is free, 512 KiB lie behind: all 256 grains of the overlay are written.
    used = ExtentMap([(place, place + KIB) for place in range(0, MIB, 2 * KIB)] + [(2 * MIB, 2 * MIB + 512 * KIB)])
    assert overlay_estimate(used, MIB) == MIB + used.total // 50 + 16 * MIB


def test_nothing_moves() -> None:
    assert overlay_estimate(ExtentMap([(0, MIB)]), 2 * MIB) == MIB // 50 + 16 * MIB
    assert overlay_estimate(ExtentMap(), 0) == 16 * MIB


def test_both_numbers_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(overlay, "room", lambda folder: 20 * MIB)
    used = ExtentMap([(0, 10 * MIB)])
    with pytest.raises(RefusedError, match=r"about 2\d\.\d MiB for a time; The memory has 20\.0 MiB free") as caught:
        require_room(used, MIB, MEMORY)
    assert "Name a folder" in caught.value.hint
    assert require_room(used, 10 * MIB, tmp_path) < 20 * MIB


def test_room_of_a_folder_and_of_what_is_none(tmp_path: Path) -> None:
    assert room(tmp_path) > 0
    with pytest.raises(RescueError, match="cannot be used"):
        room(tmp_path / "missing")


def test_a_source_is_all_data() -> None:
    blocks = SourceBlocks(BytesSource(b"0123456789"))
    assert blocks.size == 10
    assert blocks.pread(3, 4) == b"456"
    buffer = bytearray(2)
    blocks.pread_into(memoryview(buffer), 8)
    assert buffer == b"89"
    assert list(blocks.extents()) == [Held(0, 10, RowKind.DATA)]
    assert list(blocks.extents(2, 5)) == [Held(2, 5, RowKind.DATA)]
