"""Real tables are read as sfdisk reads them."""

from __future__ import annotations

import pytest

from rescue.devices.table import guess_sector_size, head_end, read_layout, tables_for
from rescue.model.extents import ExtentMap
from rescue.units import GIB, MIB
from tests.unit.devices.recorded import NAMES, SparseDisk, recorded

TABLED = [name for name in NAMES if not name.startswith("none-")]
GPTS = [name for name in NAMES if name.startswith("gpt-")]


def test_the_recordings_are_there() -> None:
    assert len(TABLED) >= 10


@pytest.mark.parametrize("name", TABLED)
def test_layout_is_what_sfdisk_says(name: str) -> None:
    disk, sector_size, said = recorded(name)
    layout = read_layout(disk, sector_size)
    assert (layout.label, layout.sector_size, layout.size) == (said["label"], said["sectorsize"], disk.size)
    assert layout.id == said["id"].removeprefix("0x")
    got = {
        p.number: (p.start // sector_size, p.size // sector_size, p.type.removeprefix("0x").upper()) for p in layout.partitions
    }
    want = {int(p["node"]): (p["start"], p["size"], p["type"].upper().zfill(2)) for p in said.get("partitions", ())}
    assert got == want
    for partition in said.get("partitions", ()):
        mine = next(p for p in layout.partitions if p.number == int(partition["node"]))
        assert mine.name == partition.get("name", "")
        if layout.label == "gpt":
            assert mine.uuid == partition["uuid"]
        else:
            assert bool(mine.attributes & 1) == partition.get("bootable", False)
    if layout.label == "gpt":
        assert layout.usable_start == said["firstlba"] * sector_size
        assert layout.usable_end == (said["lastlba"] + 1) * sector_size
    assert not layout.problems or name == "gpt-sgdisk-hybrid"


@pytest.mark.parametrize("name", TABLED)
def test_every_byte_that_is_not_zero_belongs_to_a_table(name: str) -> None:
    """The recorded disks hold nothing but their tables, so the tables must cover all that is there."""
    disk, sector_size, _ = recorded(name)
    layout = read_layout(disk, sector_size)
    assert not disk.content.difference(ExtentMap(layout.table))


@pytest.mark.parametrize("name", TABLED)
def test_tables_for_the_same_size_are_the_same_bytes(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    blank = SparseDisk(disk.size, {})
    for offset, data in tables_for(disk, read_layout(disk, sector_size), disk.size):
        blank.pwrite(data, offset)
    assert blank == disk


def test_attributes_of_a_gpt_partition() -> None:
    disk, sector_size, said = recorded("gpt-sfdisk")
    assert said["partitions"][1]["attrs"] == "RequiredPartition GUID:63"
    assert [p.attributes for p in read_layout(disk, sector_size).partitions] == [0, 1 | 1 << 63, 0]


def test_logical_partitions_are_inside_of_the_extended_one() -> None:
    disk, sector_size, _ = recorded("dos-extended-sfdisk")
    layout = read_layout(disk, sector_size)
    kinds = [(p.number, p.kind) for p in layout.partitions]
    assert kinds == [(1, "primary"), (2, "extended"), (5, "logical"), (6, "logical"), (7, "logical"), (3, "primary")]
    assert len(layout.table) == 4
    assert layout.partitions[2].uuid == "1a2b3c4d-05"
    assert all(extent.length == 512 for extent in layout.table)


def test_a_hybrid_mbr_is_named() -> None:
    disk, sector_size, _ = recorded("gpt-sgdisk-hybrid")
    assert "hybrid" in " ".join(read_layout(disk, sector_size).problems)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("none-")])
