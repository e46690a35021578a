"""Moving over its own place, cut off anywhere by a power cut that loses or tears what was not flushed; and hostile journals."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.engine.move_journal import (
    LENGTH,
    MoveJournal,
    MoveRecord,
    find_move,
    journal_places,
    packed_extents,
    read_journal,
)
from rescue.engine.moving import copy_extents
from rescue.errors import CancelledError, DamagedError
from rescue.model.extents import Extent, ExtentMap
from rescue.model.layout import Layout, Partition
from rescue.model.progress import CancelToken
from rescue.model.source import BytesSource, MemorySink
from rescue.model.volume import Identity
from rescue.planning.partition import ALIGN
from rescue.records import replace
from rescue.units import GIB, KIB, MIB
from tests.examples import examples

PAGE = 4 * KIB
PLACE = Extent(0, LENGTH)
BASE = LENGTH  # where the partitions of these tests begin
SIZE = 64 * PAGE


class PowerCutError(Exception):
    """The computer is off."""


class CutDisk(MemorySink):
    """Takes ``writes`` writes, then the power goes: of what was not flushed any part is lost, and pages may be torn."""

    def __init__(self, content: bytes, writes: int, chance: random.Random) -> None:
        super().__init__(len(content))
        self.data[:] = content
        self._left = writes
        self._chance = chance
        self._safe = bytearray(content)
        self._pending: list[tuple[int, bytes]] = []

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """See Sink."""
        if self._left == 0:
            raise PowerCutError
        self._left -= 1
        super().pwrite(data, offset)
        self._pending.append((offset, bytes(data)))

    def flush(self) -> None:
        """See Sink."""
        for offset, data in self._pending:
            self._safe[offset : offset + len(data)] = data
        self._pending.clear()

    def left(self) -> bytes:
        """What is on the medium afterwards."""
        for offset, data in self._pending:
            for sector in range(0, len(data), 512):
                if self._chance.random() < 0.5:
                    self._safe[offset + sector : offset + sector + 512] = data[sector : sector + 512]
        return bytes(self._safe)


def layout(start: int, disk: int = 4 * MIB, size: int = SIZE) -> Layout:
    """A disk with one partition."""
    table = (Extent(0, PAGE), Extent(disk - PAGE, disk))
    return Layout(disk, 512, "gpt", "ID", ALIGN, disk - 64 * KIB, (Partition(1, start, start + size, "T", "U"),), table)


def record(start: int, to: int, extents: tuple[Extent, ...]) -> MoveRecord:
    """A move of that partition."""
    return MoveRecord(1, layout(start), layout(to), Identity("ext4"), ("move 1 start=2MiB",), extents)


def go_on(disk: MemorySink, move: MoveRecord, token: CancelToken | None = None) -> MoveJournal:
    """As move_volume does it, without a table."""
    begun = read_journal(disk, PLACE)
    if begun is not None:
        assert begun.record == move
        assert begun.still_holds(disk)
        journal, done = MoveJournal(disk, PLACE, move, begun.generation), begun.done
    else:
        journal, done = MoveJournal(disk, PLACE, move), 0
        journal.begin()
    copy_extents(disk, disk, lambda *_: None, journal, move, done, token or CancelToken(), lambda *_: None)
    return journal


@st.composite
def _moves(draw: st.DrawFn) -> tuple[int, int, tuple[Extent, ...]]:
    start, to = draw(st.lists(st.integers(0, 100), min_size=2, max_size=2, unique=True))
    cuts = sorted(draw(st.sets(st.integers(0, SIZE // PAGE), max_size=12)))
    extents = tuple(Extent(a * PAGE, b * PAGE) for a, b in pairwise(cuts))[::2]
    return BASE + start * PAGE, BASE + to * PAGE, extents


@settings(deadline=None, max_examples=60)
@given(_moves(), st.integers(0, 1 << 30))
def test_a_power_cut_after_any_write_loses_nothing(move: tuple[int, int, tuple[Extent, ...]], seed: int) -> None:
    start, to, extents = move
    chance = random.Random(seed)
    content = bytearray(chance.randbytes(BASE + 170 * PAGE))
    content[:LENGTH] = bytes(LENGTH)
    original = bytes(content[start : start + SIZE])
    head = original[: max(min(3 * PAGE, to - start), 0)]
    moved = replace(record(start, to, extents), head=head)
    state = bytes(content)
    cuts = 0
    while True:
        disk = CutDisk(state, chance.randrange(1, 12), chance)
        try:
            journal = go_on(disk, moved)
        except PowerCutError:
            state = disk.left()
            cuts += 1
            assert cuts < 1000
            begun = read_journal(BytesSource(state), PLACE)
            if head and begun and begun.done:
                assert state[start : start + len(head)] == bytes(len(head))
            continue
        break
    for extent in extents:
        assert disk.data[to + extent.start : to + extent.end] == original[extent.start : extent.end]
    disk.flush()
    final = MemorySink(len(state))
    final.data[:] = disk.data
    MoveJournal(final, PLACE, moved).end()
    assert read_journal(final, PLACE) is None
    assert journal


def test_cancelled_it_is_gone_on_with() -> None:
    move = record(BASE + 10 * PAGE, BASE + 9 * PAGE, (Extent(0, SIZE),))
    disk = MemorySink(BASE + 170 * PAGE)
    disk.data[move.start : move.start + SIZE] = original = random.Random(1).randbytes(SIZE)
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        go_on(disk, move, token)
    go_on(disk, move)
    assert disk.data[move.to : move.to + SIZE] == original


def test_a_disk_that_forgets_what_was_written_is_noticed() -> None:
    class Forgetful(MemorySink):
        def pwrite(self, data: bytes | memoryview, offset: int) -> None:
            super().pwrite(data if offset < LENGTH else bytes(len(data)), offset)

    move = record(BASE + 90 * PAGE, BASE, (Extent(0, SIZE),))
    disk = Forgetful(BASE + 170 * PAGE)
    disk.data[move.start : move.start + SIZE] = b"x" * SIZE
    with pytest.raises(DamagedError):
        go_on(disk, move)
    begun = read_journal(disk, PLACE)
    assert begun is not None
    assert begun.done == 0


def test_a_disk_that_was_written_to_since_is_told_from_the_one_that_was_left() -> None:
    move = record(BASE + 10 * PAGE, BASE, (Extent(0, SIZE),))
    disk = CutDisk(bytes(BASE) + random.Random(2).randbytes(170 * PAGE), 9, random.Random(3))
    with pytest.raises(PowerCutError):
        go_on(disk, move)
    left = MemorySink(disk.size)
    left.data[:] = disk.left()
    begun = read_journal(left, PLACE)
    assert begun is not None
    assert begun.done > 0
    assert begun.still_holds(left)
    left.data[begun.last.start] ^= 1
    assert not begun.still_holds(left)
    assert begun.is_of(move.before)
    assert begun.is_of(move.after)
    assert not begun.is_of(replace(move.before, id="OTHER"))
    assert not begun.is_at_table(move.after)


def test_a_table_that_was_cut_off_while_it_was_written_is_written_again() -> None:
    """It is read from its backup then, which is the new one, and only says that the first one is damaged."""
    move = record(BASE, BASE + PAGE, (Extent(0, SIZE),))
    disk = MemorySink(BASE + 170 * PAGE)
    journal = MoveJournal(disk, PLACE, move)
    journal.begin()
    journal.note(SIZE, Extent(0, 0), b"")
    begun = read_journal(disk, PLACE)
    assert begun is not None
    assert begun.is_at_table(move.after)
    assert not begun.is_at_table(replace(move.after, problems=("The main GPT is damaged.",)))


@given(st.binary(max_size=200), st.integers(0, 3 * PAGE), st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=examples(100))
def test_a_damaged_journal_is_none_or_the_same(noise: bytes, where: int, seed: int) -> None:
    move = record(BASE, BASE + PAGE, (Extent(0, SIZE),))
    disk = MemorySink(BASE + 170 * PAGE)
    disk.data[BASE:] = random.Random(seed).randbytes(170 * PAGE)
    MoveJournal(disk, PLACE, move).begin()
    disk.data[where : where + len(noise)] = noise
    begun = read_journal(disk, PLACE)
    assert begun is None or (begun.record, begun.done) == (move, 0)


def test_the_journal_is_found_by_either_table() -> None:
    size = 2 * GIB
    for start, to in ((1 * MIB, 2 * MIB), (300 * MIB, 1 * MIB), (1 * MIB, 1000 * MIB), (900 * MIB, 899 * MIB)):
        before, after = layout(start, size, 800 * MIB), layout(to, size, 800 * MIB)
        moved = MoveRecord(1, before, after, Identity(), (), (Extent(0, 10),))
        places = journal_places(before, after)
        assert len(places) > 2
        for place in places:
            assert place.start >= MIB  # boot loaders of single boards are before, behind a GPT too
            for one in (before, after):
                p = one.partitions[0]
                assert place.end <= p.start or place.start >= p.end
            disk = _Sparse(size)
            journal = MoveJournal(disk, place, moved)
            journal.begin()
            for one in (before, after):
                found = find_move(disk, one)
                assert found is not None
                assert (found.record, found.place) == (moved, place)
            assert find_move(disk, layout(5 * MIB, size, 800 * MIB)) is None
            assert find_move(disk, Layout(size, 512, "none")) is None
            journal.end()
            assert disk.pread(LENGTH, place.start) == bytes(LENGTH)


def test_a_journal_of_an_older_version_is_found_before_the_first_mib() -> None:
    before, after = layout(2 * MIB, 2 * GIB), layout(1 * MIB, 2 * GIB)
    moved = MoveRecord(1, before, after, Identity(), (), (Extent(0, 10),))
    disk = _Sparse(2 * GIB)
    MoveJournal(disk, Extent(20 * KIB, 20 * KIB + LENGTH), moved).begin()
    assert find_move(disk, before) is not None


def test_there_may_be_no_room_for_a_journal() -> None:
    dos = replace(layout(1 * MIB, 4 * MIB, 2 * MIB), label="dos", usable_start=512, usable_end=4 * MIB)
    assert journal_places(dos, replace(dos, partitions=(replace(dos.partitions[0], start=2 * MIB, end=4 * MIB),))) == []


class _Sparse(MemorySink):
    """A large disk of which only the written places take memory."""

    def __init__(self, size: int) -> None:
        super().__init__(0)
        self._length = size
        self._pages: dict[int, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes."""
        return self._length

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Whole pages."""
        for position in range(0, len(data), PAGE):
            self._pages[offset + position] = bytes(data[position : position + PAGE])

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        first = offset - offset % PAGE
        pages = b"".join(self._pages.get(place, bytes(PAGE)) for place in range(first, offset + length, PAGE))
        return pages[offset - first :][:length]


def test_many_extents_are_joined_where_the_gaps_are_small() -> None:
    many = ExtentMap((n * 10 * PAGE, n * 10 * PAGE + PAGE) for n in range(5000))
    packed = packed_extents(many, 1000)
    assert len(packed) <= 1000
    assert ExtentMap(packed).intersection(many) == many
    assert packed_extents(many) == tuple(many)
