"""Thin pools and snapshots of LVM, as Linux 6.12 and LVM 2.03 wrote them (tests/vm/guest_samples.py)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.crc32c import crc32c_update
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource, Source
from rescue.model.volume import Identity, UsedMap
from rescue.units import KIB, MIB
from rescue.volumes import stack
from rescue.volumes.lvm_label import checksum
from rescue.volumes.placed import WholeDisk
from rescue.volumes.runs import Runs
from rescue.volumes.snapshot_store import read_snapshot_store
from rescue.volumes.stack import LVM, Stacked, look_into
from rescue.volumes.thin_metadata import read_thin_pool
from tests.unit.volumes.recorded import BLOCK, block, record, unpacked

_THIN, _SNAPSHOTS = record("thin-pool"), record("snapshots")


@pytest.fixture(autouse=True)
def _nothing_is_identified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a volume with a block of 2000 in it exactly that is used; others are unknown, and whole."""
    monkeypatch.setattr(stack, "identify_source", lambda source: Identity())


@pytest.fixture
def _first_block_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(volume: Source, identity: Identity, *, path: str, offset: int) -> UsedMap:
        del volume, identity, path, offset
        return UsedMap(ExtentMap([(0, BLOCK)]))

    monkeypatch.setattr(stack, "used_map", used)


def _look(data: bytes | bytearray) -> Stacked:
    (found,) = look_into([(Identity(LVM), WholeDisk(BytesSource(data)))], {})
    return found


def _places(ranges: str, start: int) -> dict[str, tuple[int, int]]:
    """Where LVM says that its hidden volumes are, in bytes."""
    found = {}
    for name, first, last in re.findall(r"^\s*(\S+)\s+/dev/\w+:(\d+)-(\d+)\s*$", ranges, re.MULTILINE):
        found[name] = (start + int(first) * MIB, start + (int(last) + 1) * MIB)
    return found


_WHERE = _places(_THIN["ranges"], _THIN["pe_start"])


def _metadata() -> bytearray:
    return bytearray(unpacked(_THIN["disk"])[slice(*_WHERE["[pool_tmeta]"])])


def test_thin_volumes_read_as_the_kernel_reads_them() -> None:
    found = _look(unpacked(_THIN["disk"]))
    volumes = {inner.name: inner for inner in found.inside}
    assert set(volumes) == {"vgs/pool", "vgs/one", "vgs/two", "vgs/copy"}
    for name, content in _THIN["volumes"].items():
        expected = unpacked(content)
        source = volumes[f"vgs/{name}"].source
        assert source.size == len(expected)
        assert source.pread(source.size, 0) == expected
        assert source.pread(100_000, 3 * BLOCK - 7) == expected[3 * BLOCK - 7 :][:100_000]


def _mapped() -> Iterator[tuple[int, int, int, int]]:
    """What thin_dump says: volume, first block, where it is, how many."""
    for device in ElementTree.fromstring(_THIN["dump"]).iter("device"):
        number = int(device.get("dev_id", ""))
        for one in device.iter("single_mapping"):
            yield number, int(one.get("origin_block", "")), int(one.get("data_block", "")), 1
        for run in device.iter("range_mapping"):
            yield number, int(run.get("origin_begin", "")), int(run.get("data_begin", "")), int(run.get("length", ""))


def test_mappings_are_what_thin_dump_says() -> None:
    pool = read_thin_pool(BytesSource(_metadata()))
    expected: dict[int, dict[int, int]] = {}
    for number, first, place, count in _mapped():
        expected.setdefault(number, {}).update({first + n: place + n for n in range(count)})
    found = {
        number: {
            at // pool.block: (run.target + at - run.start) // pool.block
            for run in runs
            for at in range(run.start, run.end, pool.block)
        }
        for number, runs in pool.volumes.items()
    }
    assert found == expected
    assert len(found) == 3


def test_what_is_kept_of_a_pool() -> None:
    """Blocks of its volumes, all of its metadata; not what is free in it."""
    found = _look(unpacked(_THIN["disk"]))
    kept = found.kept()
    start, end = _WHERE["[pool_tdata]"]
    blocks = {place + n for _, _, place, count in _mapped() for n in range(count)}
    expected = ExtentMap(sorted((start + n * 64 * KIB, start + (n + 1) * 64 * KIB) for n in blocks))
    assert kept.clip(start, end) == expected
    assert 0 < expected.total < (end - start) // 2
    for name in ("[pool_tmeta]", "[lvol0_pmspare]"):
        low, high = _WHERE[name]
        assert kept.clip(low, high).total == high - low
    free = ExtentMap(_WHERE.values()).complement(found.source.size).clip(_THIN["pe_start"], 31 * MIB)
    assert not kept.intersection(free)


