"""A table made one of the other kind in place: what is refused with which numbers, and what the plan says."""

from __future__ import annotations

import pytest

from rescue.errors import RefusedError, UsageError
from rescue.model.edit import SaveTables, SetTable
from rescue.model.fit import FitWish, FitWishes
from rescue.model.fitting import FitDisk
from rescue.model.layout import Layout, Partition
from rescue.model.operation import Convert
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity, Volume
from rescue.planning.fitting import FitChoice, FitSource, needs_fit, plan_fit
from rescue.planning.operation_text import parse_operation
from rescue.planning.partition import apply
from rescue.planning.partition_plan import PartitionRequest, plan_partition
from rescue.records import replace
from rescue.units import GIB, MIB, TIB
from tests.unit.planning.machines import BLANK_SURVEY, LAPTOP, LAPTOP_SURVEY, fingerprint
from tests.unit.planning.test_fit_cases import ESP, LINUX, OLD, PC
from tests.unit.planning.test_label import counting

MSR = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"
MODERN = replace(OLD, partitions=(Partition(1, MIB, 20 * GIB, "0x07", attributes=1), Partition(2, 20 * GIB, 99 * GIB, "0x83")))


def _convert(layout: Layout, label: str) -> Layout:
    new = counting()
    return apply(layout, parse_operation(f"convert {label}", layout, lambda: str(new())))


def test_there_and_back_nothing_moves() -> None:
    gpt = _convert(MODERN, "gpt")
    assert gpt.label == "gpt"
    assert [(p.number, p.start, p.end) for p in gpt.partitions] == [(1, MIB, 20 * GIB), (2, 20 * GIB, 99 * GIB)]
    assert len({p.uuid for p in gpt.partitions} | {gpt.id}) == 3
    back = _convert(gpt, "mbr")
    assert [(p.number, p.start, p.end, p.type) for p in back.partitions] == [
        (p.number, p.start, p.end, p.type) for p in MODERN.partitions
    ]
    assert _convert(gpt, "dos").label == "dos"


def test_a_full_disk_has_no_room_for_the_backup() -> None:
    full = replace(MODERN, partitions=(Partition(1, MIB, 100 * GIB, "0x07"),))
    with pytest.raises(RefusedError, match=r"takes the last 16896 bytes .* partition 1 ends 16896 bytes behind") as refused:
        _convert(full, "gpt")
    assert refused.value.hint == f"Make the partition smaller first: 'resize 1 size={100 * 1024 - 2}MiB'."
    small = apply(full, parse_operation(f"resize 1 size={100 * 1024 - 2}MiB", full, str))
    assert _convert(small, "gpt").label == "gpt"


def test_a_partition_at_the_very_start_is_in_the_way() -> None:
    early = replace(MODERN, partitions=(Partition(1, 4096, GIB, "0x07"),))
    with pytest.raises(RefusedError, match="first 17408 bytes of the disk, and partition 1 begins 13312 bytes before") as refused:
        _convert(early, "gpt")
    assert "move 1" in refused.value.hint
    assert _convert(replace(early, partitions=(Partition(1, 63 * 512, GIB, "0x07"),)), "gpt").label == "gpt"


def test_an_mbr_ends_at_2_tib() -> None:
    large = replace(
        PC, size=4 * TIB, usable_end=4 * TIB - MIB, partitions=(Partition(1, MIB, 3 * TIB, LINUX, "A" * 8, "x"),), table=()
    )
    with pytest.raises(RefusedError, match=rf"partition 1 ends 1\.0 TiB \({TIB} bytes\) behind 2\.0 TiB"):
        _convert(large, "mbr")


def test_more_than_four_need_room_for_an_extended_one() -> None:
    def five(gap: int) -> Layout:
        parts = [Partition(n, n * GIB + gap * (n > 3), (n + 1) * GIB, LINUX, f"{n}") for n in range(1, 6)]
        return replace(PC, partitions=tuple(parts))

    with pytest.raises(RefusedError, match="of its 5 partitions the last 2 would be logical ones, each of which needs 512"):
        _convert(five(0), "mbr")
    made = _convert(five(MIB), "mbr")
    assert [(p.number, p.kind) for p in made.partitions] == [
        (1, "primary"), (2, "primary"), (3, "primary"), (4, "extended"), (5, "logical"), (6, "logical"),
    ]  # fmt: skip


def test_what_makes_no_sense() -> None:
    with pytest.raises(UsageError, match="of that kind already"):
        _convert(PC, "gpt")
    with pytest.raises(UsageError, match="no partition table of the kind"):
        _convert(PC, "apm")
    with pytest.raises(UsageError, match="should read: convert"):
        parse_operation("convert", PC, str)
    with pytest.raises(UsageError, match="not as many new identifiers"):
        apply(MODERN, Convert("gpt", ()))
    with pytest.raises(UsageError, match="not as many new identifiers"):
        apply(MODERN, Convert("gpt", ("x", "y", "z")))
    with pytest.raises(RefusedError, match="no partition table"):
        apply(BLANK_SURVEY.layout, Convert("gpt", ()))


