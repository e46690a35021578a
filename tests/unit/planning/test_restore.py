"""A restore is planned completely, or refused with numbers and a remedy."""

from __future__ import annotations

import msgspec
import pytest

from rescue.errors import DamagedError, FormatError, RefusedError
from rescue.model.disk import Protection
from rescue.model.plan import DeployImage, Plan, ReadBack, WipeTarget, WriteTable
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity, Volume
from rescue.planning.request import RestoreRequest
from rescue.planning.restore import plan_restore
from rescue.records import replace
from rescue.units import GIB
from tests.unit.planning.machines import BLANK_SURVEY, IMAGE, LAPTOP, LAPTOP_SURVEY, sized


def test_the_steps_come_in_the_safe_order() -> None:
    plan = plan_restore(IMAGE, BLANK_SURVEY, RestoreRequest())
    assert [type(step) for step in plan.steps] == [WipeTarget, DeployImage, WriteTable, ReadBack]
    assert plan.fingerprint == BLANK_SURVEY.fingerprint
    assert plan.target == BLANK_SURVEY.disk
    assert plan.losses == ()
    assert plan.command == ("rescue", "restore", "/mnt/usb/laptop.img.zst", "/dev/sdb")
    assert any("WD Blue, 512.0 GiB, serial WXA1" in sentence for sentence in plan.sentences)


def test_without_reading_back() -> None:
    plan = plan_restore(IMAGE, BLANK_SURVEY, RestoreRequest(verify=False))
    assert [type(step) for step in plan.steps] == [WipeTarget, DeployImage, WriteTable]
    assert plan.command[-1] == "--no-verify"
    assert any("not be read back" in warning for warning in plan.warnings)


def test_every_partition_of_the_target_is_named_as_lost() -> None:
    assert plan_restore(IMAGE, LAPTOP_SURVEY, RestoreRequest()).losses == (
        "Partition 1, FAT, “SYSTEM”, 512.0 MiB, 34.0 MiB used",
        "Partition 2, Microsoft reserved, 16.0 MiB",
        "Partition 3, NTFS, “Windows”, Windows 11, 399.0 GiB, 210.0 GiB used",
    )


def test_what_has_no_partition_is_lost_too() -> None:
    whole = Volume(0, 0, BLANK_SURVEY.disk.size, Identity("ext4", "filesystem", "store"), 3 * GIB)
    assert plan_restore(IMAGE, replace(BLANK_SURVEY, volumes=(whole,)), RestoreRequest()).losses == (
        "The whole disk without partitions, ext4, “store”, 3.0 GiB used",
    )


def test_a_plan_survives_the_way_to_the_job() -> None:
    plan = plan_restore(IMAGE, LAPTOP_SURVEY, RestoreRequest())
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_exactly_as_large_is_large_enough_and_one_sector_less_is_not() -> None:
    assert plan_restore(IMAGE, sized(BLANK_SURVEY, LAPTOP.size), RestoreRequest()).steps
    with pytest.raises(RefusedError, match="is 512 bytes too small") as refusal:
        plan_restore(IMAGE, sized(BLANK_SURVEY, LAPTOP.size - 512), RestoreRequest())
    assert "512.0 GiB" in refusal.value.message
    assert str(LAPTOP.size) in refusal.value.hint
    assert refusal.value.exit_code == 3


def test_a_larger_disk_says_what_stays_unused() -> None:
    plan = plan_restore(IMAGE, sized(BLANK_SURVEY, LAPTOP.size + 2 * GIB), RestoreRequest())
    assert any("Leave 2.0 GiB at the end unused" in sentence for sentence in plan.sentences)


@pytest.mark.parametrize(
    ("survey", "reason"),
    [
        (replace(BLANK_SURVEY, is_rescue_medium=True), "the rescue system runs from it"),
        (replace(BLANK_SURVEY, protections=(Protection("mounted at /mnt/usb", "Unmount it."),)), "mounted at /mnt/usb"),
        (replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, read_only=True)), "read-only"),
        (replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, logical_sector_size=4096)), "sectors of 4096 bytes"),
        (replace(BLANK_SURVEY, unreadable="It does not answer."), "It does not answer"),
    ],
)
def test_refusals_say_why_and_what_to_do(survey: DiskSurvey, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as refusal:
        plan_restore(IMAGE, survey, RestoreRequest())
    assert refusal.value.hint


def test_the_sectors_of_a_file_do_not_matter() -> None:
    disk = replace(BLANK_SURVEY.disk, is_file=True, logical_sector_size=4096)
    assert plan_restore(IMAGE, replace(BLANK_SURVEY, disk=disk), RestoreRequest()).steps


@pytest.mark.parametrize(("code", "error"), [(4, DamagedError), (1, FormatError)])
def test_an_image_with_a_problem_is_not_restored(code: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="cut off"):
        plan_restore(replace(IMAGE, problem="It was cut off.", problem_exit_code=code), BLANK_SURVEY, RestoreRequest())


def test_text_from_an_image_cannot_steer_the_terminal() -> None:
    plan = plan_restore(replace(IMAGE, name="a\x1b[2Jb.img.zst", host="x\ny"), BLANK_SURVEY, RestoreRequest())
    assert not any("\x1b" in s or "\n" in s for s in plan.sentences)


def test_a_protection_is_named_before_anything_else() -> None:
    survey = replace(
        BLANK_SURVEY, protections=(Protection("the running system is on it", "Start the medium."),), unreadable="Busy."
    )
    with pytest.raises(RefusedError, match="the running system is on it"):
        plan_restore(IMAGE, survey, RestoreRequest())
