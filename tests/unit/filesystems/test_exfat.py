"""exFAT: each reason to keep a volume whole, and damage of every kind."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.filesystems.exfat import used_map
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from tests.examples import examples
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume, bears, damaged, refused

_CLEAN = SparseVolume.load("exfat.xz")
_BOOT = _CLEAN.pread(512, 0)
_FAT = struct.unpack_from("<I", _BOOT, 80)[0] * 512
_HEAP: int = struct.unpack_from("<I", _BOOT, 88)[0] * 512
_CLUSTERS, _ROOT = struct.unpack_from("<II", _BOOT, 92)


def _signed(volume: SparseVolume) -> SparseVolume:
    """The checksum of the boot region made right again (specification, figure 1)."""
    total = 0
    for index, byte in enumerate(volume.pread(11 * 512, 0)):
        if index not in (106, 107, 112):
            total = ((0x80000000 if total & 1 else 0) + (total >> 1) + byte) & 0xFFFFFFFF
    volume.write(struct.pack("<I", total) * 128, 11 * 512)
    return volume


def _changed(*changes: tuple[int, bytes]) -> SparseVolume:
    volume = _CLEAN.copy()
    for place, data in changes:
        volume.write(data, place)
    return _signed(volume)


def _cluster(number: int) -> int:
    return _HEAP + (number - 2) * 512


def _bitmap_entry() -> tuple[int, int]:
    """Where the root directory names the allocation bitmap, and its first cluster."""
    root = _CLEAN.pread(512, _cluster(_ROOT))
    place = next(position for position in range(0, 512, 32) if root[position] == 0x81)
    return _cluster(_ROOT) + place, int.from_bytes(root[place + 20 : place + 24], "little")


def test_everything_that_mkfs_wrote_is_used() -> None:
    used = used_map(_CLEAN.copy())
    assert not used.whole_because
    written = ExtentMap([(offset, offset + 512) for offset in range(0, _CLEAN.size, 512) if any(_CLEAN.pread(512, offset))])
    assert written.difference(used.extents).total == 0
    assert used.extents.total < _CLEAN.size


def test_a_bit_more_is_a_cluster_more() -> None:
    _, first = _bitmap_entry()
    free = _CLUSTERS - 5
    place = _cluster(first) + free // 8  # mkfs.exfat lays the bitmap down in one piece
    volume = _changed((place, bytes([1 << free % 8])))
    more = used_map(volume).extents.difference(used_map(_CLEAN.copy()).extents)
    assert list(more) == [(_cluster(free + 2), _cluster(free + 3))]


@pytest.mark.parametrize(
    ("place", "data", "words"),
    [(106, b"\x02\x00", "dirty"), (110, b"\x02", "TexFAT"), (105, b"\x02", "version")],
)
def test_reasons_to_keep_a_volume_whole(place: int, data: bytes, words: str) -> None:
    changes = [(place, data)]
    if words == "TexFAT":  # room for the second table: the first one is declared shorter, with fewer clusters
        changes += [(84, struct.pack("<I", 1)), (92, struct.pack("<I", 100))]
    used = used_map(_changed(*changes))
    assert words in used.whole_because
    assert used.extents == ExtentMap([(0, _CLEAN.size)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(3, b"EXFAT2  ")], "signature"),
        ([(108, b"\x20")], "sectors of"),
        ([(109, b"\x20")], "sectors of"),
        ([(92, b"\xff\xff\xff\xff")], "clusters in"),
        ([(72, b"\xff" * 8)], "do not fit"),
        ([(84, b"\x00" * 4)], "too short"),
        ([(96, b"\x00" * 4)], "chain leads"),
        ([(_cluster(_ROOT), bytes(512))], "no allocation bitmap"),
        ([(_bitmap_entry()[0] + 24, struct.pack("<Q", 3))], "allocation bitmap of 3 bytes"),
        ([(_bitmap_entry()[0] + 20, struct.pack("<I", 0xFFFFFF00))], "chain leads"),
        ([(_FAT + 4 * _bitmap_entry()[1], struct.pack("<I", _bitmap_entry()[1]))], "chain leads"),
        ([(_FAT + 4 * _bitmap_entry()[1], b"\xff" * 4)], "shorter than the volume"),
        ([(_cluster(_bitmap_entry()[1]), bytes(512))], "calls clusters free"),
        ([(_cluster(_ROOT), b"\x03" * 512), (_FAT + 4 * _ROOT, struct.pack("<I", _ROOT))], "chain leads"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: list[tuple[int, bytes]], words: str) -> None:
    refused(_changed(*changes), used_map, words)


def test_a_wrong_checksum_is_refused() -> None:
    volume = _CLEAN.copy()
    volume.write(b"\x01", 300)
    refused(volume, used_map, "checksum")


@settings(deadline=2000, max_examples=examples(200))
@given(FLIPS)
def test_flipped_bytes_never_lead_astray(flips: list[Flip]) -> None:
    bears(damaged(_CLEAN, used_map, flips), used_map)
    bears(_signed(damaged(_CLEAN, used_map, flips)), used_map)


@settings(deadline=2000)
@given(st.binary(max_size=3000))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        used_map(BytesSource(b"\xeb\x76\x90EXFAT   " + bytes(53) + data))