def _survey(layout: Layout) -> DiskSurvey:
    disk = replace(LAPTOP, size=layout.size)
    volumes = tuple(Volume(p.number, p.start, p.end, Identity("ext4", "filesystem"), MIB) for p in layout.data_partitions)
    return DiskSurvey(disk, layout, volumes, fingerprint(disk))


def test_the_plan_keeps_the_old_table_and_says_what_it_costs() -> None:
    new = counting()
    plan = plan_partition(_survey(MODERN), PartitionRequest(("convert gpt",), "/tmp/x"), lambda: str(new()))
    assert [type(step) for step in plan.steps] == [SaveTables, SetTable]
    text = " ".join(plan.sentences)
    assert "rescue partition --undo" in text
    assert "Make the partition table a GPT; it is an MBR. Partitions stay where they are" in text
    assert any("will not start by itself until its boot loader is installed anew" in w for w in plan.warnings)
    assert any("PARTUUID" in w for w in _plan_of_pc().warnings)


def _plan_of_pc() -> Plan:
    msr = Partition(9, 513 * MIB + 19 * GIB, 513 * MIB + 19 * GIB + 16 * MIB, MSR, "E", "Microsoft reserved")
    survey = _survey(replace(PC, partitions=(*PC.partitions, msr)))
    new = counting()
    plan = plan_partition(survey, PartitionRequest(("convert mbr",), "/tmp/x"), lambda: str(new()))
    (step,) = (step for step in plan.steps if isinstance(step, SetTable))
    assert len(step.after.partitions) == 4
    assert any("Partition 9" in loss for loss in plan.losses)
    assert any("an MBR knows no such partition" in sentence for sentence in plan.sentences)
    return plan


def test_another_kind_on_the_target() -> None:
    source = FitSource("", LAPTOP.path, LAPTOP, LAPTOP_SURVEY.layout, LAPTOP_SURVEY.volumes, LAPTOP_SURVEY.used_bytes)
    wishes = FitWishes((FitWish(3, "exactly", 300 * GIB),), order=(3, 1), table="dos")
    new = counting()
    plan = plan_fit(source, BLANK_SURVEY, FitChoice("restore", "auto", {3: 220 * GIB}, wishes=wishes, new_id=new))
    (step,) = (step for step in plan.steps if isinstance(step, FitDisk))
    assert step.layout.label == "dos"
    assert [(p.number, p.type, p.size) for p in step.layout.partitions] == [(3, "0x07", 300 * GIB), (1, "0xef", 512 * MIB)]
    # The Microsoft reserved partition has no place in an MBR; volumes are named by their numbers on the source.
    assert [(v.partition, v.target_partition) for v in step.volumes] == [(3, 3), (1, 1)]
    text = " ".join(plan.sentences)
    assert "Make its partition table an MBR; it was a GPT." in text
    assert any("Partition 2, Microsoft reserved, 16.0 MiB: is left out" in w for w in plan.warnings)
    assert any("will not start by itself" in w for w in plan.warnings)
    assert plan.command[-2:] == ("--table", "mbr")
    with pytest.raises(UsageError, match="no partition 9"):
        plan_fit(source, BLANK_SURVEY, FitChoice("restore", "auto", {}, wishes=FitWishes((FitWish(9, "min"),), table="dos")))


def test_volumes_are_found_by_their_numbers_on_the_source() -> None:
    parts = tuple(Partition(n, n * GIB, (n + 1) * GIB, LINUX, f"{n}") for n in (2, 3, 5, 6, 8))
    survey = _survey(replace(PC, partitions=parts))
    source = FitSource("", "it", survey.disk, survey.layout, survey.volumes, survey.used_bytes)
    wishes = FitWishes((FitWish(3, "leave-out"), FitWish(6, "min")), table="dos")
    plan = plan_fit(
        source,
        replace(BLANK_SURVEY, disk=replace(LAPTOP, size=PC.size)),
        FitChoice("clone", "keep", {6: 300 * MIB}, wishes=wishes),
    )
    (step,) = (step for step in plan.steps if isinstance(step, FitDisk))
    assert [(v.partition, v.target_partition, v.start // GIB) for v in step.volumes] == [
        (2, 1, 2),
        (5, 2, 5),
        (6, 3, 6),
        (8, 4, 8),
    ]
    assert [p.size for p in step.layout.partitions] == [GIB, GIB, 300 * MIB, GIB]
    assert "Partition 8 of the source becomes partition 4." in plan.sentences


def test_when_a_kind_asks_for_a_fit() -> None:
    assert needs_fit(10, 10, None, FitWishes(table="gpt"), "dos")
    assert not needs_fit(10, 10, None, FitWishes(table="gpt"), "gpt")
    assert ESP in {p.type for p in PC.partitions}
