"""A clone is planned completely, or refused with numbers and a remedy."""

from __future__ import annotations

import msgspec
import pytest

from rescue.errors import RefusedError
from rescue.model.clone import CloneDisk, CloneReadBack, CloneTable, Placed
from rescue.model.disk import Protection
from rescue.model.layout import Layout
from rescue.model.plan import Plan, WipeTarget
from rescue.model.survey import DiskSurvey
from rescue.model.volume import Volume
from rescue.planning.clone import plan_clone
from rescue.planning.request import CloneRequest
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.unit.planning.machines import BLANK_SURVEY, LAPTOP, LAPTOP_SURVEY, sized

_SAME_IDS = "The two disks will have the same identifiers."


def test_the_steps_come_in_the_safe_order() -> None:
    plan = plan_clone(LAPTOP_SURVEY, BLANK_SURVEY, CloneRequest())
    assert [type(step) for step in plan.steps] == [WipeTarget, CloneDisk, CloneTable, CloneReadBack]
    assert (plan.kind, plan.source, plan.target) == ("clone", LAPTOP, BLANK_SURVEY.disk)
    assert plan.fingerprint == BLANK_SURVEY.fingerprint
    assert plan.losses == ()
    assert plan.command == ("rescue", "clone", "/dev/nvme0n1", "/dev/sdb")
    assert any("WD Blue, 512.0 GiB, serial WXA1" in sentence for sentence in plan.sentences)
    assert any("210.0 GiB in use. Nothing on it is changed." in sentence for sentence in plan.sentences)
    assert plan.estimated_bytes == 2 * LAPTOP_SURVEY.used_bytes


def test_every_volume_has_its_place() -> None:
    (step,) = (step for step in plan_clone(LAPTOP_SURVEY, BLANK_SURVEY, CloneRequest()).steps if isinstance(step, CloneDisk))
    assert step.volumes[0] == Placed(1, MIB, 513 * MIB, MIB)
    assert [placed.partition for placed in step.volumes] == [1, 2, 3]


def test_what_was_asked_for_is_in_the_command() -> None:
    plan = plan_clone(LAPTOP_SURVEY, BLANK_SURVEY, CloneRequest(verify=False, delta=True))
    assert [type(step) for step in plan.steps] == [WipeTarget, CloneDisk, CloneTable]
    assert plan.command[-2:] == ("--delta", "--no-verify")
    assert any("not be read back" in warning for warning in plan.warnings)
    assert plan_clone(LAPTOP_SURVEY, BLANK_SURVEY, CloneRequest(delta=False)).command[-1] == "--no-delta"


def test_what_is_on_the_target_is_lost() -> None:
    other = replace(LAPTOP_SURVEY, disk=replace(LAPTOP, path="/dev/nvme1n1", serial="X"))
    assert plan_clone(LAPTOP_SURVEY, other, CloneRequest()).losses == (
        "Partition 1, FAT, “SYSTEM”, 512.0 MiB, 34.0 MiB used",
        "Partition 2, Microsoft reserved, 16.0 MiB",
        "Partition 3, NTFS, “Windows”, Windows 11, 399.0 GiB, 210.0 GiB used",
    )


def test_two_disks_with_the_same_identifiers_are_warned_of() -> None:
    assert any(_SAME_IDS in warning for warning in plan_clone(LAPTOP_SURVEY, BLANK_SURVEY, CloneRequest()).warnings)
    blank = replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, path="/dev/sdc", serial="Y"))
    assert not any(_SAME_IDS in warning for warning in plan_clone(BLANK_SURVEY, blank, CloneRequest()).warnings)


def test_a_mounted_source_is_copied_whole_and_it_says_so() -> None:
    mounted = replace(LAPTOP_SURVEY.volumes[2], whole_because="It is mounted.")
    source = replace(LAPTOP_SURVEY, volumes=(*LAPTOP_SURVEY.volumes[:2], mounted))
    warnings = plan_clone(source, BLANK_SURVEY, CloneRequest()).warnings
    assert any("every byte is kept. It is mounted." in warning for warning in warnings)


def test_the_problems_of_the_table_are_told() -> None:
    source = replace(LAPTOP_SURVEY, layout=replace(LAPTOP_SURVEY.layout, problems=("The backup GPT is damaged.",)))
    assert "The backup GPT is damaged." in plan_clone(source, BLANK_SURVEY, CloneRequest()).warnings


