"""The map of a rescue: its arithmetic against a plain list of bytes, and ddrescue's file format."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.engine.rescue_map import RescueMap, Status, load_map, save_map
from rescue.errors import FormatError, RescueError, TargetWriteError
from rescue.model.extents import ExtentMap

_SIZE = 40
_STEPS = st.lists(st.tuples(st.integers(0, _SIZE), st.integers(0, _SIZE), st.sampled_from(Status)), max_size=30)


def _made(steps: list[tuple[int, int, Status]]) -> tuple[RescueMap, list[Status]]:
    found, plain = RescueMap(_SIZE), [Status.UNTRIED] * _SIZE
    for start, end, status in steps:
        found.set(start, end, status)
        plain[start:end] = [status] * max(end - start, 0) if start < end else plain[start:end]
    return found, plain


@given(_STEPS)
def test_it_holds_what_was_set(steps: list[tuple[int, int, Status]]) -> None:
    found, plain = _made(steps)
    assert [status for start, end, status in found for _ in range(start, end)] == plain
    blocks = list(found)
    assert all(one[1] == other[0] and one[2] is not other[2] for one, other in pairwise(blocks))
    assert len(found) == len(blocks)


@given(_STEPS, st.integers(0, _SIZE), st.integers(0, _SIZE))
def test_a_part_of_it_is_clipped(steps: list[tuple[int, int, Status]], start: int, end: int) -> None:
    found, plain = _made(steps)
    assert [status for low, high, status in found.between(start, end) for _ in range(low, high)] == plain[start:end]


@given(_STEPS)
def test_the_sets_of_all_statuses_are_the_disk(steps: list[tuple[int, int, Status]]) -> None:
    found, _ = _made(steps)
    assert sum(found.having(status).total for status in Status) == _SIZE
    assert found.failed == found.having(Status.UNTRIMMED, Status.UNSCRAPED, Status.BAD)


@given(_STEPS)
def test_writing_and_reading_is_identity(steps: list[tuple[int, int, Status]]) -> None:
    found, _ = _made(steps)
    assert RescueMap.from_text(found.to_text(), _SIZE) == found


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, _SIZE + 1)])
def test_outside_of_the_disk_nothing_can_be_set(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        RescueMap(_SIZE).set(start, end, Status.BAD)


def test_a_map_of_ddrescue_is_read() -> None:
    """From the manual of GNU ddrescue 1.27, "Mapfile structure", with the numbers of a smaller disk."""
    text = """# Mapfile. Created by GNU ddrescue version 1.27
# Command line: ddrescue -d -c18 /dev/fd0 fdimage mapfile
# Copying non-tried blocks... Pass 1 (forwards)
# current_pos  current_status  current_pass
0x00120000     ?               1
#      pos        size  status
0x00000000  0x00117000  +
0x00117000  512         *
0x00117200  0x00100E00  /
0x00218000  0x00000200  -
"""
    found = RescueMap.from_text(text, 0x300000)
    assert found.position == 0x120000
    assert list(found) == [
        (0, 0x117000, Status.RESCUED),
        (0x117000, 0x117200, Status.UNTRIMMED),
        (0x117200, 0x218000, Status.UNSCRAPED),
        (0x218000, 0x218200, Status.BAD),
        (0x218200, 0x300000, Status.UNTRIED),
    ]


def test_numbers_may_be_octal_and_old_maps_have_no_pass() -> None:
    found = RescueMap.from_text("0 F\n010 020 -\n", 64)
    assert list(found) == [(0, 8, Status.UNTRIED), (8, 24, Status.BAD), (24, 64, Status.UNTRIED)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no line with the current position"),
        ("# only a comment\n", "no line with the current position"),
        ("0 ? 1 2\n", "no line with the current position"),
        ("0 x 1\n", "no line with the current position"),
        ("0 ? 1\n0 10\n", "makes no sense"),
        ("0 ? 1\n0 10 x\n", "makes no sense"),
        ("0 ? 1\n0 0x10 +\n0x20 0x10 -\n", "gap or an overlap at byte 32"),
        ("0 ? 1\n0 0x10 +\n8 0x10 -\n", "gap or an overlap at byte 8"),
        ("0 ? 1\n0 0 +\n", "gap or an overlap"),
        ("0 ? 1\n0 0x41 +\n", "larger disk"),
        ("0 ? 1\n0 -4 +\n", "out of bounds"),
        ("0 ? 1\n0 0xFFFFFFFFFFFFFFFF +\n", "out of bounds"),
        ("0 ? 1\n0 089 +\n", "number that makes no sense"),
        ("0 ? 1\n0 zero +\n", "number that makes no sense"),
    ],
)
def test_what_is_no_map_is_refused(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        RescueMap.from_text(text, 64)


@given(st.text(alphabet="0123456789xA \n?*/-+#", max_size=200))
def test_any_text_is_a_map_or_refused(text: str) -> None:
    try:
        found = RescueMap.from_text(text, 64)
    except FormatError:
        return
    assert sum(end - start for start, end, _ in found) == 64


def test_what_was_not_tried_may_be_behind_the_end() -> None:
    assert RescueMap.from_text("0 ? 1\n0 0x100 ?\n", 64) == RescueMap(64)


def test_it_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "map"
    assert load_map(path, 100) == RescueMap(100)
    kept = RescueMap(100)
    kept.set(10, 20, Status.BAD)
    save_map(path, kept)
    assert load_map(path, 100) == kept
    assert load_map(path, 100).failed == ExtentMap([(10, 20)])
    assert [entry.name for entry in tmp_path.iterdir()] == ["map"]


def test_a_file_that_is_no_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(b"\xff\x00")
    with pytest.raises(FormatError, match="map: It is not a mapfile"):
        load_map(tmp_path / "map", 100)
    with pytest.raises(RescueError, match="cannot be read"):
        load_map(tmp_path, 100)


def test_a_map_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "map"
    save_map(path, RescueMap(100))
    (tmp_path / "map.new").mkdir()
    with pytest.raises(TargetWriteError, match="cannot be written"):
        save_map(path, RescueMap(200))
    assert load_map(path, 100) == RescueMap(100)
