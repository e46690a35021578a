"""What a queue of pending operations makes of a disk, as the screens show it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rescue.errors import RefusedError, UsageError
from rescue.model.layout import Layout
from rescue.planning.partition_plan import PartitionRequest, layouts_of, plan_partition
from rescue.planning.partition_preview import preview
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