@pytest.mark.usefixtures("_first_block_is_used")
def test_what_is_used_in_thin_volumes() -> None:
    """Of each what its file system uses: a block that two volumes share is kept once."""
    found = _look(unpacked(_THIN["disk"]))
    start, end = _WHERE["[pool_tdata]"]
    first = {number: place for number, at, place, _ in _mapped() if at == 0}
    assert found.kept().clip(start, end).total == len(set(first.values())) * BLOCK


def test_a_volume_that_only_the_pool_knows() -> None:
    """Its blocks are kept, though LVM tells of no such volume."""
    disk = bytearray(unpacked(_THIN["disk"]))
    everything = _look(disk).kept()
    # LVM's description, which is the last of its ring, names a number that the pool does not have.
    at = disk.rfind(b"device_id = 2")
    disk[at : at + 13] = b"device_id = 9"
    _correct_lvm(disk, at)
    found = _look(disk)
    assert found.kept() == everything
    pool = next(inner for inner in found.inside if inner.name == "vgs/pool")
    two = {place + n for number, _, place, count in _mapped() if number == 2 for n in range(count)}
    assert pool.used.total == len(two) * 64 * KIB


def _correct_lvm(disk: bytearray, changed: int) -> None:
    """Make the checksums of LVM's metadata right again."""
    area = 4 * KIB
    start, length = (int.from_bytes(disk[area + at : area + at + 8], "little") for at in (40, 48))
    assert area + start <= changed < area + start + length
    text = bytes(disk[area + start : area + start + length])
    disk[area + 56 : area + 60] = checksum(text).to_bytes(4, "little")
    disk[area : area + 4] = checksum(bytes(disk[area + 4 : area + 512])).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"device_id = 1", b"device_ix = 1"), (b"transaction_id = 3", b"transaction_id = 4"), (b"thin_pool", b"thin_loop")],
)
def test_descriptions_that_do_not_fit(old: bytes, new: bytes) -> None:
    """Then all of the pool, or all that a volume has of it, is kept."""
    disk = bytearray(unpacked(_THIN["disk"]))
    kept = _look(disk).kept()
    at = disk.rfind(old)
    disk[at : at + len(old)] = new
    _correct_lvm(disk, at)
    found = _look(disk)
    assert not kept.difference(found.kept())
    assert any(inner.whole_because for inner in found.inside)


def _corrected(data: bytearray, number: int, salt: int) -> bytearray:
    start = number * BLOCK
    right = crc32c_update(0xFFFFFFFF, bytes(data[start + 4 : start + BLOCK])) ^ salt
    data[start : start + 4] = right.to_bytes(4, "little")
    return data


@pytest.mark.parametrize(
    ("at", "length", "value", "said"),
    [
        (4, 4, 1, "check"), (40, 4, 7, "version"), (360, 4, 1, "version"), (336, 4, 100, "blocks of"), (336, 4, 0, "blocks of"),
        (340, 4, 16, "own blocks"), (344, 8, 1 << 40, "more than there are"), (320, 8, 1 << 40, "no block"),
        (32, 8, 5, "signature"), (320, 8, 0, "no block"),
    ],
)  # fmt: skip
def test_superblocks_that_are_refused(at: int, length: int, value: int, said: str) -> None:
    data = _metadata()
    data[at : at + length] = value.to_bytes(length, "little")
    with pytest.raises(FormatError, match=said):
        read_thin_pool(BytesSource(_corrected(data, 0, 160774)))


def test_damage_of_the_metadata_is_found() -> None:
    data = _metadata()
    root = int.from_bytes(data[320:328], "little")
    for at in (0, 100, 500):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(FormatError):
            read_thin_pool(BytesSource(damaged))
        damaged = bytearray(data)
        damaged[root * BLOCK + at] ^= 1
        with pytest.raises(FormatError):
            read_thin_pool(BytesSource(damaged))


def test_loops_in_a_tree_end() -> None:
    data = _metadata()
    root = int.from_bytes(data[320:328], "little")
    node = root * BLOCK
    data[node + 4 : node + 8] = (1).to_bytes(4, "little")  # an inner node, whose child is itself
    most = int.from_bytes(data[node + 20 : node + 24], "little")
    values = node + 32 + 8 * most
    data[values : values + 8] = root.to_bytes(8, "little")
    with pytest.raises(FormatError, match="twice"):
        read_thin_pool(BytesSource(_corrected(data, root, 121107)))


_META = _metadata()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 511), st.integers(0, 255), st.booleans())
def test_any_metadata_end_in_an_answer(at: int, value: int, in_root: bool) -> None:
    data = bytearray(_META)
    number = int.from_bytes(data[320:328], "little") if in_root else 0
    data[number * BLOCK + at] = value
    with suppress(FormatError):
        read_thin_pool(BytesSource(_corrected(data, number, 121107 if in_root else 160774)))


