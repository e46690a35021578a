"""Arrays of every level and layout, against what Linux 6.12 wrote onto their members (tests/vm/guest_samples.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.errors import UnsupportedError
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.model.volume import Identity
from rescue.units import KIB, MIB
from rescue.volumes.elsewhere import MISSING, Elsewhere
from rescue.volumes.md import RaidMember, read_raid_member
from rescue.volumes.md_array import array_content
from rescue.volumes.md_parity import Layout, Parity, layout_of
from rescue.volumes.placed import Placed, WholeDisk, Window
from rescue.volumes.stack import RAID, Stacked, look_into
from tests.unit.volumes.made import raid_1x
from tests.unit.volumes.recorded import BLOCK, block, member, record

_ARRAYS = sorted(record("md-arrays"))


def _content(name: str) -> tuple[Placed, list[RaidMember], list[BytesSource]]:
    """An array whose members are one behind the other on a disk."""
    sources = [member(recorded) for recorded in record("md-arrays")[name]["members"]]
    disk = WholeDisk(BytesSource(b"".join(source.pread(source.size, 0) for source in sources)))
    read = [read_raid_member(source) for source in sources]
    starts = [sum(source.size for source in sources[:n]) for n in range(len(sources))]
    parts = {one.role: Window(disk, start + one.start, start + one.end) for one, start in zip(read, starts, strict=True)}
    return array_content(read[0], [parts[role] for role in range(len(parts))]), read, sources


@pytest.mark.parametrize("name", _ARRAYS)
def test_blocks_are_where_the_kernel_put_them(name: str) -> None:
    content, _, _ = _content(name)
    count = record("md-arrays")[name]["blocks"]
    # What does not fill the last row or chunk of the smallest member is not part of the array.
    assert content.size // BLOCK == count
    wrong = [number for number in range(count) if content.pread(BLOCK, number * BLOCK) != block(number)]
    assert not wrong
    odd = content.pread(3 * BLOCK, BLOCK + 100)
    assert odd == b"".join(block(number) for number in range(1, 5))[100 : 100 + 3 * BLOCK]


@pytest.mark.parametrize("name", _ARRAYS)
def test_every_copy_is_kept(name: str) -> None:
    """Of each block all copies, and nothing of others but what parity needs."""
    content, _, sources = _content(name)
    copies: dict[int, set[int]] = {}
    start = 0
    for source, recorded in zip(sources, record("md-arrays")[name]["members"], strict=True):
        for at, number in recorded["blocks"]:
            copies.setdefault(number, set()).add(start + at * BLOCK)
        start += source.size
    has_parity = name.startswith(("raid4", "raid5", "raid6"))
    members = len(sources)
    for number in range(0, record("md-arrays")[name]["blocks"], 5):
        kept = content.down(ExtentMap([(number * BLOCK, (number + 1) * BLOCK)]))
        found = [kept.clip(place, place + BLOCK).total == BLOCK for place in copies[number]]
        # Parity of three blocks may look like one: CRCs add up as they do.
        assert any(found) if has_parity else all(found)
        assert kept.total == (members if has_parity else len(copies[number])) * BLOCK


@pytest.mark.parametrize("name", _ARRAYS)
def test_all_of_an_array(name: str) -> None:
    """Extents over many chunks keep what their blocks keep."""
    content, read, _ = _content(name)
    everything = content.down(ExtentMap([(0, content.size)]))
    recorded = record("md-arrays")[name]["members"]
    blocks = sum(len(one["blocks"]) for one in recorded)
    if name.startswith(("raid4", "raid5", "raid6")):
        assert everything.total == sum(one.end - one.start for one in read)
    else:
        assert everything.total == blocks * BLOCK
    size = content.size
    parts = [content.down(ExtentMap([(at, min(at + 7 * KIB, size))])) for at in range(0, size, 7 * KIB)]
    assert ExtentMap(sorted(extent for part in parts for extent in part)) == everything


@given(st.integers(0, 5), st.sampled_from([(5, 3), (5, 4), (6, 4), (6, 5), (4, 3)]), st.integers(0, 30))
def test_a_row_has_each_member_once(number: int, array: tuple[int, int], row: int) -> None:
    level, disks = array
    layout = layout_of(level, number)
    assert layout is not None
    data = [layout.member(row, index, disks) for index in range(disks - layout.parity)]
    assert len(set(data)) == len(data)
    assert set(data) <= set(range(disks))


def test_layouts_that_are_not_known() -> None:
    assert layout_of(5, 6) is None
    assert layout_of(6, 17) is None
    parts = [WholeDisk(BytesSource(bytes(64 * KIB))) for _ in range(4)]
    for level, layout in ((5, 9), (6, 16), (10, 0), (10, 0x305), (10, 1 << 17 | 0x302), (10, 1 << 20 | 0x102)):
        with pytest.raises(UnsupportedError):
            array_content(RaidMember("", "", 0, 64 * KIB, 1, level, 4, 0, 4 * KIB, layout), parts)
    uneven = [*parts, WholeDisk(BytesSource(bytes(128 * KIB)))]
    with pytest.raises(UnsupportedError, match="several sizes"):
        array_content(RaidMember("", "", 0, 64 * KIB, 1, 0, 5, 0, 4 * KIB, 0), uneven)
    with pytest.raises(ValueError, match="one size"):
        Parity(uneven, 4 * KIB, Layout(2, 1))


def test_linear() -> None:
    """One behind the other."""
    parts = [WholeDisk(BytesSource(bytes([n]) * 8)) for n in range(3)]
    content = array_content(RaidMember("", "", 0, 8, 1, -1, 3), parts)
    assert content.pread(10, 7) == b"\0" + b"\1" * 8 + b"\2"


def _stacks(name: str, leave_out: int | None = None, elsewhere: int | None = None) -> list[Stacked]:
    here, beside = [], []
    for number, recorded in enumerate(record("md-arrays")[name]["members"]):
        if number == elsewhere:
            beside.append((Identity(RAID), Elsewhere(member(recorded))))
        elif number != leave_out:
            here.append((Identity(RAID), WholeDisk(member(recorded))))
    return look_into(here, {}, beside)


@pytest.fixture
def _nothing_is_identified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rescue.volumes.stack.identify_source", lambda source: Identity())


@pytest.mark.parametrize("name", ["raid0", "raid5-left-symmetric", "raid6-1.0", "raid10-n2-4"])
@pytest.mark.usefixtures("_nothing_is_identified")
def test_members_that_are_missing(name: str) -> None:
    """Then every byte is kept, and it says so."""
    for stack in _stacks(name, leave_out=1):
        assert stack.kept().total == stack.source.size
        assert stack.whole_because.endswith(MISSING)
        assert not stack.inside


@pytest.mark.parametrize("name", ["raid0", "raid5-left-symmetric", "raid6-1.0", "raid10-f2-4"])
@pytest.mark.parametrize("other", [0, 1])
@pytest.mark.usefixtures("_nothing_is_identified")
def test_members_on_another_disk(name: str, other: int) -> None:
    """The array is told, and of the other disk nothing is kept."""
    stacks = _stacks(name, elsewhere=other)
    assert [stack.whole_because for stack in stacks] == [""] * len(stacks)
    inside = [inner for stack in stacks for inner in stack.inside]
    assert len(inside) == 1
    assert inside[0].source.pread(BLOCK, 5 * BLOCK) == block(5)
    assert sum(stack.kept().total for stack in stacks) <= sum(stack.source.size for stack in stacks)


@pytest.mark.usefixtures("_nothing_is_identified")
def test_members_that_do_not_fit_together() -> None:
    """Two with one number, one that is older."""
    shape = {"level": 0, "chunk": 8, "size": 0, "disks": 2, "role1": 1}
    twice = [raid_1x(6 * MIB, 4096, MIB, **shape), raid_1x(6 * MIB, 4096, MIB, **shape)]
    for stack in look_into([(Identity(RAID), WholeDisk(BytesSource(data))) for data in twice], {}):
        assert "same number" in stack.whole_because
    old = raid_1x(6 * MIB, 4096, MIB, number=1, events=3, **shape)
    new = look_into([(Identity(RAID), WholeDisk(BytesSource(data))) for data in (twice[0], old)], {})
    assert new[0].whole_because.endswith(MISSING)
    assert "older" in new[1].whole_because
