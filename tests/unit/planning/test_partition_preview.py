"""What a queue of pending operations makes of a disk, as the screens show it."""

from __future__ import annotations

import pytest

from rescue.errors import RefusedError, UsageError
from rescue.model.edit import EraseExtents
from rescue.model.extents import Extent
from rescue.model.layout import Layout
from rescue.planning.partition_plan import PartitionRequest, layouts_of, plan_partition
from rescue.planning.partition_preview import preview
from rescue.records import replace
from rescue.units import GIB
from tests.unit.planning.machines import LAPTOP_SURVEY

GUID = "0F3B1E5C-0000-4000-8000-0000000000AA"
QUEUE = ("resize 3 size=300GiB", "move 3 start=2GiB", "create fs=ext4 label=x", "delete 2", "name 3 system")


def test_nothing_pending_is_the_disk_itself() -> None:
    found = preview(LAPTOP_SURVEY, (), lambda: GUID)
    assert found.survey == LAPTOP_SURVEY
    assert found.sentences == ()


def test_it_shows_the_table_that_the_plan_will_write() -> None:
    layouts = layouts_of(plan_partition(LAPTOP_SURVEY, PartitionRequest(QUEUE, "/x"), lambda: GUID))
    assert layouts is not None
    found = preview(LAPTOP_SURVEY, QUEUE, lambda: GUID)
    assert found.survey.layout == layouts[1]
    assert len(found.sentences) == len(QUEUE)
    assert any("switch off" in warning for warning in found.warnings)


def test_what_partitions_hold_moves_with_them() -> None:
    found = preview(LAPTOP_SURVEY, QUEUE, lambda: GUID).survey
    by_number = {volume.partition: volume for volume in found.volumes}
    assert (by_number[3].start, by_number[3].size, by_number[3].identity.type) == (2 * GIB, 300 * GIB, "ntfs")
    made = next(volume for volume in found.volumes if volume.identity.label == "x")
    assert (made.identity.type, made.used_bytes) == ("ext4", 0)
    assert 2 not in by_number


def test_a_queue_that_cannot_be_done_is_refused() -> None:
    with pytest.raises(RefusedError):
        preview(LAPTOP_SURVEY, ("create size=1TiB",), lambda: GUID)
    with pytest.raises(UsageError):
        preview(LAPTOP_SURVEY, ("delete 2", "delete 2"), lambda: GUID)


def test_a_disk_without_a_table_keeps_its_file_system_until_it_gets_one() -> None:
    bare = replace(LAPTOP_SURVEY, layout=Layout(LAPTOP_SURVEY.disk.size, 512, "none"), volumes=LAPTOP_SURVEY.volumes[:1])
    assert preview(bare, (), lambda: GUID).survey.volumes == bare.volumes
    assert preview(bare, ("table gpt",), lambda: GUID).survey.volumes == ()


def _held(*operations: str) -> dict[int, str]:
    found = preview(LAPTOP_SURVEY, operations, lambda: GUID).survey
    return {volume.partition: volume.identity.type for volume in found.volumes}


def test_what_was_written_over_is_not_shown_again() -> None:
    assert _held("delete 3", "create size=20GiB") == {1: "vfat", 2: ""}  # the end of what was there is outside
    over = _held("delete 2", "delete 3", "create size=50GiB fs=ext4", "delete 2", "create start=529MiB size=max")
    assert over == {1: "vfat"}


def test_what_is_added_to_a_new_table_is_not_erased() -> None:
    """A file system on the whole disk is, for nobody to take it for the disk's content; the added one may begin in its place."""
    bare = replace(LAPTOP_SURVEY, layout=Layout(LAPTOP_SURVEY.disk.size, 512, "none"), volumes=LAPTOP_SURVEY.volumes[:1])
    bare = replace(bare, volumes=(replace(bare.volumes[0], partition=0, start=0, end=LAPTOP_SURVEY.disk.size),))
    end = LAPTOP_SURVEY.disk.size - 33 * 512
    queue = ("table mbr", f"add start=32256 size={end - 32256 - 512 * 100}")
    plan = plan_partition(bare, PartitionRequest(queue, "/x"), lambda: GUID)
    (erased,) = (step for step in plan.steps if isinstance(step, EraseExtents))
    assert erased.extents[0] == Extent(0, 32256)
    added = (32256, end - 512 * 100)
    assert not any(extent.start < added[1] and added[0] < extent.end for extent in erased.extents)
    assert any("nothing of what is added" in sentence for sentence in plan.sentences)


def test_what_is_added_is_named_unless_it_is_known() -> None:
    add = f"add start={GIB} size={GIB}"
    empty = replace(LAPTOP_SURVEY, layout=replace(LAPTOP_SURVEY.layout, partitions=()), volumes=())
    assert preview(empty, (add,), lambda: GUID).added == (GIB,)
    assert preview(empty, (add, "format 1 fs=ext4"), lambda: GUID).added == ()
    assert preview(empty, (f"create start={GIB} size={GIB}",), lambda: GUID).added == ()
