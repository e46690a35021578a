"""The file of rescued bytes: what was added is there again, whatever a power cut did to the end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from rescue.engine.rescued_data import RescuedData
from rescue.errors import DamagedError, RefusedError, RescueError, TargetWriteError
from rescue.images.crypto import ImageKeys
from rescue.model.extents import ExtentMap

_SIZE = 64
_KEYS = ImageKeys(b"f" * 32, b"m" * 32, b"h" * 32)


@given(st.lists(st.tuples(st.integers(0, _SIZE - 1), st.binary(min_size=1, max_size=20)), max_size=12), st.booleans(),
       st.sampled_from([None, _KEYS]))  # fmt: skip
def test_the_last_word_on_each_byte_wins(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, bytes]], again: bool, keys: ImageKeys | None
) -> None:
    path = tmp_path_factory.mktemp("rescued") / "rescued"
    expected: dict[int, int] = {}
    with RescuedData(path, _SIZE, keys) as kept:
        for start, data in writes:
            data = data[: _SIZE - start]
            kept.add(start, data)
            expected.update(enumerate(data, start))
        if not again:
            _holds(kept, expected)
    with RescuedData(path, _SIZE, keys) as kept:
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


@pytest.mark.parametrize("cut", range(0, 208, 9))
def test_a_sealed_file_that_was_cut_gives_its_whole_records(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rescued"
    with RescuedData(path, _SIZE, _KEYS) as kept:
        kept.add(0, b"first!!!")
        kept.add(32, b"second!!")
    assert path.stat().st_size == 56 + 2 * (40 + 28 + 8)
    path.write_bytes(path.read_bytes()[:cut])
    with RescuedData(path, _SIZE, _KEYS) as kept:
        assert kept.extents == ExtentMap([(0, 8)] if cut >= 132 else [])
        kept.add(8, b"third")
    with RescuedData(path, _SIZE, _KEYS) as kept:
        _holds(kept, dict(enumerate(b"first!!!third" if cut >= 132 else b"third", 0 if cut >= 132 else 8)))


def test_a_sealed_file_tells_nothing_and_is_opened_by_the_images_of_its_chain(tmp_path: Path) -> None:
    path, content = tmp_path / "rescued", b"what nobody may read"
    with RescuedData(path, _SIZE, _KEYS) as kept:
        for _ in range(2):
            kept.add(3, content)
    stored = path.read_bytes()
    assert content not in stored
    assert blake3(content).digest()[:16] not in stored
    first, second = stored[56 + 40 : 56 + 88], stored[56 + 88 + 40 :]
    assert first[:12] != second[:12]
    assert first[12:] != second[12:]
    with RescuedData(path, _SIZE, ImageKeys.child(_KEYS)) as kept:
        _holds(kept, dict(enumerate(content, 3)))
    # Another file has another key: its records do not fit.
    with RescuedData(tmp_path / "other", _SIZE, _KEYS) as kept:
        kept.add(3, content)
    other = (tmp_path / "other").read_bytes()
    assert other[8:40] != stored[8:40]
    for mixed in (stored[:56] + other[56:], stored[:56] + stored[56 + 88 :]):
        path.write_bytes(mixed)
        with pytest.raises(DamagedError, match="sealed for another image"):
            RescuedData(path, _SIZE, _KEYS)
        assert path.read_bytes() == mixed


def test_what_the_keys_do_not_fit_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rescued"
    for made, opened, error in ((_KEYS, ImageKeys.new(), DamagedError), (_KEYS, None, RefusedError), (None, _KEYS, RefusedError)):
        path.unlink(missing_ok=True)
        with RescuedData(path, _SIZE, made) as kept:
            kept.add(0, b"first!!!")
        before = path.read_bytes()
        with pytest.raises(error) as caught:
            RescuedData(path, _SIZE, opened)
        assert "Move its folder elsewhere" in caught.value.hint
        assert path.read_bytes() == before


def test_a_sealed_file_that_could_not_be_begun_is_begun_by_the_next_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rescued"
    with RescuedData(path, _SIZE, _KEYS) as kept:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", _full)
            with pytest.raises(TargetWriteError, match="No space"):
                kept.add(0, b"first!!!")
        kept.add(8, b"second!!")
        _holds(kept, dict(enumerate(b"second!!", 8)))
    with RescuedData(path, _SIZE, _KEYS) as kept:
        _holds(kept, dict(enumerate(b"second!!", 8)))


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