def test_what_is_no_table_that_is_read(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    layout = read_layout(disk, sector_size)
    assert (layout.label, layout.partitions, layout.table) == ("none", (), ())
    kind = name.removeprefix("none-")
    names = {"bsd": "BSD", "sun": "Sun", "mac": "Apple"}
    assert (names[kind] in layout.problems[0]) if kind in names else not layout.problems
    assert head_end(layout) == MIB


@pytest.mark.parametrize("name", NAMES)
def test_sector_size_of_a_file(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    assert guess_sector_size(disk) == (sector_size if name.startswith("gpt") else 512)


@pytest.mark.parametrize("name", GPTS)
def test_sector_size_of_a_file_with_only_a_backup(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    disk.pwrite(bytes(sector_size), sector_size)
    assert guess_sector_size(disk) == sector_size


@pytest.mark.parametrize("name", TABLED)
def test_the_head_ends_before_the_first_partition(name: str) -> None:
    disk, sector_size, said = recorded(name)
    first = min((p["start"] * sector_size for p in said.get("partitions", ())), default=MIB)
    assert head_end(read_layout(disk, sector_size)) == min(first, MIB)


@pytest.mark.parametrize("name", GPTS)
@pytest.mark.parametrize("damaged", ["header", "entries"])
@pytest.mark.parametrize("new_size", [0, 3 * GIB])
def test_a_damaged_main_copy_is_replaced_by_the_backup(name: str, damaged: str, new_size: int) -> None:
    disk, sector_size, _ = recorded(name)
    good = read_layout(disk, sector_size)
    whole = disk.resized(disk.size)
    place = sector_size + 20 if damaged == "header" else 2 * sector_size + 5
    disk.pwrite(b"\xa5", place)
    layout = read_layout(disk, sector_size)
    assert "start of the disk is damaged" in layout.problems[0]
    assert (layout.id, layout.partitions, layout.table) == (good.id, good.partitions, good.table)
    if new_size:  # moved onto another disk, both copies are good again
        bigger = SparseDisk(new_size, {})
        for offset, data in tables_for(disk, layout, new_size):
            bigger.pwrite(data, offset)
        other = SparseDisk(new_size, {})
        for offset, data in tables_for(whole, good, new_size):
            other.pwrite(data, offset)
        assert bigger == other
        assert read_layout(bigger, sector_size).partitions == good.partitions


@pytest.mark.parametrize("name", GPTS)
def test_a_damaged_backup_is_named(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    good = read_layout(disk, sector_size)
    disk.pwrite(bytes(sector_size), disk.size - sector_size)
    layout = read_layout(disk, sector_size)
    assert "The backup GPT is damaged" in layout.problems[0]
    assert (layout.partitions, layout.table) == (good.partitions, good.table)


@pytest.mark.parametrize("name", GPTS)
def test_both_copies_damaged_is_no_table_and_says_so(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    disk.pwrite(b"\xff", disk.size - sector_size + 60)
    disk.pwrite(b"\xff", sector_size + 60)
    layout = read_layout(disk, sector_size)
    assert layout.label == "none"
    assert "Both copies of the GPT are damaged" in layout.problems[0]


@pytest.mark.parametrize("name", GPTS)
def test_a_disk_that_grew_says_that_its_backup_is_not_at_the_end(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    layout = read_layout(disk.resized(disk.size + GIB), sector_size)
    assert layout.partitions == read_layout(disk, sector_size).partitions
    assert "not at the end" in " ".join(layout.problems)


@pytest.mark.parametrize("name", GPTS)
def test_a_disk_that_was_cut_has_no_table_that_can_be_used(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    layout = read_layout(disk.resized(disk.size - MIB), sector_size)
    assert layout.label == "none"
    assert "imaged whole" in layout.problems[0]


def test_a_gpt_without_its_protective_mbr() -> None:
    disk, sector_size, _ = recorded("gpt-sfdisk")
    disk.pwrite(bytes(512), 0)
    layout = read_layout(disk, sector_size)
    assert layout.label == "gpt"
    assert "protective MBR" in layout.problems[0]
    disk.pwrite(bytes(512), 512)
    layout = read_layout(disk, sector_size)
    assert layout.label == "none"
    assert "Only a backup GPT" in layout.problems[0]


def test_a_file_system_over_an_old_gpt_is_not_a_gpt() -> None:
    disk, sector_size, _ = recorded("gpt-sfdisk")
    fat, _, _ = recorded("none-fat32")
    disk.pwrite(fat.pread(512, 0), 0)
    layout = read_layout(disk, sector_size)
    assert (layout.label, layout.partitions) == ("none", ())


@pytest.mark.parametrize(("name", "other"), [("gpt-sfdisk", 4096), ("gpt-4096", 512)])
def test_a_gpt_of_another_sector_size_is_named(name: str, other: int) -> None:
    disk, sector_size, _ = recorded(name)
    layout = read_layout(disk, other)
    assert (layout.label, layout.partitions) == ("none", ())
    assert f"sectors of {sector_size} bytes" in layout.problems[0]


def test_a_boot_sector_of_no_known_kind_says_so() -> None:
    disk, _, _ = recorded("dos-extended-sfdisk")
    disk.pwrite(b"\x13", 446)
    layout = read_layout(disk, 512)
    assert (layout.label, layout.partitions) == ("none", ())
    assert "no partition table that is known" in layout.problems[0]
