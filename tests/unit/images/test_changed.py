"""What is written over blocks, against the same done to bytes in memory."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.errors import FormatError, RescueError, SourceReadError, TargetWriteError
from rescue.images.format import RowKind
from rescue.images.nbd.changed import GRAIN, Changed
from rescue.images.view import Held
from rescue.model.source import BytesSource
from rescue.units import KIB, MIB

START = 3 * 512
SIZE = 2 * MIB + 7 * 512  # its last grain is a part of one
BELOW = random.Random(1).randbytes(START + SIZE + 512)


class Blocks(BytesSource):
    """A disk, which holds zeros from a MiB on."""

    def __init__(self, content: bytes = BELOW) -> None:
        super().__init__(content)
        self.read = 0

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        self.read += len(buffer)
        super().pread_into(buffer, offset)

    def extents(self, start: int = 0, end: int | None = None) -> Iterator[Held]:
        end = self.size if end is None else end
        for low, high, kind in ((0, MIB, RowKind.DATA), (MIB, self.size, RowKind.HOLE)):
            if max(low, start) < min(high, end):
                yield Held(max(low, start), min(high, end), kind)


# Mostly at and around the borders of grains and regions.
_PLACES = st.one_of(
    st.integers(0, SIZE),
    st.builds(lambda grain, by: min(max(grain * GRAIN + by, 0), SIZE), st.integers(0, SIZE // GRAIN + 1), st.integers(-513, 513)),
    st.sampled_from([0, MIB - 1, MIB, MIB + 1, 2 * MIB, SIZE]),
)
_ACTS = st.lists(st.tuples(st.sampled_from(["write", "zero", "read"]), _PLACES, _PLACES), max_size=20)


@given(acts=_ACTS, seed=st.integers(0, 1000))
def test_it_is_what_was_written(acts: list[tuple[str, int, int]], seed: int) -> None:
    expected = bytearray(BELOW[START : START + SIZE])
    with Changed(Blocks(), START, START + SIZE, Path("/tmp")) as changed:
        for act, one, other in acts:
            start, end = sorted((one, other))
            if act == "write":
                expected[start:end] = random.Random(seed).randbytes(end - start)
                changed.pwrite(bytes(expected[start:end]), start)
            elif act == "zero":
                expected[start:end] = bytes(end - start)
                changed.zero(start, end)
            else:
                assert changed.pread(end - start, start) == expected[start:end]
        assert changed.pread(SIZE, 0) == expected
        position = 0
        for held in changed.extents():
            assert held.start == position < held.end
            position = held.end
        assert position == SIZE


def test_what_was_not_changed_is_read_below_and_nothing_else_is(tmp_path: Path) -> None:
    blocks = Blocks()
    with Changed(blocks, START, START + SIZE, tmp_path) as changed:
        changed.pwrite(bytes(8 * KIB), 16 * KIB)
        changed.zero(MIB, 2 * MIB)
        assert not blocks.read
        changed.pread(SIZE, 0)
    assert blocks.read == SIZE - 8 * KIB - MIB


def test_extents(tmp_path: Path) -> None:
    with Changed(Blocks(), 0, 2 * MIB, tmp_path) as changed:
        changed.pwrite(b"x", MIB + 5 * KIB)
        changed.zero(8 * KIB, 12 * KIB)
        changed.zero(MIB + 256 * KIB, MIB + 260 * KIB)
        assert list(changed.extents(4 * KIB, MIB + 512 * KIB)) == [
            Held(4 * KIB, 8 * KIB, RowKind.DATA),
            Held(8 * KIB, 12 * KIB, RowKind.HOLE),
            Held(12 * KIB, MIB, RowKind.DATA),
            Held(MIB, MIB + 4 * KIB, RowKind.HOLE),
            Held(MIB + 4 * KIB, MIB + 8 * KIB, RowKind.DATA),
            Held(MIB + 8 * KIB, MIB + 256 * KIB, RowKind.HOLE),
            Held(MIB + 256 * KIB, MIB + 260 * KIB, RowKind.HOLE),
            Held(MIB + 260 * KIB, MIB + 512 * KIB, RowKind.HOLE),
        ]


def test_threads_that_write_parts_of_the_same_grains(tmp_path: Path) -> None:
    expected = bytearray(BELOW[:MIB])

    def write(number: int) -> None:
        changed.pwrite(bytes((number % 251,)) * 512, number * 1024)

    with Changed(Blocks(), 0, MIB, tmp_path) as changed:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(MIB // 1024)))
        for number in range(MIB // 1024):
            expected[number * 1024 : number * 1024 + 512] = bytes((number % 251,)) * 512
        assert changed.pread(MIB, 0) == expected


def test_it_takes_as_much_room_as_what_was_written(tmp_path: Path) -> None:
    """Also where it is far from anything else, and given back when it is made zero."""
    with Changed(Blocks(bytes(64 * MIB)), 0, 64 * MIB, tmp_path) as changed:
        for number in range(64):
            changed.pwrite(b"x", number * MIB + 500 * KIB)
        taken = _taken(tmp_path)
        assert 64 * GRAIN <= taken <= 80 * GRAIN
        changed.zero(0, 64 * MIB)
        assert _taken(tmp_path) < taken // 2
        assert changed.pread(64 * MIB, 0) == bytes(64 * MIB)


def _taken(folder: Path) -> int:
    """Bytes of the nameless file of this process in a folder."""
    for fd in Path("/proc/self/fd").iterdir():
        if str(fd.readlink()).startswith(f"{folder}/"):
            return os.stat(fd).st_blocks * 512
    raise AssertionError("there is no file")


def test_no_room(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Changed(Blocks(), 0, 2 * MIB, tmp_path) as changed:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * KIB, hard))
        try:
            with pytest.raises(TargetWriteError, match="could not be kept"):
                changed.pwrite(bytes(128 * KIB), 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert changed.is_full
        # What was not taken is what it was.
        assert changed.pread(2 * MIB, 0) == BELOW[: 2 * MIB]


def test_what_cannot_be_read_below_cannot_be_written_in_part(tmp_path: Path) -> None:
    class Bad(Blocks):
        def pread(self, length: int, offset: int) -> bytes:
            raise SourceReadError("It is bad.", offset, length)

    with Changed(Bad(), 0, MIB, tmp_path) as changed:
        with pytest.raises(SourceReadError):
            changed.pwrite(b"x", 100)
        changed.pwrite(b"x" * GRAIN, 0)
        assert changed.pread(GRAIN, 0) == b"x" * GRAIN
        assert not changed.is_full


def test_borders_and_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RescueError, match="Nothing can be kept in"):
        Changed(Blocks(), 0, MIB, tmp_path / "none")
    with pytest.raises(FormatError):
        Changed(Blocks(), 0, len(BELOW) + 1, tmp_path)
    with Changed(Blocks(), 0, MIB, tmp_path) as changed:
        for act in (lambda: changed.pread(2, MIB - 1), lambda: changed.pwrite(b"xx", MIB - 1), lambda: changed.zero(0, MIB + 1)):
            with pytest.raises(FormatError):
                act()
