"""Plans to wipe a disk, and everything that refuses one."""

from __future__ import annotations

import pytest

from rescue.devices.sanitize import Sanitizing
from rescue.errors import RefusedError, UsageError
from rescue.model.disk import Protection
from rescue.model.edit import EraseExtents, ProveErased, SanitizeDisk
from rescue.model.extents import Extent, ExtentMap
from rescue.model.survey import DiskSurvey
from rescue.planning.wipe import WipeRequest, plan_wipe, signature_extents
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.unit.planning.machines import BLANK_SURVEY, LAPTOP, LAPTOP_SURVEY, LAYOUT


def test_quick_erases_both_ends_of_the_disk_and_of_each_partition() -> None:
    found = ExtentMap(signature_extents(LAYOUT))
    for place in (0, LAYOUT.size - 1, 513 * MIB - 1, 513 * MIB, 529 * MIB - 1, 1 * GIB, 400 * GIB - 1):
        assert list(found.overlapping(place, place + 1)), place
    assert found.total <= 8 * MIB
    assert not list(found.overlapping(10 * MIB, 500 * MIB))


def test_the_description_of_logical_partitions_is_erased_too() -> None:
    layout = replace(LAYOUT, label="dos", partitions=(), table=(Extent(0, 512), Extent(7 * GIB, 7 * GIB + 512)))
    assert Extent(7 * GIB, 7 * GIB + 512) in signature_extents(layout)


def test_quick_says_that_content_stays_and_zeros_says_what_flash_keeps() -> None:
    quick = plan_wipe(LAPTOP_SURVEY, WipeRequest("quick"))
    assert [type(step) for step in quick.steps] == [EraseExtents, ProveErased]
    assert "recovered" in " ".join(quick.warnings)
    assert len(quick.losses) == 3
    assert quick.command == ("rescue", "wipe", LAPTOP.path, "--method", "quick")
    zeros = plan_wipe(LAPTOP_SURVEY, WipeRequest("zeros", verify=False))
    assert [type(step) for step in zeros.steps] == [EraseExtents]
    assert "spare blocks" in " ".join(zeros.warnings)
    assert zeros.command[-1] == "--no-verify"
    assert zeros.estimated_bytes == LAPTOP.size
    assert "spare" not in " ".join(plan_wipe(BLANK_SURVEY, WipeRequest("zeros")).warnings)
    file = replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, is_file=True))
    assert "elsewhere stays" in " ".join(plan_wipe(file, WipeRequest("zeros")).warnings)


def test_a_disk_erases_itself_only_when_it_can() -> None:
    plan = plan_wipe(LAPTOP_SURVEY, WipeRequest("sanitize"), Sanitizing("nvme-block", seconds=600))
    assert plan.steps == (SanitizeDisk(title="Have /dev/nvme0n1 erase itself", target="/dev/nvme0n1", way="nvme-block"),)
    assert "10 min" in plan.sentences[0]
    assert "cannot be stopped" in " ".join(plan.warnings)
    with pytest.raises(RefusedError, match="frozen now") as refused:
        plan_wipe(LAPTOP_SURVEY, WipeRequest("sanitize"), Sanitizing(None, "it is frozen now", "Wake it."))
    assert refused.value.hint == "Wake it."
    with pytest.raises(UsageError):
        plan_wipe(LAPTOP_SURVEY, WipeRequest("sanitize"))


@pytest.mark.parametrize(
    "survey",
    [
        replace(LAPTOP_SURVEY, protections=(Protection("mounted at /mnt", "Unmount it."),)),
        replace(LAPTOP_SURVEY, is_rescue_medium=True),
        replace(LAPTOP_SURVEY, unreadable="It does not answer."),
        replace(LAPTOP_SURVEY, disk=replace(LAPTOP, read_only=True)),
    ],
)
@pytest.mark.parametrize("method", ["quick", "zeros", "sanitize"])
def test_what_must_not_be_written_to_is_refused(survey: DiskSurvey, method: str) -> None:
    with pytest.raises(RefusedError) as refused:
        plan_wipe(survey, WipeRequest(method), Sanitizing("ata"))  # type: ignore[arg-type]
    assert refused.value.hint
