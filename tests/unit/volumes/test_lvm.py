"""LVM's label, metadata and volumes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError, UnsupportedError
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from rescue.units import MIB
from rescue.volumes.lvm_group import parse_group
from rescue.volumes.lvm_label import checksum, read_physical_volume
from rescue.volumes.lvm_text import parse
from rescue.volumes.lvm_volumes import Volumes, logical_volumes
from rescue.volumes.placed import WholeDisk
from tests.unit.volumes.made import EXTENT, START, crc, group_text, linear, physical_volume, segment, volume

_SIZE = 66 * MIB


def _volumes(*volumes: str, members: int = 1, here: int = 1, disk: bytearray | None = None) -> Volumes:
    group = parse_group(group_text(*volumes, members=members))
    sources = {f"pv{n}": WholeDisk(BytesSource(disk or bytearray(_SIZE))) for n in range(here)}
    return logical_volumes(group, sources)


def _extents(*spans: tuple[int, int]) -> ExtentMap:
    return ExtentMap((START + first * EXTENT, START + end * EXTENT) for first, end in spans)


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_checksum(data: bytes) -> None:
    assert checksum(data) == crc(data)


def test_text() -> None:
    """Numbers, strings with escapes, lists, sections, comments."""
    text = b'a = 1\n# no = 2\ns { t = "x \\"y\\" { \\\\" l = ["p", 0, "q"] f = 1.5 e = [] }'
    assert parse(text) == {"a": 1, "s": {"t": 'x "y" { \\', "l": ["p", 0, "q"], "f": "1.5", "e": []}}


@pytest.mark.parametrize(
    "text", [b"a {", b"a = ", b"a = [1", b"}", b"a = 1 a = 2", b"= 1", b'a = "x', b"a", b"a = [ { ]", b"a {" * 40 + b"}" * 40]
)
def test_text_that_makes_no_sense(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse(text)


@pytest.mark.parametrize("turn", [0, 100])
def test_label_leads_to_the_text(turn: int) -> None:
    """Also when the text goes around the end of its area."""
    text = group_text(volume("root", segment(1, 0, 4, linear("pv0", 0))))
    read = read_physical_volume(BytesSource(physical_volume(text, turn=turn)))
    assert read.texts == (text,)
    assert parse_group(read.texts[0]).members["pv0"].uuid == read.uuid


@pytest.mark.parametrize("at", [512 + 40, 4096 + 30, 4096 + 2048 + 10])
def test_damage_is_found(at: int) -> None:
    """In the label, in the header of the area, in the text."""
    data = physical_volume(group_text(volume("root", segment(1, 0, 4, linear("pv0", 0)))))
    data[at] ^= 1
    with pytest.raises(FormatError):
        read_physical_volume(BytesSource(data))


@settings(deadline=None)
@given(st.integers(512, 1024), st.integers(0, 255))
def test_any_label_ends_in_an_answer(at: int, value: int) -> None:
    """Whatever a label says, with a right checksum, no read leaves the volume."""
    data = physical_volume(group_text(), size=2 * MIB)
    data[at] = value
    data[528:532] = crc(bytes(data[532:1024])).to_bytes(4, "little")
    with suppress(FormatError):
        read_physical_volume(BytesSource(data))


def test_segments_and_what_belongs_to_nobody() -> None:
    """Two segments in reverse order; a free extent is in no map."""
    found = _volumes(volume("root", segment(1, 0, 4, linear("pv0", 10)), segment(2, 4, 2, linear("pv0", 3))))
    (root,) = found.logical
    assert root.source is not None
    assert root.source.size == 6 * EXTENT
    assert root.source.down(ExtentMap([(0, 1), (4 * EXTENT, 4 * EXTENT + 1)])) == ExtentMap(
        [(START + 3 * EXTENT, START + 3 * EXTENT + 1), (START + 10 * EXTENT, START + 10 * EXTENT + 1)]
    )
    assert found.whole == {"pv0": ExtentMap()}


def _hidden(name: str, first: int, count: int) -> str:
    return volume(name, segment(1, 0, count, linear("pv0", first)), status='"READ", "WRITE"')


_POOL = volume("pool", segment(1, 0, 8, 'type = "thin-pool"\nmetadata = "pool_tmeta"\ndata = "pool_tdata"\nchunk_size = 128'))
_THIN = volume("thin", segment(1, 0, 50, 'type = "thin"\nthin_pool = "pool"\ntransaction_id = 0\ndevice_id = 1'))
_SNAPSHOT = volume(
    "snapshot0", segment(1, 0, 4, 'type = "snapshot"\nchunk_size = 8\norigin = "root"\ncow_store = "snap"'), status='"READ"'
)
_CACHED = volume("root", segment(1, 0, 4, 'type = "cache"\ncache_pool = "cp"\norigin = "root_corig"'))
_CACHE = volume("cp", segment(1, 0, 2, 'type = "cache-pool"\ndata = "cp_cdata"\nmetadata = "cp_cmeta"'), status='"READ"')


_MOVED = 'type = "mirror"\nmirror_count = 2\nmirrors = [\n"pv0", 3,\n"pv0", 20\n]'


@pytest.mark.parametrize(
    ("volumes", "whole", "because"),
    [
        ((_POOL, _THIN, _hidden("pool_tmeta", 0, 1), _hidden("pool_tdata", 1, 8)), (0, 9), "thin pool"),
        (
            (
                volume("root", segment(1, 0, 4, linear("pv0", 0))),
                volume("snap", segment(1, 0, 2, linear("pv0", 4))),
                _SNAPSHOT,
            ),
            (0, 6),
            "snapshot",
        ),
        (
            (_CACHED, _CACHE, _hidden("root_corig", 0, 4), _hidden("cp_cdata", 4, 2), _hidden("cp_cmeta", 6, 1)),
            (0, 7),
            "cached",
        ),
        ((volume("root", segment(1, 0, 4, linear("pv0", 0)), status='"READ", "VISIBLE", "LOCKED", "PVMOVE"'),), (0, 4), "LOCKED"),
        ((volume("pvmove0", segment(1, 0, 4, _MOVED), status='"READ", "VISIBLE"'),), (3, 24), "old kind"),
        ((volume("far", segment(1, 0, 4, linear("pv1", 0)), segment(2, 4, 2, linear("pv0", 9))),), (9, 11), "other disks"),
        ((volume("out", segment(1, 0, 4, linear("pv0", 62))),), (62, 66), "leaves its physical volume"),
    ],
)
def test_what_is_not_understood_is_kept_whole(volumes: tuple[str, ...], whole: tuple[int, int], because: str) -> None:
    """All extents of it on this disk, and its name is told with the reason."""
    found = _volumes(*volumes, members=2)
    assert all(logical.source is None for logical in found.logical)
    assert any(because in logical.whole_because for logical in found.logical)
    assert _extents(whole).end == found.whole["pv0"].end
    assert next(iter(found.whole["pv0"])).start == next(iter(_extents(whole))).start


def test_a_type_that_is_not_known() -> None:
    """What such a volume takes cannot be told, so nothing of the group can be left out."""
    strange = volume("root", segment(1, 0, 4, linear("pv0", 0).replace("striped", "unheard")))
    with pytest.raises(UnsupportedError, match="unheard"):
        _volumes(strange, volume("home", segment(1, 0, 3, linear("pv0", 8))))


def test_only_what_is_snapshotted_is_whole() -> None:
    """Another volume of the group is still mapped."""
    found = _volumes(
        volume("root", segment(1, 0, 4, linear("pv0", 0))),
        volume("snap", segment(1, 0, 2, linear("pv0", 4))),
        _SNAPSHOT,
        volume("home", segment(1, 0, 3, linear("pv0", 8))),
    )
    assert [logical.name for logical in found.logical if logical.source] == ["home"]
    assert found.whole["pv0"] == _extents((0, 6))


_RAID1 = volume(
    "twice",
    segment(1, 0, 4, 'type = "raid1"\ndevice_count = 2\nregion_size = 1024\n'
            'raids = ["t_rmeta_0", "t_rimage_0", "t_rmeta_1", "t_rimage_1"]'),
)  # fmt: skip
_LEGS = (_hidden("t_rmeta_0", 0, 1), _hidden("t_rimage_0", 1, 4), _hidden("t_rmeta_1", 5, 1), _hidden("t_rimage_1", 6, 4))


def _rmeta(disk: bytearray, extent: int, *, failed: int = 0, recovery: int = 2**64 - 1, resync: int = 2**64 - 1) -> None:
    at = START + extent * EXTENT
    numbers = (failed, recovery, resync)
    disk[at : at + 48] = b"DmRd" + bytes(20) + b"".join(number.to_bytes(8, "little") for number in numbers)


def test_mirror_in_order() -> None:
    """What is used is kept of both copies, and their metadata whole."""
    disk = bytearray(_SIZE)
    _rmeta(disk, 0)
    _rmeta(disk, 5)
    found = _volumes(_RAID1, *_LEGS, disk=disk)
    (twice,) = found.logical
    assert twice.source is not None
    assert twice.source.down(ExtentMap([(0, 512)])) == ExtentMap((START + n * EXTENT, START + n * EXTENT + 512) for n in (1, 6))
    assert found.whole["pv0"] == _extents((0, 1), (5, 6))


@pytest.mark.parametrize("state", [{"failed": 2}, {"recovery": 100}, {"resync": 0}])
def test_mirror_that_is_not(state: dict[str, int]) -> None:
    """A copy failed, is filled or was never made: all of it is kept."""
    disk = bytearray(_SIZE)
    _rmeta(disk, 0, **state)
    _rmeta(disk, 5)
    found = _volumes(_RAID1, *_LEGS, disk=disk)
    assert found.logical[0].source is None
    assert found.whole["pv0"] == _extents((0, 10))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"extent_size = 2048", b"extent_size = 0"),
        (b"segment_count = 1", b"segment_count = 9"),
        (b"segment_count = 1", b"segment_count = 99999999"),
        (b"start_extent = 0", b"start_extent = 7"),
        (b"extent_count = 4", b"extent_count = 0"),
        (b"stripe_count = 1", b"stripe_count = 2"),
        (b'"pv0", 0', b'"pv0", 99999999999'),
        (b"Text Format", b"Other Format"),
        (b"pe_count = 64", b"pe_count = x"),
        (b'id = "', b'ie = "'),
    ],
)
def test_groups_that_contradict_themselves(old: bytes, new: bytes) -> None:
    text = group_text(volume("root", segment(1, 0, 4, linear("pv0", 0))))
    parse_group(text)
    with pytest.raises(FormatError):
        parse_group(text.replace(old, new, 1))
