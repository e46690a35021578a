"""Where the bytes of a composed volume are: what is kept of the disk is enough to read it, and no more."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.volumes.placed import Joined, Mirrored, Placed, Striped, WholeDisk, Window

_DISK = random.Random(5).randbytes(64 * 1024)
_Make = Callable[[bytes], Placed]


def _window(disk: bytes, start: int, size: int) -> Window:
    return Window(WholeDisk(BytesSource(disk)), start, start + size)


_MADE: dict[str, _Make] = {
    "window": lambda disk: Window(_window(disk, 1000, 9000), 7, 8007),
    "joined": lambda disk: Joined([_window(disk, 9000, 1500), _window(disk, 100, 777), _window(disk, 30000, 4096)]),
    "striped": lambda disk: Striped([_window(disk, 20000, 4096), _window(disk, 4000, 4096), _window(disk, 40000, 4096)], 512),
    "both": lambda disk: Joined([_window(disk, 0, 100), Striped([_window(disk, 20000, 4096), _window(disk, 4000, 4096)], 1024)]),
}
_USED = st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 900)), max_size=6)


@pytest.mark.parametrize("name", _MADE)
@settings(deadline=None)
@given(used=_USED)
def test_what_is_kept_is_what_is_read(name: str, used: list[tuple[int, int]]) -> None:
    """With every other byte of the disk changed, the used ones read the same; and none is kept that is not one of them."""
    make = _MADE[name]
    whole = make(_DISK)
    wanted = ExtentMap(sorted((start, min(start + length, whole.size)) for start, length in used if start < whole.size))
    kept = whole.down(wanted)
    assert kept.total == wanted.total
    masked = bytearray(byte ^ 0xFF for byte in _DISK)
    for start, end in kept:
        masked[start:end] = _DISK[start:end]
    again = make(bytes(masked))
    for start, end in wanted:
        assert again.pread(end - start, start) == whole.pread(end - start, start)


@pytest.mark.parametrize("name", _MADE)
def test_order(name: str) -> None:
    """The bytes of any range are those of the whole; nothing behind the end is read."""
    source = _MADE[name](_DISK)
    whole = source.pread(source.size, 0)
    draw = random.Random(1)
    for _ in range(50):
        start = draw.randrange(source.size)
        end = draw.randrange(start, source.size + 1)
        assert source.pread(end - start, start) == whole[start:end]
    for read in (lambda: source.pread(1, source.size), lambda: source.down(ExtentMap([(0, source.size + 1)]))):
        with pytest.raises(FormatError):
            read()


def test_stripes_take_turns() -> None:
    """RAID 0 as md(4) describes it."""
    parts = [WholeDisk(BytesSource(letter * 6)) for letter in (b"a", b"b")]
    assert Striped(parts, 2).pread(12, 0) == b"aabbaabbaabb"
    with pytest.raises(ValueError):
        Striped([*parts, WholeDisk(BytesSource(b"short"))], 2)
    with pytest.raises(ValueError):
        Striped(parts, 4)


def test_all_copies_are_kept() -> None:
    """Of a mirror the first is read, and what is used is kept of each."""
    disk = WholeDisk(BytesSource(b"same" + b"####" + b"same"))
    mirror = Mirrored([Window(disk, 0, 4), Window(disk, 8, 12)])
    assert mirror.pread(4, 0) == b"same"
    assert list(mirror.down(ExtentMap([(1, 3)]))) == [(1, 3), (9, 11)]
    with pytest.raises(ValueError):
        Mirrored([Window(disk, 0, 4), Window(disk, 8, 11)])
