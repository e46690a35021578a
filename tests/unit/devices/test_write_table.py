"""Tables are written as the tools of the world write them, and read back as what they were."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescue.devices.table import read_layout
from rescue.devices.write_table import table_writes
from rescue.errors import RefusedError
from rescue.model.layout import Layout, Partition
from rescue.planning.fit import fit
from rescue.records import replace
from rescue.units import GIB, MIB, TIB
from tests.examples import examples
from tests.unit.devices.recorded import NAMES, SparseDisk, recorded
from tests.unit.planning.layouts import dos_layouts, gpt_layouts

SETTINGS = settings(
    max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TABLED = [name for name in NAMES if not name.startswith("none-")]
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
DISK = "11111111-2222-4333-8444-555555555555"


def written(layout: Layout, head: bytes = b"") -> SparseDisk:
    """A disk with nothing but the table."""
    disk = SparseDisk(layout.size, {})
    for offset, data in table_writes(layout, head):
        disk.pwrite(data, offset)
    return disk


@pytest.mark.parametrize("name", [n for n in TABLED if "sgdisk" not in n and n != "dos-extended-parted"])
def test_the_bytes_are_those_of_sfdisk_and_parted(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    assert written(read_layout(disk, sector_size), disk.pread(MIB, 0)) == disk


def test_from_sgdisk_only_the_end_of_the_protective_entry_differs() -> None:
    disk, _, _ = recorded("gpt-sgdisk")
    again = written(read_layout(disk, 512), disk.pread(MIB, 0))
    again.pwrite(disk.pread(3, 451), 451)  # sgdisk writes a cylinder there; UEFI 2.10 table 5-4 wants FF FF FF
    assert again == disk


@pytest.mark.parametrize("name", TABLED)
def test_a_real_table_is_read_as_what_it_was(name: str) -> None:
    disk, sector_size, _ = recorded(name)
    layout = read_layout(disk, sector_size)
    again = read_layout(written(layout, disk.pread(MIB, 0)), sector_size)
    if name == "gpt-sgdisk-many-entries":  # more entries than its partitions need
        assert again.partitions == layout.partitions
    else:
        assert again == replace(layout, problems=())


@pytest.mark.parametrize("name", [n for n in TABLED if n != "gpt-sgdisk-many-entries"])
@pytest.mark.parametrize("mode", ["auto", "same", "keep"])
def test_a_real_disk_fitted_onto_its_like_is_the_same(name: str, mode: str) -> None:
    disk, sector_size, _ = recorded(name)
    layout = replace(read_layout(disk, sector_size), problems=())
    assert (
        fit(layout, [], disk.size, sector_size, "auto" if mode == "auto" else "same" if mode == "same" else "keep").layout
        == layout
    )


@SETTINGS
@given(st.one_of(gpt_layouts(), dos_layouts()), st.binary(max_size=2000))
def test_a_random_layout_is_read_as_what_it_was(layout: Layout, head: bytes) -> None:
    disk = written(layout, head)
    again = read_layout(disk, layout.sector_size)
    assert again == layout
    code = head[:440].ljust(440, b"\0")
    assert disk.pread(440, 0) == code


@SETTINGS
@given(st.one_of(gpt_layouts(), dos_layouts()))
def test_no_write_touches_a_partition_and_a_cut_leaves_no_table(layout: Layout) -> None:
    writes = table_writes(layout, b"")
    assert writes[-1][0] == 0
    for offset, data in writes:
        assert offset % layout.sector_size == len(data) % layout.sector_size == 0
        assert not any(p.start < offset + len(data) and offset < p.end for p in layout.data_partitions)
    # A cut before the end leaves a disk that nobody takes for one with a table; only its first sector may be lacking.
    disk = SparseDisk(layout.size, {})
    for offset, data in writes[: -2 if layout.label == "gpt" else -1]:
        disk.pwrite(data, offset)
        assert read_layout(disk, layout.sector_size).label == "none"


def test_boot_code_and_the_active_flag_of_a_gpt_are_kept_and_a_hybrid_is_not() -> None:
    disk, _, _ = recorded("gpt-sgdisk-hybrid")
    disk.pwrite(bytes(range(200)) * 2, 0)
    disk.pwrite(b"\x80", 462)
    layout = read_layout(disk, 512)
    again = written(layout, disk.pread(512, 0))
    assert again.pread(400, 0) == bytes(range(200)) * 2
    assert again.pread(64, 446)[16:] == bytes(48)
    assert again.pread(1, 450) == b"\xee"
    assert not read_layout(again, 512).problems


def test_the_protective_entry_of_a_big_disk_ends_where_an_mbr_does() -> None:
    layout = gpt(5 * TIB, Partition(1, MIB, 5 * TIB - MIB, LINUX, DISK))
    disk = written(layout)
    assert disk.pread(4, 458) == b"\xff\xff\xff\xff"
    assert read_layout(disk, 512) == layout


def test_an_empty_extended_partition_has_an_empty_chain() -> None:
    extended = Partition(2, 10 * MIB, 20 * MIB, "0x05", "00000001-02", kind="extended")
    layout = dos(GIB, extended)
    again = read_layout(written(layout), 512)
    assert again.partitions == (extended,)
    assert not again.problems


def gpt(size: int, *partitions: Partition) -> Layout:
    """A GPT for a disk with sectors of 512 bytes."""
    disk = Layout(size, 512, "gpt", DISK, 34 * 512, size - 33 * 512, partitions)
    table = read_layout(written(replace(disk, partitions=())), 512).table
    return replace(disk, table=table)


def dos(size: int, *partitions: Partition) -> Layout:
    """An MBR for a disk with sectors of 512 bytes."""
    return Layout(size, 512, "dos", "00000001", 512, size, partitions)


ONE = Partition(1, MIB, 2 * MIB, LINUX, DISK)
OLD = Partition(1, MIB, 2 * MIB, "0x83")
EXTENDED = Partition(2, 10 * MIB, 20 * MIB, "0x05", kind="extended")
LOGICAL = Partition(5, 11 * MIB, 12 * MIB, "0x83", kind="logical")


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (gpt(GIB, ONE, replace(ONE, number=2, end=3 * MIB)), "overlap"),
        (gpt(GIB, ONE, replace(ONE, start=3 * MIB, end=4 * MIB)), "same number"),
        (gpt(GIB, replace(ONE, start=MIB + 1)), "does not start and end with a sector"),
        (gpt(GIB, replace(ONE, number=0)), "not inside of the disk"),
        (gpt(GIB, replace(ONE, end=2 * GIB)), "not inside of the disk"),
        (gpt(GIB, replace(ONE, start=2 * MIB)), "not inside of the disk"),
        (gpt(GIB, replace(ONE, end=GIB)), "not inside of what the GPT leaves"),
        (gpt(GIB, replace(ONE, start=512)), "not inside of what the GPT leaves"),
        (gpt(GIB, replace(ONE, number=1025)), "room for only 128 partitions, none for one with the number 1025"),
        (gpt(GIB, replace(ONE, number=129)), "room for only 128 partitions, none for one with the number 129"),
        (gpt(GIB, replace(ONE, name="x" * 37)), "too long"),
        (gpt(GIB, replace(ONE, uuid="")), "no valid GUID"),
        (gpt(GIB, replace(ONE, type="0x83")), "no valid GUID"),
        (gpt(GIB, replace(ONE, uuid="0" * 32)), "unused"),
        (gpt(GIB, replace(ONE, kind="logical")), "a GPT has no such"),
        (replace(gpt(GIB, ONE), size=16 * 1024), "not inside of the disk"),
        (replace(gpt(GIB), size=16 * 1024), "no room for both copies"),
        (replace(gpt(GIB, ONE), id="gpt"), "no valid GUID"),
        (dos(GIB, replace(OLD, number=5)), "cannot have that number"),
        (dos(GIB, EXTENDED, replace(LOGICAL, number=4)), "cannot have that number"),
        (dos(GIB, EXTENDED, replace(LOGICAL, number=6)), "without a gap"),
        (dos(GIB, replace(OLD, type="0x05")), "cannot have the type"),
        (dos(GIB, replace(OLD, type="0xee")), "cannot have the type"),
        (dos(GIB, replace(OLD, type="0x00")), "cannot have the type"),
        (dos(GIB, replace(OLD, type=LINUX)), "no type that an MBR knows"),
        (dos(GIB, LOGICAL), "no extended one"),
        (dos(GIB, EXTENDED, replace(LOGICAL, start=10 * MIB)), "no room before logical partition 5"),
        (dos(GIB, EXTENDED, replace(LOGICAL, start=30 * MIB, end=40 * MIB)), "not inside of the extended"),
        (dos(GIB, EXTENDED, LOGICAL, replace(LOGICAL, number=6, start=12 * MIB, end=13 * MIB)), "before logical partition 6"),
        (dos(GIB, EXTENDED, replace(EXTENDED, number=3, start=30 * MIB, end=31 * MIB)), "two extended"),
        (
            dos(
                GIB,
                EXTENDED,
                *(replace(LOGICAL, number=n, start=(21 + n) * MIB, end=(21 + n) * MIB + 512) for n in range(5, 134)),
            ),
            "more than 128 logical",
        ),
        (dos(3 * TIB, replace(OLD, end=3 * TIB)), "ends behind 2.0 TiB"),
        (replace(dos(GIB, OLD), id="123456789"), "signature"),
        (replace(dos(GIB, OLD), id="xyz"), "signature"),
    ],
)
def test_what_cannot_be_written_is_refused(layout: Layout, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        table_writes(layout, b"")


def test_the_highest_type_is_one() -> None:
    assert read_layout(written(dos(GIB, replace(OLD, type="0xff"))), 512).partitions[0].type == "0xff"


def test_a_disk_without_a_table_gets_none() -> None:
    assert table_writes(Layout(GIB, 512, "none"), b"x" * 512) == []
