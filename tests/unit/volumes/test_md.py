"""The superblocks of Linux software RAID."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError, UnsupportedError
from rescue.model.source import BytesSource
from rescue.units import KIB, MIB
from rescue.volumes.md import RaidMember, read_raid_member
from tests.unit.volumes.made import raid_090, raid_1x, unpacked

_SIZE = 6 * MIB
# Written by Linux 6.12 and mdadm (tests/vm/guest_stacks.py, "samples"): name, size of the member, offset, superblock.
_RECORDED = Path(__file__).parents[2] / "data" / "volumes" / "md-superblocks.txt"


def _read(data: bytes | bytearray) -> RaidMember:
    return read_raid_member(BytesSource(data))


@pytest.mark.parametrize(("at", "start"), [(0, MIB), (4 * KIB, MIB), (_SIZE - 8 * KIB, 0)])
def test_version_1(at: int, start: int) -> None:
    """At the start, 4 KiB behind it, or at the end; the data are as long as the array."""
    member = _read(raid_1x(_SIZE, at, start))
    assert (member.start, member.end, member.events, member.name) == (start, start + 4 * MIB, 17, "host:any")
    assert member.uuid == bytes(range(16)).hex()


def test_version_090() -> None:
    member = _read(raid_090(_SIZE))
    assert (member.start, member.end, member.events) == (0, 4 * MIB, 17)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"level": 5, "chunk": 128, "resync": 7}, "RAID 5.*cleanly"),
        ({"level": 6, "chunk": 128, "features": 512}, "RAID 6"),  # has a journal
        ({"level": 77}, "level 77"),
        ({"features": 2}, "rebuilt"),  # being recovered
        ({"features": 4}, "rebuilt"),  # being reshaped
        ({"features": 8}, "rebuilt"),  # has bad blocks
        ({"resync": 0}, "cleanly"),
        ({"role": 0xFFFF}, "rebuilt"),  # a spare
        ({"role": 0xFFFE}, "rebuilt"),  # faulty
    ],
)
def test_states_in_which_it_is_kept_whole(changed: dict[str, int], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        _read(raid_1x(_SIZE, 4096, MIB, **changed))


@pytest.mark.parametrize(
    "changed",
    [{"sum": 1}, {"data_offset": 1 << 40}, {"data_size": 0}, {"size": 0}, {"number": 9}, {"max_dev": 0}, {"max_dev": 1 << 30},
     {"magic": 1}, {"major": 2}, {"super_offset": 9}],
)  # fmt: skip
def test_superblocks_that_make_no_sense(changed: dict[str, int]) -> None:
    with pytest.raises(FormatError) as raised:
        _read(raid_1x(_SIZE, 4096, MIB, **changed))
    assert not isinstance(raised.value, UnsupportedError)


@pytest.mark.parametrize(
    "changed", [{"state": 0}, {"state": 3}, {"disk_state": 2}, {"disk_state": 7}, {"minor": 91}, {"level": 7}]
)
def test_states_of_version_090(changed: dict[str, int]) -> None:
    with pytest.raises(UnsupportedError):
        _read(raid_090(_SIZE, **changed))


@pytest.mark.parametrize("changed", [{"sum": 1}, {"size": 0}, {"size": 1 << 20}])
def test_version_090_that_makes_no_sense(changed: dict[str, int]) -> None:
    with pytest.raises(FormatError):
        _read(raid_090(_SIZE, **changed))


@settings(deadline=None)
@given(st.integers(0, 4095), st.integers(0, 255), st.sampled_from([raid_1x(_SIZE, 4096, MIB), raid_090(_SIZE)]))
def test_any_superblock_ends_in_an_answer(at: int, value: int, made: bytearray) -> None:
    data = bytearray(made)
    base = 4096 if data[4096] else _SIZE - 64 * KIB
    data[base + at] = value
    with suppress(FormatError):
        _read(data)


@pytest.mark.parametrize("size", [0, 100, 4096, 8192, 65536])
def test_small_volumes(size: int) -> None:
    with pytest.raises(FormatError):
        _read(bytes(size))


@pytest.mark.parametrize("name", ["0.90", "1.0", "1.1", "1.2", "raid5"])
def test_superblocks_of_the_kernel(name: str) -> None:
    """Data begin and end where md puts them."""
    _, size, at, packed = next(line.split() for line in _RECORDED.read_text().splitlines() if line.startswith(f"{name} "))
    data = bytearray(int(size))
    data[int(at) : int(at) + 4 * KIB] = unpacked(packed)
    member = _read(data)
    if name == "raid5":
        assert (member.level, member.disks, member.role, member.layout) == (5, 3, 0, 2)
        return
    starts_inside = name in ("1.1", "1.2")
    assert (member.start, member.end) == ((MIB, 24 * MIB) if starts_inside else (0, 24 * MIB - 64 * KIB))
