"""NTFS: each reason to keep a volume whole, run lists by table, and damage of every kind."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import FormatError
from rescue.filesystems.ntfs import used_map
from rescue.filesystems.ntfs_mft import DATA, VOLUME_INFORMATION, Mft, Run, decode_runs
from rescue.model.extents import ExtentMap
from rescue.model.source import BytesSource
from tests.examples import examples
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume, bears, damaged, refused

_CLEAN = SparseVolume.load("ntfs.xz")
_RECORD = 1024


def _record_offset(number: int) -> int:
    boot = _CLEAN.pread(512, 0)
    return int(struct.unpack_from("<Q", boot, 0x30)[0]) * 512 + number * _RECORD


def _with_volume_flags(flags: int, version: tuple[int, int] = (3, 1)) -> SparseVolume:
    volume = _CLEAN.copy()
    stream = Mft(_CLEAN).stream_of(3, VOLUME_INFORMATION)
    assert stream is not None
    assert stream.value is not None
    record = volume.pread(_RECORD, _record_offset(3))
    volume.write(bytes(8) + struct.pack("<BBH", *version, flags), _record_offset(3) + record.index(stream.value))
    return volume


def _restart_page(lsn: int, *, client: int = 0xFFFF, flags: int = 0, version: tuple[int, int] = (1, 1)) -> bytes:
    """A restart page of 4096 bytes as the NTFS documentation describes it ($LogFile), with its fixups applied."""
    page = bytearray(4096)
    struct.pack_into("<4sHHQIIHHH", page, 0, b"RSTR", 30, 9, 0, 4096, 4096, 48, version[1], version[0])
    struct.pack_into("<QHHHH", page, 48, lsn, 1, 0, client, flags)
    struct.pack_into("<H", page, 30, 7)
    for index in range(1, 9):
        page[30 + 2 * index : 32 + 2 * index] = page[512 * index - 2 : 512 * index]
        struct.pack_into("<H", page, 512 * index - 2, 7)
    return bytes(page)


def _with_log(*pages: bytes) -> SparseVolume:
    volume = _CLEAN.copy()
    log = Mft(_CLEAN).stream_of(2, DATA)
    assert log is not None
    start, _ = next(iter(log.extents()))
    for number, page in enumerate(pages):
        volume.write(page, start + number * 4096)
    return volume


def _bitmap_extent() -> tuple[int, int]:
    bitmap = Mft(_CLEAN).stream_of(6, DATA)
    assert bitmap is not None
    return next(iter(bitmap.extents()))


def test_a_clean_volume_has_a_map_with_both_boot_sectors() -> None:
    used = used_map(_CLEAN.copy())
    assert not used.whole_because
    assert 0 in used.extents
    assert _CLEAN.size - 1 in used.extents
    assert used.extents.total < _CLEAN.size
    # every byte that ntfs-3g wrote is used: it never wrote to what it calls free
    written = ExtentMap([(offset, offset + 512) for offset in range(0, _CLEAN.size, 512) if any(_CLEAN.pread(512, offset))])
    assert written.difference(used.extents).total == 0


@pytest.mark.parametrize(("flags", "words"), [(1, "dirty"), (0x4000, "dirty"), (0x8001, "dirty")])
def test_a_volume_marked_for_a_check_is_whole(flags: int, words: str) -> None:
    used = used_map(_with_volume_flags(flags))
    assert words in used.whole_because
    assert used.extents == ExtentMap([(0, _CLEAN.size)])


def test_other_volume_flags_do_not_matter() -> None:
    assert not used_map(_with_volume_flags(0x8000)).whole_because


def test_an_unknown_version_is_whole() -> None:
    assert "version" in used_map(_with_volume_flags(0, (4, 0))).whole_because


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ([_restart_page(5), _restart_page(4)], ""),
        ([_restart_page(5, client=0, flags=2), _restart_page(4, client=0)], ""),
        ([_restart_page(5, client=0), _restart_page(4)], "journal"),
        ([_restart_page(4), _restart_page(5, client=0)], "journal"),
        ([_restart_page(5, version=(2, 0)), _restart_page(4)], "fast restart"),
        ([_restart_page(5, version=(3, 0)), _restart_page(4)], "version"),
        ([_restart_page(9, client=0)[:-1] + b"?", _restart_page(4)], ""),
        ([_restart_page(9)[:-1] + b"?", _restart_page(4)[:-1] + b"?"], "journal"),
        ([b"CHKD" + _restart_page(5)[4:]], "journal"),
        ([bytes(8192)], "journal"),
    ],
)
def test_the_newer_whole_restart_page_decides(pages: list[bytes], words: str) -> None:
    because = used_map(_with_log(*pages)).whole_because
    assert words in because
    assert bool(because) == bool(words)


@pytest.mark.parametrize(
    ("magic", "whole"), [(b"hibr", True), (b"HIBR", True), (b"RSTR", True), (b"WAKE", False), (bytes(4), False)]
)
def test_the_header_of_hiberfil_decides(magic: bytes, whole: bool) -> None:
    volume = _CLEAN.copy()
    places = [offset for offset in range(0, _CLEAN.size, 512) if _CLEAN.pread(4, offset) == b"wake"]
    assert len(places) == 1
    volume.write(magic, places[0])
    assert ("hibernated" in used_map(volume).whole_because) == whole


def test_a_bitmap_in_two_places_is_followed() -> None:
    """The second half of $Bitmap moved to free clusters; the two runs describe the same bits."""
    volume = _CLEAN.copy()
    start, end = _bitmap_extent()
    middle = start + 1024
    free = next(e for e in used_map(_CLEAN.copy()).extents.complement(_CLEAN.size) if e.length >= end - middle)
    volume.write(volume.pread(end - middle, middle), free.start)
    for cluster in range(free.start // 512, free.start // 512 + (end - middle) // 512):
        place = free.start + cluster // 8 - 1024 if cluster // 8 >= 1024 else start + cluster // 8
        volume.write(bytes([volume.pread(1, place)[0] | 1 << cluster % 8]), place)
    runs = b"".join(
        bytes([0x42]) + length.to_bytes(2, "little") + jump.to_bytes(4, "little", signed=True)
        for length, jump in ((2, start // 512), ((end - middle) // 512, (free.start - start) // 512))
    )
    record = volume.pread(_RECORD, _record_offset(6))
    attribute = record.index(struct.pack("<I", DATA), 0x38)
    pairs = attribute + struct.unpack_from("<H", record, attribute + 32)[0]
    room = attribute + struct.unpack_from("<I", record, attribute + 4)[0] - pairs
    grow = -(-max(len(runs) + 1 - room, 0) // 8) * 8
    used_bytes = struct.unpack_from("<I", record, 24)[0]
    changed = bytearray(record)
    changed[pairs + room + grow : used_bytes + grow] = record[pairs + room : used_bytes]
    changed[pairs : pairs + room + grow] = runs.ljust(room + grow, b"\0")
    struct.pack_into("<I", changed, attribute + 4, pairs + room + grow - attribute)
    struct.pack_into("<I", changed, 24, used_bytes + grow)
    volume.write(bytes(changed[:510]), _record_offset(6))
    expected = used_map(_CLEAN.copy()).extents.union(ExtentMap([(free.start, free.start + end - middle)]))
    assert used_map(volume).extents == expected


def test_a_bitmap_that_calls_itself_free_is_refused() -> None:
    volume = _CLEAN.copy()
    start, _ = _bitmap_extent()
    volume.write(bytes(512), start + start // 512 // 8 // 512 * 512)
    refused(volume, used_map, "calls clusters free")


def test_a_partition_that_was_cut_is_refused() -> None:
    volume = _CLEAN.copy()
    volume.resize(volume.size // 2)
    refused(volume, used_map, "do not fit")


@pytest.mark.parametrize(
    ("pairs", "runs"),
    [
        # the example of the NTFS documentation: 21 18 34 56 00
        (bytes.fromhex("2118345600"), (Run(0, 0x5634, 0x18),)),
        (bytes.fromhex("3138732534320114e511024231aa00034a9000"), None),
        (bytes.fromhex("11300121100001110520 00".replace(" ", "")), None),
        (bytes.fromhex("1130200110110820 00".replace(" ", "")), (Run(0, 0x20, 0x30), Run(0x30, -1, 0x10), Run(0x40, 0x40, 8))),
    ],
)
def test_run_lists(pairs: bytes, runs: tuple[Run, ...] | None) -> None:
    if runs is not None:
        assert decode_runs(pairs, 0, 1 << 20, "test") == runs
    else:
        with pytest.raises(FormatError):
            decode_runs(pairs, 0, 1 << 8, "test")


@given(st.binary(max_size=600), st.integers(1, 1 << 40))
def test_any_bytes_as_a_run_list_stay_inside(pairs: bytes, clusters: int) -> None:
    try:
        runs = decode_runs(pairs, 0, clusters, "test")
    except FormatError:
        return
    assert all(run.length > 0 and (run.lcn == -1 or 0 <= run.lcn <= clusters - run.length) for run in runs)


@settings(deadline=2000, max_examples=examples(300))
@given(FLIPS)
def test_flipped_bytes_never_lead_astray(flips: list[Flip]) -> None:
    bears(damaged(_CLEAN, used_map, flips), used_map)


@settings(deadline=2000)
@given(st.binary(max_size=5000))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        used_map(BytesSource(b"\xeb\x52\x90NTFS    " + data))