def test_a_plan_survives_the_way_to_the_job() -> None:
    plan = plan_clone(LAPTOP_SURVEY, BLANK_SURVEY, CloneRequest())
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_exactly_as_large_is_large_enough_and_one_sector_less_is_not() -> None:
    assert plan_clone(LAPTOP_SURVEY, sized(BLANK_SURVEY, LAPTOP.size), CloneRequest()).steps
    with pytest.raises(RefusedError, match="is 512 bytes too small") as refusal:
        plan_clone(LAPTOP_SURVEY, sized(BLANK_SURVEY, LAPTOP.size - 512), CloneRequest())
    assert str(LAPTOP.size) in refusal.value.hint
    assert refusal.value.exit_code == 3


def test_a_larger_disk_says_what_stays_unused_and_what_moves() -> None:
    larger = sized(BLANK_SURVEY, LAPTOP.size + 2 * GIB)
    (said,) = (s for s in plan_clone(LAPTOP_SURVEY, larger, CloneRequest()).sentences if "Leave" in s)
    assert "Leave 2.0 GiB at the end unused" in said
    assert "backup partition table moves" in said
    volume = Volume(0, 0, LAPTOP.size, LAPTOP_SURVEY.volumes[2].identity, 7)
    whole = replace(LAPTOP_SURVEY, layout=Layout(LAPTOP.size, 512, "none"), volumes=(volume,))
    assert not any("backup partition table" in sentence for sentence in plan_clone(whole, larger, CloneRequest()).sentences)


@pytest.mark.parametrize(
    ("survey", "reason"),
    [
        (replace(BLANK_SURVEY, is_rescue_medium=True), "the rescue system runs from it"),
        (replace(BLANK_SURVEY, protections=(Protection("mounted at /mnt/usb", "Unmount it."),)), "mounted at /mnt/usb"),
        (replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, read_only=True)), "read-only"),
        (replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, logical_sector_size=4096)), "sectors of 4096 bytes"),
        (replace(BLANK_SURVEY, unreadable="It does not answer."), "It does not answer"),
        (LAPTOP_SURVEY, "is the disk that is to be copied"),
    ],
)
def test_refusals_say_why_and_what_to_do(survey: DiskSurvey, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as refusal:
        plan_clone(LAPTOP_SURVEY, survey, CloneRequest())
    assert refusal.value.hint


def test_one_disk_under_two_names_is_one_disk() -> None:
    source = replace(LAPTOP_SURVEY, disk=replace(LAPTOP, wwn="eui.1"))
    other = replace(BLANK_SURVEY, disk=replace(LAPTOP, path="/dev/sdx", wwn="eui.1"))
    with pytest.raises(RefusedError, match="is the disk that is to be copied"):
        plan_clone(source, other, CloneRequest())
    # Cheap enclosures have the same serial number in all of them.
    plan_clone(LAPTOP_SURVEY, replace(BLANK_SURVEY, disk=replace(LAPTOP, path="/dev/sdx")), CloneRequest())


def test_a_file_on_the_source_is_no_target() -> None:
    file = replace(BLANK_SURVEY, disk=replace(BLANK_SURVEY.disk, path="/home/x.img", is_file=True))
    with pytest.raises(RefusedError, match="is stored on /dev/nvme0n1"):
        plan_clone(LAPTOP_SURVEY, file, CloneRequest(), stands_on=("/dev/sdz", "/dev/nvme0n1"))
    assert plan_clone(LAPTOP_SURVEY, file, CloneRequest(), stands_on=("/dev/sdz",)).steps


def test_a_source_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(RefusedError, match="It does not answer") as refusal:
        plan_clone(replace(LAPTOP_SURVEY, unreadable="It does not answer."), BLANK_SURVEY, CloneRequest())
    assert refusal.value.hint


def test_the_sectors_of_a_file_do_not_matter() -> None:
    disk = replace(BLANK_SURVEY.disk, is_file=True, logical_sector_size=4096)
    assert plan_clone(LAPTOP_SURVEY, replace(BLANK_SURVEY, disk=disk), CloneRequest()).steps