def test_snapshots_read_as_the_kernel_reads_them() -> None:
    found = _look(unpacked(_SNAPSHOTS["disk"]))
    volumes = {inner.name: inner for inner in found.inside}
    assert set(volumes) == {"vgs/origin", "vgs/early", "vgs/late"}
    for name, content in _SNAPSHOTS["volumes"].items():
        expected = unpacked(content)
        source = volumes[f"vgs/{name}"].source
        assert volumes[f"vgs/{name}"].source.size == len(expected)
        assert source.pread(source.size, 0) == expected
    assert volumes["vgs/early"].source.pread(BLOCK, 7 * BLOCK) == block(7)
    assert volumes["vgs/origin"].source.pread(BLOCK, 7 * BLOCK) == block(100_007)


@pytest.mark.usefixtures("_first_block_is_used")
def test_what_is_used_with_snapshots() -> None:
    """What the origin's file system uses, and those of the snapshots; of their stores all that was written."""
    disk = unpacked(_SNAPSHOTS["disk"])
    found = _look(disk)
    kept = found.kept()
    by_name = {inner.name: inner for inner in found.inside}
    origin = by_name["vgs/origin"].source.down(ExtentMap([(0, BLOCK)]))
    assert not origin.difference(kept)
    all_of_origin = by_name["vgs/origin"].source.down(ExtentMap([(0, 4 * MIB)]))
    assert kept.intersection(all_of_origin).total == BLOCK
    # Stores: 291 chunks of 4 KiB with their header and areas, one of 16 KiB with its header and area; each once more an area.
    stores = kept.clip(MIB, 31 * MIB).difference(all_of_origin).total
    assert 294 * BLOCK <= stores <= 294 * BLOCK + 5 * 16 * KIB


def test_a_snapshot_of_which_nothing_is_known() -> None:
    """Then all of it is kept, also what it shares with its origin."""
    found = _look(unpacked(_SNAPSHOTS["disk"]))
    origin = next(inner for inner in found.inside if inner.name == "vgs/origin")
    assert not origin.source.down(ExtentMap([(0, origin.source.size)])).difference(found.kept())


def _store(*exceptions: tuple[int, int], chunk: int = 8, valid: int = 1, version: int = 1, chunks: int = 3000) -> bytearray:
    data = bytearray(chunks * chunk * 512)
    for at, value in enumerate((0x70416E53, valid, version, chunk)):
        data[4 * at : 4 * at + 4] = value.to_bytes(4, "little")
    each = chunk * 512 // 16
    for number, (old, new) in enumerate(exceptions):
        area, at = divmod(number, each)
        place = (1 + area * (each + 1)) * chunk * 512 + at * 16
        data[place : place + 16] = old.to_bytes(8, "little") + new.to_bytes(8, "little")
    return data


def test_store_with_full_areas() -> None:
    """The area behind the last full one is needed: the kernel looks there for more."""
    exceptions = [(number, 2 + number + number // 256) for number in range(512)]
    read = read_snapshot_store(BytesSource(_store(*exceptions)))
    assert read.used == (1 + 2 * 257 + 1) * 4 * KIB
    assert sum(run.end - run.start for run in read.changed) == 512 * 4 * KIB
    assert read_snapshot_store(BytesSource(_store())).used == 2 * 4 * KIB


def test_stores_that_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="overflowed"):
        read_snapshot_store(BytesSource(_store(valid=0)))
    with pytest.raises(UnsupportedError):
        read_snapshot_store(BytesSource(_store(version=2)))
    for data in (
        _store((1, 2), (1, 3)), _store((1, 1 << 40)), _store(chunk=3), bytes(4096), bytes(100),
        _store(*((n, 2 + n) for n in range(256)), chunks=258),
    ):  # fmt: skip
        with pytest.raises(FormatError) as raised:
            read_snapshot_store(BytesSource(data))
        assert not isinstance(raised.value, UnsupportedError)


def test_runs() -> None:
    """Units that follow each other in both places are one run."""
    runs = Runs(10, [(0, 5), (1, 6), (2, 9), (7, 0)])
    assert [tuple(run) for run in runs] == [(0, 20, 50), (20, 30, 90), (70, 80, 0)]
    assert runs.highest == 100
    assert [tuple(run) for run in runs.overlapping(15, 75)] == [(15, 20, 65), (20, 30, 90), (70, 75, 0)]
    assert list(runs.overlapping(30, 70)) == []
    assert runs.targets() == ExtentMap([(0, 10), (50, 70), (90, 100)])
    for pairs in ([(1, 1), (1, 2)], [(2, 1), (1, 2)], [(0, 1 << 60)], [(1 << 60, 0)]):
        with pytest.raises(FormatError):
            Runs(10, pairs)
