"""From an MBR to a GPT and back, as values that can be fitted and written."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings

from rescue.devices.table import read_layout
from rescue.devices.write_table import table_writes
from rescue.errors import RefusedError, UsageError
from rescue.model.fit import FitVolume
from rescue.model.layout import Layout, Partition
from rescue.model.volume import Identity
from rescue.planning.fit import fit
from rescue.planning.label import converted
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.examples import examples
from tests.unit.devices.recorded import SparseDisk
from tests.unit.planning.layouts import dos_layouts, gpt_layouts
from tests.unit.planning.test_fit_cases import OLD, OLD_CONTENT, PC

SETTINGS = settings(
    max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def counting() -> Callable[[], UUID]:
    """New GUIDs, one after the other."""
    count = iter(range(1, 1000))
    return lambda: UUID(int=next(count) << 32 | 0xABCD)


def read_back(layout: Layout) -> Layout:
    """The layout, written to a disk and read from it."""
    disk = SparseDisk(layout.size, {})
    for offset, data in table_writes(layout, b""):
        disk.pwrite(data, offset)
    return read_layout(disk, layout.sector_size)


@SETTINGS
@given(dos_layouts())
def test_any_mbr_becomes_a_gpt_and_an_mbr_again(source: Layout) -> None:
    there = converted(source, "gpt", counting())
    assert there.numbers == tuple((p.number, p.number) for p in source.data_partitions)
    assert len({p.uuid for p in there.layout.partitions} | {there.layout.id}) == len(there.numbers) + 1
    fitted = fit(there.layout, [], source.size + 40 * MIB, source.sector_size)
    assert read_back(fitted.layout) == fitted.layout
    back = converted(there.layout, "dos", counting())
    numbers = dict(back.numbers)
    after = {p.number: p for p in back.layout.data_partitions}
    for old in source.data_partitions:
        new = after[numbers[old.number]]
        assert (new.start, new.end, new.type) == (old.start, old.end, old.type)
        assert new.attributes == (old.attributes if new.kind == "primary" else 0)
    again = fit(back.layout, [], source.size + 40 * MIB, source.sector_size)
    assert read_back(again.layout) == again.layout


@SETTINGS
@given(gpt_layouts())
def test_any_gpt_becomes_an_mbr_that_can_be_fitted(source: Layout) -> None:
    made = converted(source, "dos", counting())
    kinds = [p.kind for p in made.layout.data_partitions]
    assert kinds.count("primary") == min(len(kinds), 3 if len(kinds) > 4 else 4)
    fitted = fit(made.layout, [], source.size + 40 * MIB, source.sector_size)
    assert read_back(fitted.layout) == fitted.layout


def test_an_old_disk_becomes_a_gpt() -> None:
    made = converted(OLD, "gpt", counting()).layout
    assert [(p.number, p.start, p.end) for p in made.partitions] == [(p.number, p.start, p.end) for p in OLD.data_partitions]
    assert [p.type[:8] for p in made.partitions] == ["EBD0A0A2", "EBD0A0A2", "0FC63DAF"]
    assert [p.attributes for p in made.partitions] == [1 << 2, 0, 0]
    assert made.id == "00000000-0000-0000-0000-00040000ABCD"
    assert read_back(made) == made


def test_what_fills_the_disk_is_shrunk_for_the_backup_table() -> None:
    full = replace(OLD, size=90 * GIB)
    made = converted(full, "gpt", counting()).layout
    with pytest.raises(RefusedError, match="Partition 6 is not inside"):
        table_writes(made, b"")
    fitted = fit(made, OLD_CONTENT, 90 * GIB, 512)
    assert max(p.end for p in fitted.layout.partitions) == 90 * GIB - MIB
    assert read_back(fitted.layout) == fitted.layout


def test_a_pc_becomes_an_mbr_without_what_only_a_gpt_has() -> None:
    reserved = Partition(9, 513 * MIB + 19 * GIB, 529 * MIB + 19 * GIB, "E3C9E316-0B5C-4DB8-817D-F92DF00215AE")
    made = converted(replace(PC, partitions=(*PC.partitions, reserved)), "dos", counting())
    assert made.left_out == (9,)
    assert [(p.number, p.type) for p in made.layout.partitions] == [(1, "0xef"), (2, "0x83"), (3, "0x07"), (4, "0x82")]
    assert made.layout.id == "0000abcd"
    assert read_back(made.layout) == made.layout


def test_five_partitions_need_an_extended_one_and_room_for_it() -> None:
    fifth = Partition(5, 513 * MIB + 19 * GIB, 520 * MIB + 19 * GIB, PC.partitions[1].type)
    made = converted(replace(PC, partitions=(*PC.partitions, fifth)), "dos", counting())
    assert made.numbers == ((1, 1), (2, 2), (3, 3), (4, 5), (5, 6))
    with pytest.raises(RefusedError, match="no room before logical partition 5"):
        table_writes(made.layout, b"")
    fitted = fit(made.layout, [FitVolume(3, GIB)], 20 * GIB, 512)
    assert [p.kind for p in fitted.layout.partitions] == ["primary"] * 3 + ["extended"] + ["logical"] * 2
    assert read_back(fitted.layout) == fitted.layout


@pytest.mark.parametrize(("code", "says"), [("0x42", "dynamic disk"), ("0xee", "only protects"), ("0x63", "has the type 0x63")])
def test_types_that_a_gpt_does_not_have(code: str, says: str) -> None:
    odd = replace(OLD, partitions=(replace(OLD.partitions[0], type=code), Partition(2, 30 * GIB, 40 * GIB, "0x83")))
    with pytest.raises(RefusedError, match=f"partition 1 .*{says}"):
        converted(odd, "gpt", counting())
    assert converted(odd, "gpt", counting(), leave_out=[1]).numbers == ((2, 2),)


def test_a_hidden_partition_stays_hidden() -> None:
    hidden = replace(OLD, partitions=(replace(OLD.partitions[0], type="0x17", attributes=0),))
    made = converted(hidden, "gpt", counting()).layout.partitions[0]
    assert (made.type[:8], made.attributes) == ("EBD0A0A2", 1 << 62)


def test_types_that_an_mbr_does_not_have() -> None:
    odd = replace(PC, partitions=(replace(PC.partitions[0], type="12345678-0000-0000-0000-000000000000"),))
    with pytest.raises(RefusedError, match="partition 1 has the type 12345678"):
        converted(odd, "dos", counting())


def test_sixty_partitions_are_too_many_for_an_mbr() -> None:
    many = tuple(Partition(n, n * MIB, (n + 1) * MIB, PC.partitions[1].type) for n in range(1, 61))
    with pytest.raises(RefusedError, match="60 partitions"):
        converted(replace(PC, partitions=many), "dos", counting())
    made = converted(replace(PC, partitions=many), "dos", counting(), leave_out=[60]).layout
    fitted = fit(made, [], 20 * GIB, 512)
    assert max(p.number for p in fitted.layout.partitions) == 60
    assert read_back(fitted.layout) == fitted.layout


def test_the_same_kind_is_the_same_layout_and_none_is_no_kind() -> None:
    assert converted(PC, "gpt", counting()).layout is PC
    with pytest.raises(UsageError):
        converted(PC, "none", counting())
    with pytest.raises(UsageError):
        converted(Layout(GIB, 512, "none"), "gpt", counting())


def test_fat_has_types_of_its_own_in_an_mbr() -> None:
    source = replace(PC, partitions=tuple(replace(p, type="EBD0A0A2-B9E5-4433-87C0-68B6B72699C7") for p in PC.partitions[:3]))
    first, second, third = (p.number for p in source.partitions)
    contents = {first: Identity("vfat", version="FAT32"), second: Identity("vfat", version="FAT16"), third: Identity("ntfs")}
    made = converted(source, "dos", counting(), contents=contents).layout
    assert [p.type for p in made.data_partitions] == ["0x0c", "0x0e", "0x07"]
