"""Operations on a Layout value: by table, and by property over random queues."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.devices.table import read_layout
from rescue.devices.write_table import table_writes
from rescue.errors import RefusedError, RescueError, UsageError
from rescue.model.layout import Layout, Partition
from rescue.model.operation import (
    Create,
    Delete,
    Flag,
    Format,
    Move,
    Name,
    NewTable,
    Operation,
    Resize,
    SetType,
)
from rescue.model.source import MemorySink
from rescue.planning.partition import apply, apply_all, free_extents, partition_of
from rescue.records import replace
from rescue.units import GIB, MIB, TIB
from tests.examples import examples

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
GPT = NewTable("gpt", "0F3B1E5C-0000-4000-8000-000000000001")
DOS = NewTable("dos", "1234abcd")


def blank(size: int, sector_size: int = 512) -> Layout:
    """A disk without a table."""
    return Layout(size, sector_size, "none")


def _uuid(number: int) -> str:
    return f"0F3B1E5C-0000-4000-8000-{number:012X}"


def create(start: int = -1, size: int = 0, kind: str = "gpt", number: int = 7) -> Create:
    """Of a type that the table has."""
    return Create(LINUX, _uuid(number), start, size) if kind == "gpt" else Create("0x83", "", start, size)


def spans(layout: Layout) -> list[tuple[int, int, int]]:
    """Number, start and end in MiB."""
    return [(p.number, p.start // MIB, p.end // MIB) for p in layout.partitions]


def test_a_new_partition_takes_the_largest_free_stretch() -> None:
    layout = apply_all(blank(1 * GIB), [GPT, create(100 * MIB, 100 * MIB)])
    assert spans(apply(layout, create())) == [(1, 100, 200), (2, 200, 1023)]
    assert spans(apply(layout, create(1, 5 * MIB))) == [(2, 1, 6), (1, 100, 200)]
    assert [(e.start // MIB, e.end // MIB) for e in free_extents(layout)] == [(1, 100), (200, 1023)]


def test_starts_are_rounded_up_and_sizes_down_to_whole_mib() -> None:
    layout = apply_all(blank(1 * GIB), [GPT, create(3 * MIB + 1, 10 * MIB + 511)])
    assert spans(layout) == [(1, 4, 14)]


def test_numbers_of_deleted_partitions_are_used_again() -> None:
    layout = apply_all(blank(1 * GIB), [GPT, *(create(size=10 * MIB) for _ in range(3)), Delete(2), create(size=5 * MIB)])
    assert [p.number for p in layout.partitions] == [1, 3, 2]


def test_logical_partitions_are_numbered_by_their_chain() -> None:
    queue: list[Operation] = [
        DOS,
        create(1 * MIB, 10 * MIB, "dos"),
        Create("extended", "", 11 * MIB, 500 * MIB),
        create(12 * MIB, 20 * MIB, "dos"),
        create(100 * MIB, 20 * MIB, "dos"),
        create(200 * MIB, 20 * MIB, "dos"),
    ]
    layout = apply_all(blank(1 * GIB), queue)
    assert [(p.number, p.kind) for p in layout.partitions] == [
        (1, "primary"), (2, "extended"), (5, "logical"), (6, "logical"), (7, "logical"),
    ]  # fmt: skip
    after = apply(layout, Delete(5))
    assert spans(after)[2:] == [(5, 100, 120), (6, 200, 220)]
    with pytest.raises(RefusedError, match="holds logical"):
        apply(after, Delete(2))
    with pytest.raises(RefusedError, match="must reach"):
        apply(after, Resize(2, 100 * MIB))
    with pytest.raises(RefusedError, match="cannot be moved"):
        apply(after, Move(2, 20 * MIB))
    with pytest.raises(RefusedError):
        apply(layout, create(32 * MIB - 1, 68 * MIB, "dos"))  # no room for the description of the next one
    assert spans(apply(layout, create(33 * MIB, 66 * MIB, "dos")))[3] == (8, 33, 99)


def test_an_mbr_has_room_for_four_and_then_for_logical_ones() -> None:
    full = apply_all(blank(1 * GIB), [DOS, *(create(size=10 * MIB, kind="dos") for _ in range(4))])
    with pytest.raises(RefusedError, match="room for 4"):
        apply(full, create(kind="dos"))
    room = apply_all(full, [Delete(4), Create("extended", "")])
    assert partition_of(apply(room, create(kind="dos")), 5).kind == "logical"
    with pytest.raises(UsageError):
        apply(room, Create("extended", ""))


def test_a_logical_partition_needs_no_start() -> None:
    """An extended one takes all that is free: what is created next goes into it."""
    layout = apply_all(blank(1 * GIB), [DOS, create(size=100 * MIB, kind="dos"), Create("extended", "")])
    layout = apply_all(layout, [create(size=100 * MIB, kind="dos"), create(kind="dos")])
    assert [(p.number, p.kind) for p in layout.partitions] == [
        (1, "primary"), (2, "extended"), (5, "logical"), (6, "logical"),
    ]  # fmt: skip
    with pytest.raises(RefusedError, match="no free space"):
        apply(layout, create(kind="dos"))
    beside = apply_all(blank(1 * GIB), [DOS, Create("extended", "", 1 * MIB, 200 * MIB)])
    assert partition_of(apply(beside, create(size=100 * MIB, kind="dos")), 2).kind == "primary"
    full = apply_all(beside, [create(size=10 * MIB, kind="dos") for _ in range(3)])
    full = apply(full, create(size=198 * MIB, kind="dos"))
    with pytest.raises(RefusedError, match="no free space in the extended partition") as refused:
        apply(full, create(size=100 * MIB, kind="dos"))
    assert "resize" in refused.value.hint


def test_a_disk_that_is_larger_than_its_table_says_how_to_use_the_rest() -> None:
    layout = replace(apply_all(blank(1 * GIB), [GPT, create()]), size=2 * GIB)
    for operation in (create(size=100 * MIB), Resize(1, 1500 * MIB)):
        with pytest.raises(RefusedError) as refused:
            apply(layout, operation)
        assert "--repair" in refused.value.hint


def test_an_mbr_ends_at_two_tebibytes() -> None:
    layout = apply_all(blank(4 * TIB), [DOS, create(kind="dos")])
    assert layout.partitions[0].end == 2 * TIB
    with pytest.raises(RefusedError):
        apply(apply(blank(4 * TIB), DOS), create(3 * TIB, MIB, "dos"))
    assert apply_all(blank(4 * TIB, 4096), [DOS, create(kind="dos")]).partitions[0].end == 4 * TIB


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (create(50 * MIB, 100 * MIB), RefusedError),
        (create(150 * MIB, 1 * MIB), RefusedError),
        (create(2 * GIB, 1 * MIB), RefusedError),
        (create(0, 100), UsageError),
        (Delete(9), UsageError),
        (Resize(1, 500 * MIB), RefusedError),
        (Resize(1, 10), UsageError),
        (Move(1, 250 * MIB), RefusedError),
        (Move(1, 900 * MIB + 30 * MIB), RefusedError),
        (Move(1, 100 * MIB), UsageError),
        (Name(1, "x" * 37), UsageError),
        (Name(1, "😀" * 19), UsageError),
        (Name(1, "a\0b"), UsageError),
    ],
)
def test_what_makes_no_sense_or_has_no_room(operation: Operation, error: type[RescueError]) -> None:
    layout = apply_all(blank(1 * GIB), [GPT, create(100 * MIB, 100 * MIB), create(300 * MIB, 100 * MIB)])
    with pytest.raises(error) as refused:
        apply(layout, operation)
    assert type(refused.value) is error
    with pytest.raises(RefusedError, match="no partition table"):
        apply(blank(1 * GIB), operation)


def test_a_partition_can_move_over_its_own_place() -> None:
    layout = apply_all(blank(1 * GIB), [GPT, create(100 * MIB, 500 * MIB)])
    assert spans(apply(layout, Move(1, 1 * MIB))) == [(1, 1, 501)]
    assert spans(apply(layout, Move(1, 101 * MIB))) == [(1, 101, 601)]
    assert spans(apply(layout, Resize(1, 0))) == [(1, 100, 1023)]


def test_everything_else_of_a_partition_is_kept() -> None:
    old = Partition(4, 1 * MIB + 512, 10 * MIB, LINUX, _uuid(4), "data", 1 << 60)
    layout = replace(apply(blank(1 * GIB), GPT), partitions=(old,))
    assert apply(layout, Move(4, 20 * MIB)).partitions == (replace(old, start=20 * MIB, end=29 * MIB - 512),)
    assert apply(layout, SetType(4, "X")).partitions == (replace(old, type="X"),)
    assert apply(layout, Flag(4, 60, False)).partitions == (replace(old, attributes=0),)
    assert apply(layout, Name(4, "b")).partitions == (replace(old, name="b"),)
    assert apply(layout, Format(4, "ext4")).partitions == (old,)


def test_one_partition_of_an_mbr_is_active() -> None:
    layout = apply_all(
        blank(1 * GIB), [DOS, create(size=10 * MIB, kind="dos"), create(kind="dos"), Flag(1, 0, True), Flag(2, 0, True)]
    )
    assert [p.attributes for p in layout.partitions] == [0, 1]
    with pytest.raises(UsageError):
        apply(layout, Name(1, "x"))


_MIBS = st.integers(-1, 45).map(lambda n: n * MIB if n >= 0 else -1)
_NUMBERS = st.sampled_from([1, 2, 3, 4, 5, 6, 7])


def _operations(kind: str) -> st.SearchStrategy[Operation]:
    some: list[st.SearchStrategy[Operation]] = [
        st.builds(lambda start, size, n: create(start, max(size, 0), kind, n), _MIBS, _MIBS, st.integers(1, 10**9)),
        st.builds(Delete, _NUMBERS),
        st.builds(lambda n, size: Resize(n, max(size, 0)), _NUMBERS, _MIBS),
        st.builds(lambda n, start: Move(n, max(start, 0)), _NUMBERS, _MIBS),
        st.builds(lambda n: Flag(n, 0, True), _NUMBERS),
    ]
    if kind == "dos":
        some.append(st.builds(lambda start, size: Create("extended", "", start, max(size, 0)), _MIBS, _MIBS))
    return st.one_of(some)


@st.composite
def _queues(draw: st.DrawFn) -> tuple[Layout, list[Operation]]:
    kind = draw(st.sampled_from(["gpt", "dos"]))
    size = draw(st.integers(4 * MIB // 4096, 40 * MIB // 4096)) * 4096
    layout = blank(size, draw(st.sampled_from([512, 4096])))
    return apply(layout, GPT if kind == "gpt" else DOS), draw(st.lists(_operations(kind), max_size=25))


@settings(deadline=None, max_examples=examples(150))
@given(_queues())
def test_random_queues_give_sound_layouts_that_can_be_written_and_read(given_: tuple[Layout, list[Operation]]) -> None:
    layout, queue = given_
    for operation in queue:
        try:
            layout = apply(layout, operation)
        except RescueError:
            continue
        outer = [p for p in layout.partitions if p.kind != "logical"]
        inner = [p for p in layout.partitions if p.kind != "extended"]
        extended = next((p for p in outer if p.kind == "extended"), None)
        for group in (outer, inner):
            assert all(left.end <= right.start for left, right in pairwise(group))
        for p in layout.partitions:
            assert p.start % MIB == 0
            assert p.end % MIB == 0
            assert layout.usable_start <= p.start < p.end <= layout.usable_end
            if p.kind == "logical":
                assert extended
                assert extended.start < p.start < p.end <= extended.end
        assert len({p.number for p in layout.partitions}) == len(layout.partitions)
        logical = sorted(p.number for p in layout.partitions if p.kind == "logical")
        assert logical == list(range(5, 5 + len(logical)))
    disk = MemorySink(layout.size)
    for offset, data in table_writes(layout, b""):
        disk.pwrite(data, offset)
    found = read_layout(disk, layout.sector_size)
    assert found.problems == ()
    assert [(p.number, p.start, p.end, p.kind) for p in found.partitions] == [
        (p.number, p.start, p.end, p.kind) for p in layout.partitions
    ]


def test_a_gpt_with_few_entries_says_how_many() -> None:
    """sgdisk and sfdisk make tables with as few as 4: those that leave no room at the end of the disk keep their length."""
    layout = Layout(8 * MIB, 512, "gpt", GPT.id, usable_start=MIB, usable_end=8 * MIB - 2 * 512)
    full = apply_all(layout, [create(size=MIB, number=number) for number in (1, 2, 3, 4)])
    with pytest.raises(RefusedError, match="room for only 4 partitions"):
        apply(full, create())
    disk = MemorySink(8 * MIB)
    for offset, data in table_writes(full, b""):
        disk.pwrite(data, offset)
    assert spans(read_layout(disk, 512)) == spans(full)


def test_sizes_that_read_the_same_are_told_in_bytes() -> None:
    layout = apply(blank(3 * TIB), DOS)
    with pytest.raises(RefusedError, match=f"no room for {2 * TIB} bytes at 1.0 MiB: {2 * TIB - MIB} bytes are free"):
        apply(layout, create(size=2 * TIB, kind="dos"))
    one = apply(layout, create(size=1 * TIB, kind="dos"))
    with pytest.raises(RefusedError, match=f"cannot get {2 * TIB} bytes: it has room for {2 * TIB - MIB} bytes"):
        apply(one, Resize(1, 2 * TIB))
