"""Containers in each other: what is kept of the disk, what is told, and what stays whole."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource, Source
from rescue.model.volume import Identity
from rescue.units import KIB, MIB
from rescue.volumes import stack
from rescue.volumes.elsewhere import MISSING
from rescue.volumes.placed import WholeDisk, Window
from rescue.volumes.stack import LUKS, LVM, RAID, Stacked, look_into
from tests.unit.volumes.made import EXTENT, START, group_text, linear, luks2, physical_volume, raid_1x, segment, volume

_KEY = bytes(range(64))
_UUID = "9f3428a4-12ff-4bd0-9a80-c554795c0464"
_SWAP = (1).to_bytes(4, "little") + (1023).to_bytes(4, "little")  # 4 MiB in pages of 4 KiB


@pytest.fixture(autouse=True)
def _identified(monkeypatch: pytest.MonkeyPatch) -> None:
    """blkid is a program; here a few magic numbers do."""

    def look(source: Source) -> Identity:
        head = source.pread(min(8 * KIB, source.size), 0)
        if head[4086:4096] == b"SWAPSPACE2":
            return Identity("swap", "other")
        if head[:6] == b"LUKS\xba\xbe":
            return Identity(LUKS, "crypto")
        if head[512:520] == b"LABELONE":
            return Identity(LVM, "raid")
        if head[4096:4100] == b"\xfc\x4e\x2b\xa9":
            return Identity(RAID, "raid")
        return Identity()

    monkeypatch.setattr(stack, "identify_source", look)


def _swap(data: bytearray, at: int) -> None:
    data[at + 1024 : at + 1032] = _SWAP
    data[at + 4086 : at + 4096] = b"SWAPSPACE2"


def _encrypted(clear: bytes | bytearray) -> bytearray:
    """A LUKS2 volume with this content."""
    data = luks2(_KEY)
    for at in range(0, len(clear), 4096):
        box = Cipher(algorithms.AES(_KEY), modes.XTS((at // 512).to_bytes(16, "little"))).encryptor()
        data += box.update(bytes(clear[at : at + 4096])) + box.finalize()
    return data


def _look(type_: str, data: bytes | bytearray, keys: dict[str, bytes] | None = None) -> Stacked:
    (found,) = look_into([(Identity(type_), WholeDisk(BytesSource(data)))], keys or {})
    return found


def _group(*, first: int = 2) -> bytearray:
    """A physical volume with swap of 4 MiB from extent ``first`` on; the rest of 60 extents is free."""
    data = physical_volume(group_text(volume("swap", segment(1, 0, 4, linear("pv0", first))), count=60), size=62 * MIB)
    _swap(data, START + first * EXTENT)
    return data


def test_lvm() -> None:
    """The head, the tail, and of the swap space its first page."""
    found = _look(LVM, _group())
    at = START + 2 * EXTENT
    assert found.kept() == ExtentMap([(0, START), (at, at + 4 * KIB), (START + 60 * EXTENT, 62 * MIB)])
    assert [(n.name, n.identity.type, n.used_bytes, n.whole_because) for n in found.nested().inside] == [
        ("vg0/swap", "swap", 4 * KIB, "")
    ]


def test_luks_with_lvm() -> None:
    """The same inside of an encrypted volume: header, and the sectors that hold what is used."""
    inner = _group()
    found = _look(LUKS, _encrypted(inner), {_UUID: _KEY})
    at = MIB + START + 2 * EXTENT
    assert found.kept() == ExtentMap([(0, MIB + START), (at, at + 4 * KIB), (MIB + START + 60 * EXTENT, MIB + 62 * MIB)])
    assert [inner.name for inner in found.walk()] == ["", "", "vg0/swap"]
    assert not found.is_locked


def test_locked_and_wrong_key() -> None:
    data = _encrypted(_group())
    for keys, because in (({}, "not given"), ({_UUID: bytes(64)}, "not its own"), ({"other": _KEY}, "not given")):
        found = _look(LUKS, data, keys)
        assert found.kept().total == len(data)
        assert because in found.whole_because
        assert found.is_locked


def test_luks_of_which_nothing_is_known() -> None:
    """Another cipher, a damaged header: whole, and no passphrase would help."""
    for data in (luks2(_KEY, total=4 * MIB, encryption="serpent-xts-plain64"), bytearray(4 * MIB)):
        found = _look(LUKS, data, {_UUID: _KEY})
        assert found.kept().total == 4 * MIB
        assert found.whole_because
        assert not found.is_locked


def test_raid_of_which_one_copy_is_here() -> None:
    data = raid_1x(6 * MIB, 4096, MIB)
    _swap(data, MIB)
    found = _look(RAID, data)
    assert found.kept() == ExtentMap([(0, MIB + 4 * KIB), (5 * MIB, 6 * MIB)])


def test_raid_of_which_both_copies_are_here() -> None:
    """What is used is kept of both; a copy that is older is whole."""
    first, second = raid_1x(6 * MIB, 4096, MIB), raid_1x(6 * MIB, 4096, MIB, number=1)
    for data in (first, second):
        _swap(data, MIB)
    disk = WholeDisk(BytesSource(first + second))
    places = [(Identity(RAID), Window(disk, 0, 6 * MIB)), (Identity(RAID), Window(disk, 6 * MIB, 12 * MIB))]
    one, two = look_into(places, {})
    assert one.kept().union(two.kept()).total == 2 * (2 * MIB + 4 * KIB)
    old = raid_1x(6 * MIB, 4096, MIB, number=1, events=3)
    disk = WholeDisk(BytesSource(first + old))
    one, two = look_into([(i, Window(disk, n * 6 * MIB, (n + 1) * 6 * MIB)) for n, (i, _) in enumerate(places)], {})
    assert one.kept().total == 2 * MIB + 4 * KIB
    assert two.kept().total == 6 * MIB
    assert "older" in two.whole_because


def test_group_over_two_partitions() -> None:
    """The volume is told once, and what is used of it is kept of both."""
    text = group_text(
        volume("swap", segment(1, 0, 2, linear("pv1", 5)), segment(2, 2, 2, linear("pv0", 0))),
        volume("data", segment(1, 0, 3, linear("pv0", 8))), members=2, count=60,
    )  # fmt: skip
    first, second = physical_volume(text, 0, 61 * MIB), physical_volume(text, 1, 61 * MIB)
    _swap(second, START + 5 * EXTENT)
    disk = WholeDisk(BytesSource(first + second))
    size = 61 * MIB
    one, two = look_into([(Identity(LVM), Window(disk, 0, size)), (Identity(LVM), Window(disk, size, 2 * size))], {})
    assert [inner.name for inner in one.inside] == ["vg0/data"]
    assert [inner.name for inner in two.inside] == ["vg0/swap"]
    at = size + START + 5 * EXTENT
    assert one.kept() == ExtentMap([(0, START), (START + 8 * EXTENT, START + 11 * EXTENT)])
    assert two.kept() == ExtentMap([(size, size + START), (at, at + 4 * KIB)])
    assert one.inside[0].whole_because  # nothing that is known is in it


def test_only_one_disk_of_a_group() -> None:
    """What lies on this disk alone is looked into; what does not is kept as far as it is here."""
    text = group_text(
        volume("far", segment(1, 0, 2, linear("pv0", 0)), segment(2, 2, 2, linear("pv1", 0))),
        volume("swap", segment(1, 0, 4, linear("pv0", 10))), members=2, count=60,
    )  # fmt: skip
    data = physical_volume(text, 0, 61 * MIB)
    _swap(data, START + 10 * EXTENT)
    found = _look(LVM, data)
    at = START + 10 * EXTENT
    assert found.kept() == ExtentMap([(0, START + 2 * EXTENT), (at, at + 4 * KIB)])
    far = found.nested().inside[0]
    assert (far.name, far.size) == ("vg0/far", 4 * EXTENT)
    assert far.whole_because.endswith(MISSING)


def test_newest_description() -> None:
    """Of two that differ the one with the higher number is right; a volume that it does not know is whole."""
    new = group_text(volume("swap", segment(1, 0, 4, linear("pv0", 2))), count=60, seqno=9)
    old = group_text(volume("swap", segment(1, 0, 4, linear("pv0", 20))), members=2, count=60, seqno=3)
    first, second = physical_volume(new, 0, 61 * MIB), physical_volume(old, 1, 61 * MIB)
    _swap(first, START + 2 * EXTENT)
    size = 61 * MIB
    disk = WholeDisk(BytesSource(first + second))
    one, two = look_into([(Identity(LVM), Window(disk, 0, size)), (Identity(LVM), Window(disk, size, 2 * size))], {})
    assert one.kept().total == START + 4 * KIB
    assert two.kept().total == size
    assert "does not know it" in two.whole_because


def test_two_copies_of_a_physical_volume() -> None:
    """Which one is in use cannot be told."""
    data = _group()
    disk = WholeDisk(BytesSource(data + data))
    size = len(data)
    both = look_into([(Identity(LVM), Window(disk, n * size, (n + 1) * size)) for n in range(2)], {})
    assert all(one.kept().total == size and "two copies" in one.whole_because for one in both)


def test_type_that_nobody_knows() -> None:
    """The whole group is kept."""
    text = group_text(
        volume("swap", segment(1, 0, 4, linear("pv0", 2))),
        volume("x", segment(1, 0, 4, linear("pv0", 9).replace("striped", "unheard"))), count=60,
    )  # fmt: skip
    found = _look(LVM, physical_volume(text, 0, 61 * MIB))
    assert found.kept().total == 61 * MIB
    assert "unheard" in found.whole_because


def test_a_group_larger_than_its_volume() -> None:
    data = physical_volume(group_text(count=600), 0, 61 * MIB)
    assert _look(LVM, data).kept().total == 61 * MIB


def test_containers_without_end() -> None:
    """LUKS in LUKS in LUKS …: at some depth it is enough."""
    data = bytearray(8 * KIB)
    for _ in range(12):
        data = _encrypted(data)
    found = _look(LUKS, data, {_UUID: _KEY})
    assert found.kept().total == len(data)
    assert any("Too many" in inner.whole_because for inner in found.walk())
