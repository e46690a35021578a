"""Tables as values: random layouts survive, hostile ones end in a sentence."""

from __future__ import annotations

import struct
import zlib
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescue.devices import gpt, mbr
from rescue.devices.table import guess_sector_size, head_end, read_layout, tables_for
from rescue.errors import FormatError, RefusedError
from rescue.model.source import BytesSource
from rescue.units import GIB, MIB, TIB
from tests.examples import examples
from tests.unit.devices.recorded import SparseDisk, recorded

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


def make_gpt(
    size: int, sector_size: int, ranges: list[tuple[int, int, int]], count: int = 128, entry_size: int = 128
) -> SparseDisk:
    """A disk with both copies of a GPT, written down from UEFI 2.10 tables 5-3, 5-5 and 5-6. Ranges: number, first, last LBA."""
    lbas = size // sector_size
    array = bytearray(-(-count * entry_size // sector_size) * sector_size)
    for number, first, last in ranges:
        guid = UUID(int=number << 64 | 1).bytes_le
        name = f"p{number}".encode("utf-16-le").ljust(72, b"\0")
        struct.pack_into("<16s16sQQQ72s", array, (number - 1) * entry_size, UUID(LINUX).bytes_le, guid, first, last, 0, name)
    sectors = len(array) // sector_size
    crc = zlib.crc32(array[: count * entry_size])

    def header(mine: int, other: int, entries: int) -> bytes:
        fields = [
            b"EFI PART",
            0x10000,
            92,
            0,
            0,
            mine,
            other,
            2 + sectors,
            lbas - sectors - 2,
            UUID(int=7).bytes_le,
            entries,
            count,
        ]
        raw = struct.pack("<8sIIIIQQQQ16sQIII", *fields, entry_size, crc)
        raw = raw[:16] + struct.pack("<I", zlib.crc32(raw)) + raw[20:]
        return raw.ljust(sector_size, b"\0")

    sector = bytearray(sector_size)
    struct.pack_into("<B3sB3sII", sector, 446, 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(lbas - 1, 0xFFFFFFFF))
    sector[510:512] = b"\x55\xaa"
    disk = SparseDisk(size, {})
    for lba, data in (
        (0, bytes(sector)),
        (1, header(1, lbas - 1, 2)),
        (2, bytes(array)),
        (lbas - 1 - sectors, bytes(array)),
        (lbas - 1, header(lbas - 1, 1, lbas - 1 - sectors)),
    ):
        disk.pwrite(data, lba * sector_size)
    return disk


@st.composite
def gpt_disks(draw: st.DrawFn) -> tuple[SparseDisk, int, list[tuple[int, int, int]]]:
    sector_size = draw(st.sampled_from([512, 4096]))
    size = draw(st.sampled_from([64 * MIB, 3 * GIB + 512 * 8, 9 * TIB]))
    count, entry_size = draw(st.sampled_from([(128, 128), (4, 128), (1024, 128), (128, 512), (100, 4096)]))
    sectors = -(-count * entry_size // sector_size)
    lbas = size // sector_size
    cuts = sorted(draw(st.sets(st.integers(2 + sectors, lbas - sectors - 1), max_size=2 * min(count, 8))))
    numbers = draw(st.permutations(range(1, count + 1)))
    ranges = [(numbers[i // 2], cuts[i], cuts[i + 1] - 1) for i in range(0, len(cuts) - 1, 2)]
    return make_gpt(size, sector_size, ranges, count, entry_size), sector_size, ranges


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(gpt_disks(), st.integers(0, 10 * TIB))
def test_a_random_gpt_is_read_and_moved(made: tuple[SparseDisk, int, list[tuple[int, int, int]]], more: int) -> None:
    disk, sector_size, ranges = made
    layout = read_layout(disk, sector_size)
    assert layout.label == "gpt"
    assert not layout.problems
    want = [(n, first * sector_size, (last + 1) * sector_size) for n, first, last in ranges]
    assert [(p.number, p.start, p.end) for p in layout.partitions] == sorted(want, key=lambda p: p[1])
    assert guess_sector_size(disk) == sector_size
    assert head_end(layout) <= MIB
    head = disk.pread(layout.usable_start, 0)
    for new_size in (disk.size, disk.size + more):
        moved = SparseDisk(new_size, {})
        for offset, data in gpt.relocate_gpt(head, sector_size, new_size):
            moved.pwrite(data, offset)
        # A disk that was made for that size from the start is the same, byte for byte.
        count = gpt.read_copy(disk, 1, sector_size, disk.size // sector_size).header
        fresh = make_gpt(new_size, sector_size, ranges, count.entry_count, count.entry_size)
        assert moved == fresh
        assert read_layout(moved, sector_size).partitions == layout.partitions


@settings(max_examples=examples(150), deadline=None)
@given(st.sampled_from(["gpt-sfdisk", "gpt-4096", "dos-extended-sfdisk", "dos-4096"]), st.data())
def test_hostile_bytes_never_escape_as_anything_but_a_layout(name: str, data: st.DataObject) -> None:
    disk, sector_size, _ = recorded(name)
    for _ in range(data.draw(st.integers(1, 4))):
        inside = data.draw(st.sampled_from(list(disk.content)))
        disk.pwrite(data.draw(st.binary(min_size=1, max_size=24)), data.draw(st.integers(inside.start, inside.end - 24)))
    layout = read_layout(disk, sector_size)
    ends = [0] + [p.end for p in layout.data_partitions]
    assert all(p.start >= end for p, end in zip(layout.data_partitions, ends, strict=False))
    assert all(0 < p.start < p.end <= disk.size for p in layout.partitions)
    assert all(0 <= e.start < e.end <= disk.size for e in layout.table)


def repaired(disk: SparseDisk, offset: int, value: bytes) -> SparseDisk:
    """Overwrite part of the primary header and make its CRC right again; the backup is removed."""
    disk.pwrite(value, 512 + offset)
    raw = disk.pread(92, 512)
    disk.pwrite(struct.pack("<I", zlib.crc32(raw[:16] + bytes(4) + raw[20:])), 512 + 16)
    disk.pwrite(bytes(512), disk.size - 512)
    return disk


@pytest.mark.parametrize(
    ("offset", "value", "says"),
    [
        (8, struct.pack("<I", 0x00020000), "unknown revision"),
        (12, struct.pack("<I", 40), "bytes long"),
        (12, struct.pack("<I", 0xFFFFFFFF), "bytes long"),
        (24, struct.pack("<Q", 9), "not where it says"),
        (48, struct.pack("<Q", 1 << 63), "made for a disk of at least"),
        (72, struct.pack("<Q", 1 << 62), "outside of the disk"),
        (72, struct.pack("<Q", 0), "outside of the disk"),
        (80, struct.pack("<I", 0xFFFFFFFF), "entries"),
        (80, struct.pack("<I", 0), "entries"),
        (84, struct.pack("<I", 129), "bytes long"),
        (84, struct.pack("<I", 1 << 31), "bytes long"),
        (40, struct.pack("<Q", 0), "usable range"),
    ],
)
def test_a_hostile_header_is_named(offset: int, value: bytes, says: str) -> None:
    disk = repaired(make_gpt(64 * MIB, 512, [(1, 2048, 4095)]), offset, value)
    layout = read_layout(disk, 512)
    assert layout.label == "none"
    assert says in layout.problems[0]


@pytest.mark.parametrize(
    ("ranges", "says"),
    [
        ([(1, 2048, 4095), (2, 4000, 5000)], "partitions 1 and 2 overlap"),
        ([(1, 2048, 4095), (2, 3000, 1 << 40)], "behind the end"),
        ([(3, 4096, 4000)], "ends before it starts"),
        ([(1, 20, 4000)], "covers the GPT itself"),
    ],
)
def test_impossible_gpt_partitions(ranges: list[tuple[int, int, int]], says: str) -> None:
    with pytest.raises(FormatError, match=says):
        gpt.parse_gpt(make_gpt(64 * MIB, 512, ranges), 512)


def test_a_partition_outside_of_the_usable_range_is_kept_and_named() -> None:
    disk = make_gpt(64 * MIB, 512, [(1, 40, 2000)])
    disk = repaired(disk, 40, struct.pack("<Q", 2048))
    layout = read_layout(disk, 512)
    assert layout.partitions[0].start == 40 * 512
    assert "outside of the range" in " ".join(layout.problems)


def test_a_gpt_that_does_not_fit_is_refused_with_the_size() -> None:
    disk = make_gpt(64 * MIB, 512, [(1, 2048, 131038)])
    with pytest.raises(RefusedError, match=r"too small by 1\.0 MiB"):
        gpt.relocate_gpt(disk.pread(34 * 512, 0), 512, 63 * MIB)
    with pytest.raises(RefusedError, match="too small by 512 bytes"):
        gpt.relocate_gpt(disk.pread(34 * 512, 0), 512, 64 * MIB - 512)


def test_the_head_that_is_too_short_is_no_gpt() -> None:
    disk = make_gpt(64 * MIB, 512, [])
    for length in (0, 512, 1024, 33 * 512):
        with pytest.raises(FormatError):
            gpt.relocate_gpt(disk.pread(length, 0), 512, 64 * MIB)


def test_the_protective_mbr_keeps_boot_code_signature_and_a_size_without_limit() -> None:
    disk = make_gpt(64 * MIB, 512, [])
    disk.pwrite(b"boot code".ljust(440, b"\x90") + b"\x12\x34\x56\x78", 0)
    moved = gpt.relocate_gpt(disk.pread(34 * 512, 0), 512, GIB)[0][1]
    assert moved[:446] == disk.pread(446, 0)
    assert mbr.entries(moved)[0].length == GIB // 512 - 1
    disk.pwrite(b"\xff\xff\xff\xff", 446 + 12)
    assert gpt.relocate_gpt(disk.pread(34 * 512, 0), 512, GIB)[0][1] == disk.pread(512, 0)


def test_a_hybrid_mbr_keeps_its_entries_when_the_disk_grows() -> None:
    disk, _, _ = recorded("gpt-sgdisk-hybrid")
    layout = read_layout(disk, 512)
    moved = dict(tables_for(disk, layout, GIB))[0]
    before, after = mbr.entries(disk.pread(512, 0)), mbr.entries(moved)
    assert [e for e in before if e.type != mbr.PROTECTIVE] == [e for e in after if e.type != mbr.PROTECTIVE]


def ebr_disk(links: dict[int, list[tuple[int, int, int]]], size: int = 64 * MIB) -> SparseDisk:
    """A disk whose sectors hold the given MBR entries: LBA → (type, start, length)."""
    disk = SparseDisk(size, {})
    for lba, entries in links.items():
        sector = bytearray(512)
        for index, (kind, start, length) in enumerate(entries):
            struct.pack_into("<B3sB3sII", sector, 446 + 16 * index, 0, b"", kind, b"", start, length)
        sector[510:512] = b"\x55\xaa"
        disk.pwrite(bytes(sector), lba * 512)
    return disk


@pytest.mark.parametrize("kind", [0x05, 0x0F, 0x85])
def test_a_chain_that_runs_in_a_circle_ends(kind: int) -> None:
    disk = ebr_disk({0: [(kind, 2048, 8192)], 2048: [(0x83, 64, 64), (5, 1024, 100)], 3072: [(0x83, 64, 64), (5, 0, 100)]})
    layout = read_layout(disk, 512)
    assert [p.number for p in layout.data_partitions] == [5, 6]
    assert layout.problems == ("The chain of logical partitions runs in a circle after partition 6.",)


@pytest.mark.parametrize(
    ("links", "says"),
    [
        ({0: [(5, 2048, 8192)]}, "is broken after partition 4"),
        ({0: [(5, 2048, 8192)], 2048: [(0x83, 64, 64), (5, 9000, 100)]}, "leaves the extended partition after partition 5"),
        ({0: [(5, 2048, 8192)], 2048: [(0x83, 64, 64), (5, 2000, 100)]}, "is broken after partition 5"),
    ],
)
def test_a_chain_that_is_cut(links: dict[int, list[tuple[int, int, int]]], says: str) -> None:
    layout = read_layout(ebr_disk(links), 512)
    assert layout.label == "dos"
    assert says in layout.problems[0]


def test_a_chain_has_at_most_128_links() -> None:
    links = {2048 + 8 * i: [(0x83, 1, 7), (5, 8 * (i + 1), 8)] for i in range(200)}
    layout = read_layout(ebr_disk({0: [(5, 2048, 8192)], **links}), 512)
    assert len(layout.data_partitions) == 128
    assert "more than 128 links" in layout.problems[0]


def test_an_empty_link_is_not_a_partition() -> None:
    disk = ebr_disk({0: [(5, 2048, 8192)], 2048: [(0, 0, 0), (5, 1024, 100)], 3072: [(0x83, 64, 64)]})
    assert [p.number for p in read_layout(disk, 512).data_partitions] == [5]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([(0x83, 2048, 2048), (0x83, 4095, 10)], "Partitions 1 and 2 overlap"),
        ([(0x17, 0, 1000)], "starts at the table itself"),
        ([(0x83, 200000, 10)], "behind the end"),
    ],
)
def test_impossible_mbr_partitions_mean_imaged_whole(entries: list[tuple[int, int, int]], says: str) -> None:
    layout = read_layout(ebr_disk({0: entries}), 512)
    assert (layout.label, layout.partitions) == ("none", ())
    assert says in layout.problems[0]
    assert "imaged whole" in layout.problems[0]


def test_a_partition_that_ends_behind_the_disk_is_cut_and_named() -> None:
    layout = read_layout(ebr_disk({0: [(0x83, 2048, 1 << 31)]}), 512)
    assert layout.partitions[0].end == 64 * MIB
    assert "Partition 1 ends behind the end" in layout.problems[0]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1024, 1536, 4096])
def test_tiny_disks(size: int) -> None:
    layout = read_layout(BytesSource(bytes(size)), 512)
    assert (layout.label, layout.size) == ("none", size)
    assert head_end(layout) == size
    assert guess_sector_size(BytesSource(bytes(size))) == 512


def test_boot_sectors_that_are_no_table() -> None:
    for name in (b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"):
        assert not mbr.is_table(b"\xeb\x52\x90" + name + bytes(499) + b"\x55\xaa")
    grub = bytearray(b"\xeb\x63\x90".ljust(512, b"\0"))  # GRUB's boot.img begins as a FAT boot sector does
    grub[510:512] = b"\x55\xaa"
    assert mbr.is_table(bytes(grub))
    grub[446] = 0x79
    assert not mbr.is_table(bytes(grub))


def test_tables_that_do_not_fit_are_refused() -> None:
    disk, _, _ = recorded("dos-extended-sfdisk")
    with pytest.raises(RefusedError, match="too small by"):
        tables_for(disk, read_layout(disk, 512), 32 * MIB)
