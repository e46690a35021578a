"""Plans to edit partitions: which steps in which order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rescue.engine.grow import _GROWERS
from rescue.engine.grow_container import GROWN
from rescue.errors import RefusedError, UsageError
from rescue.model.disk import Protection
from rescue.model.edit import FormatVolume, MoveVolume, ResizeVolume, SaveTables, SetTable
from rescue.model.extents import Extent
from rescue.model.layout import HYBRID_MBR, IMAGED_WHOLE, Partition
from rescue.model.plan import Plan
from rescue.model.survey import DiskSurvey
from rescue.planning.partition_plan import PartitionRequest, layouts_of, plan_partition, plan_repair, plan_undo
from rescue.planning.partition_size import GROWABLE
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.unit.looks import RecordedLooks
from tests.unit.planning.machines import LAPTOP_SURVEY, LAYOUT

GUID = "0F3B1E5C-0000-4000-8000-0000000000AA"


def _plan(*operations: str, survey: DiskSurvey = LAPTOP_SURVEY) -> Plan:
    return plan_partition(survey, PartitionRequest(operations, "/var/x"), lambda: GUID)


def test_a_file_system_shrinks_before_its_partition_and_grows_after_it() -> None:
    smaller = _plan("resize 3 size=300GiB")
    assert [type(step) for step in smaller.steps] == [SaveTables, ResizeVolume, SetTable]
    larger = _plan("resize 3 size=max")
    assert [type(step) for step in larger.steps] == [SaveTables, SetTable, ResizeVolume]
    assert "switch off" in " ".join(larger.warnings)


def test_operations_on_the_table_alone_are_one_write() -> None:
    plan = _plan("delete 2", "name 3 data")
    assert [type(step) for step in plan.steps] == [SaveTables, SetTable]
    assert len(plan.losses) == 1
    assert "Microsoft reserved" in plan.losses[0]
    layouts = layouts_of(plan)
    assert layouts is not None
    assert layouts[0] == LAYOUT
    assert [p.number for p in layouts[1].partitions] == [1, 3]


def test_a_queue_is_done_in_its_order() -> None:
    plan = _plan("resize 3 size=300GiB", "move 3 start=2GiB", "create fs=ext4 label=x", "format 1 fs=vfat")
    assert [type(step) for step in plan.steps] == [
        SaveTables, ResizeVolume, SetTable, MoveVolume, SetTable, FormatVolume, FormatVolume,
    ]  # fmt: skip
    move = next(step for step in plan.steps if isinstance(step, MoveVolume))
    assert move.queue == ("move 3 start=2GiB", "create fs=ext4 label=x", "format 1 fs=vfat")
    save = plan.steps[0]
    assert isinstance(save, SaveTables)
    assert save.changed
    assert len(plan.losses) == 1
    assert "--undo" not in " ".join(plan.sentences)


def _journal(plan: Plan) -> Extent:
    return next(step.journal for step in plan.steps if isinstance(step, MoveVolume))


def test_the_journal_of_a_move_is_where_the_disk_is_blank() -> None:
    def planned(is_blank: Callable[[Extent], bool], *operations: str) -> Plan:
        return plan_partition(
            LAPTOP_SURVEY, PartitionRequest(operations, "/var/x"), lambda: GUID, looks=RecordedLooks(blank=is_blank)
        )

    plan = planned(lambda _: True, "move 3 start=2GiB")
    assert _journal(plan).end <= LAYOUT.usable_end
    assert plan.warnings == ()
    plan = planned(lambda place: place.end < 500 * GIB, "move 3 start=2GiB")
    assert 400 * GIB < _journal(plan).start < 500 * GIB
    assert plan.warnings == ()
    # What the queue writes before is not blank then.
    plan = planned(
        lambda place: place.end > 500 * GIB, "create start=402GiB size=109GiB fs=ext4", "delete 4", "move 3 start=2GiB"
    )
    assert not 402 * GIB <= _journal(plan).start < 511 * GIB


def test_a_journal_that_overwrites_something_stays_away_from_borders_and_is_announced() -> None:
    full = replace(
        LAYOUT, partitions=(*LAYOUT.partitions[2:], Partition(4, 400 * GIB, LAYOUT.usable_end, LAYOUT.partitions[2].type))
    )
    survey = replace(LAPTOP_SURVEY, layout=full, volumes=LAPTOP_SURVEY.volumes[2:])

    def planned(*operations: str) -> Plan:
        return plan_partition(
            survey, PartitionRequest(operations, "/x"), lambda: GUID, looks=RecordedLooks(blank=lambda _: False)
        )

    plan = planned("delete 4", "move 3 start=2GiB")
    place = _journal(plan)
    assert 401 * GIB + MIB <= place.start < place.end <= LAYOUT.usable_end - MIB
    assert "content of what was partition 4" in " ".join(plan.warnings)
    # Only room before the first partition is left, and something is there.
    with pytest.raises(RefusedError, match="no unallocated space for the journal") as refused:
        planned("move 3 start=1023MiB")
    assert "boot loader" in refused.value.hint


def test_what_is_known_of_content_refuses_a_size() -> None:
    with pytest.raises(RefusedError, match="as small as"):
        _plan("resize 3 size=100GiB")
    with pytest.raises(RefusedError, match="cannot be made smaller"):
        _plan("resize 1 size=100MiB")
    with pytest.raises(UsageError, match="that size already"):
        _plan("resize 1 size=512MiB")
    with pytest.raises(UsageError, match="no free room behind partition 1"):
        _plan("resize 1 size=max")


def test_protected_disks_and_nothing_to_do() -> None:
    held = replace(LAPTOP_SURVEY, protections=(Protection("mounted at /mnt", "Unmount it."),))
    plans: list[Callable[[], Plan]] = [
        lambda: _plan("delete 1", survey=held),
        lambda: plan_undo(held, "/x"),
        lambda: plan_repair(held, "/x", hybrid=False),
    ]
    for plan in plans:
        with pytest.raises(RefusedError, match="mounted at"):
            plan()
    with pytest.raises(UsageError, match="nothing to do"):
        _plan()
    with pytest.raises(UsageError, match="No move"):
        plan_partition(LAPTOP_SURVEY, PartitionRequest((), "/x", go_on=True), lambda: GUID)


def test_a_new_table_names_everything_that_is_lost() -> None:
    plan = _plan("table dos", "create size=10GiB type=0x07")
    assert len(plan.losses) == 3
    layouts = layouts_of(plan)
    assert layouts is not None
    assert [(p.number, p.size) for p in layouts[1].partitions] == [(1, 10 * GIB)]


def test_what_grows_is_what_the_engine_makes_larger() -> None:
    assert set(_GROWERS) | GROWN == GROWABLE


def test_a_file_system_that_is_smaller_than_its_partition_is_made_to_fill_it() -> None:
    size = LAYOUT.partitions[2].size
    request = PartitionRequest((f"resize 3 size={size}",), "/var/x")
    plan = plan_partition(LAPTOP_SURVEY, request, lambda: GUID, looks=RecordedLooks(size - GIB))
    assert [type(step) for step in plan.steps] == [SaveTables, ResizeVolume]
    assert "fill the partition" in plan.sentences[-1]
    for taken in (0, size, size - 4096):
        with pytest.raises(UsageError, match="has that size already"):
            plan_partition(LAPTOP_SURVEY, request, lambda: GUID, looks=RecordedLooks(taken))
    # What an operation made anew is not what the disk holds.
    formatted = replace(request, operations=("format 3 fs=ext4", *request.operations))
    with pytest.raises(UsageError, match="has that size already"):
        plan_partition(LAPTOP_SURVEY, formatted, lambda: GUID, looks=RecordedLooks(size - GIB))


def test_what_comes_back_is_what_it_is_found_to_be() -> None:
    start, size = LAYOUT.partitions[2].start, LAYOUT.partitions[2].size
    queue = ("delete 3", f"add start={start} size={size}", f"resize 3 size={size // 2}")
    plan = plan_partition(LAPTOP_SURVEY, PartitionRequest(queue, "/x"), lambda: GUID, looks=RecordedLooks())
    assert [step.identity.type for step in plan.steps if isinstance(step, ResizeVolume)] == ["ext4"]
    with pytest.raises(RefusedError, match="not known yet") as refused:
        plan_partition(_without(start), PartitionRequest(queue[1:], "/x"), lambda: GUID)
    assert "Apply what is pending first" in refused.value.hint


def _without(start: int) -> DiskSurvey:
    layout = replace(LAYOUT, partitions=tuple(p for p in LAYOUT.partitions if p.start != start))
    volumes = tuple(volume for volume in LAPTOP_SURVEY.volumes if volume.start != start)
    return replace(LAPTOP_SURVEY, layout=layout, volumes=volumes)


def test_a_hybrid_mbr_is_not_dropped_unasked() -> None:
    survey = replace(LAPTOP_SURVEY, layout=replace(LAYOUT, problems=(HYBRID_MBR,)))
    for queue in (("delete 2",), ("resize 3 size=300GiB",), ("move 3 start=2GiB",), ("label 3 x", "name 3 x")):
        with pytest.raises(RefusedError, match=r"hybrid MBR.*would be lost.*convert mbr"):
            _plan(*queue, survey=survey)
    # These write no table.
    assert not layouts_of(_plan("label 3 x", "format 1 fs=vfat", survey=survey))
    for queue in (("convert mbr",), ("table gpt", "create")):
        assert any("second description" in warning for warning in _plan(*queue, survey=survey).warnings)


def test_a_file_with_large_sectors_gets_no_mbr() -> None:
    """Nothing would tell of its sectors any more: it would be read with those of 512 bytes."""
    layout = replace(LAYOUT, sector_size=4096)
    disk = replace(LAPTOP_SURVEY.disk, path="/x/4k.raw", logical_sector_size=4096, is_file=True)
    survey = replace(LAPTOP_SURVEY, disk=disk, layout=layout)
    for operation in ("convert mbr", "table mbr"):
        with pytest.raises(RefusedError, match=r"A GPT tells so, an MBR does not.*losetup --sector-size 4096"):
            _plan(operation, survey=survey)
        assert _plan(operation, survey=replace(survey, disk=replace(disk, is_file=False)))
    assert _plan("table gpt", survey=survey)
    small = replace(survey, disk=replace(disk, logical_sector_size=512), layout=LAYOUT)
    assert _plan("convert mbr", survey=small)


def test_what_a_damaged_table_means_for_an_image_is_not_said_of_edits() -> None:
    layout = replace(LAYOUT, label="none", partitions=(), problems=(f"The table is bad. {IMAGED_WHOLE}",))
    survey = replace(LAPTOP_SURVEY, layout=layout)
    assert "The table is bad." in _plan("table gpt", survey=survey).warnings
    with pytest.raises(RefusedError, match=r"whole\. The table is bad\.") as refused:
        plan_repair(survey, "/x", hybrid=False)
    assert IMAGED_WHOLE not in refused.value.message
