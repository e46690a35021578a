"""Plans for a failing disk and for images that lack something."""

from __future__ import annotations

import datetime

import pytest

from rescue.errors import CredentialError, DamagedError, FormatError
from rescue.model.damage import VolumeDamage
from rescue.model.plan import CaptureDisk, DeployImage, MendImage, MountImage, Plan, VerifyImage
from rescue.model.survey import ImageSummary
from rescue.planning.backup import StoreFacts, plan_backup
from rescue.planning.request import BackupRequest, RestoreRequest
from rescue.planning.restore import plan_restore
from rescue.planning.salvage import name_of_more, salvage_folder
from rescue.records import replace
from rescue.units import GIB, KIB
from tests.unit.planning.machines import BLANK_SURVEY, IMAGE, LAPTOP_SURVEY

_DAMAGE = (VolumeDamage(2, 8 * KIB, ("/home/anna/\x1b[2Jthesis.odt",), 3, 4 * KIB, 2 * KIB, 0, 2 * KIB),)
_LACKING = replace(IMAGE, name="laptop.img.zst", path="/mnt/usb/laptop.img.zst", bad_bytes=8 * KIB, damage=_DAMAGE)


def _plan(*images: ImageSummary, request: BackupRequest) -> Plan:
    store = StoreFacts("/mnt/usb", 500 * GIB, names=frozenset(image.name for image in images), images=images)
    return plan_backup(LAPTOP_SURVEY, store, request, host="laptop", today=datetime.date(2026, 11, 22))


def test_the_first_run_takes_the_easy_then_the_hard() -> None:
    made = _plan(request=BackupRequest(salvage=True, name="laptop"))
    capture, first, mend, second, mount = made.steps
    assert isinstance(capture, CaptureDisk)
    assert isinstance(mend, MendImage)
    assert isinstance(first, VerifyImage)
    assert isinstance(second, VerifyImage)
    assert isinstance(mount, MountImage)
    assert (capture.name, mend.image, mend.name) == ("laptop.img.zst", "laptop.img.zst", "laptop-more.rimg")
    assert capture.salvage == mend.salvage == "/mnt/usb/laptop.rescue"
    assert mend.holds == ("laptop.img.zst",)
    assert (first.image, second.image, mount.image) == (
        "/mnt/usb/laptop.img.zst", "/mnt/usb/laptop-more.rimg", "/mnt/usb/laptop-more.rimg",
    )  # fmt: skip
    # What is wrong in the image is not looked for on a failing disk.
    assert mount.source is None
    assert "--salvage" in made.command


def test_what_is_known_of_a_disk_is_kept_with_its_images() -> None:
    assert {salvage_folder("/s", f"{name}") for name in ("a.img.zst", "a-more.rimg", "a-more-2.rimg")} == {"/s/a.rescue"}
    # Two disks of one model without a serial number, or two files of one name.
    assert salvage_folder("/s", "disk-2026-11-22.img.zst") != salvage_folder("/s", "disk-2026-11-22-2.img.zst")


def test_the_next_run_reads_only_what_is_missing() -> None:
    made = _plan(_LACKING, request=BackupRequest(salvage=True, name="laptop"))
    mend, *_ = made.steps
    assert not any(isinstance(step, CaptureDisk) for step in made.steps)
    assert isinstance(mend, MendImage)
    assert (mend.image, mend.name, mend.holds) == ("laptop.img.zst", "laptop-more.rimg", ("laptop.img.zst",))
    assert made.estimated_bytes == 8 * KIB
    assert "only the 8.0 KiB that laptop.img.zst lacks" in made.sentences[0]


@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_a_kind_that_is_asked_for_is_a_new_image(kind: str) -> None:
    made = _plan(_LACKING, request=BackupRequest(salvage=True, kind=kind))  # type: ignore[arg-type]
    assert isinstance(made.steps[0], CaptureDisk)


def test_a_mistyped_passphrase_has_a_failing_disk_not_read_again() -> None:
    locked = replace(
        IMAGE, name="a.rimg", disk=None, layout=None, encrypted=True, locked=True, problem="No.", problem_exit_code=5
    )
    with pytest.raises(CredentialError, match=r"a\.rimg in /mnt/usb cannot be opened") as caught:
        _plan(locked, request=BackupRequest(salvage=True, encrypt=True))
    assert "--kind full" in caught.value.hint
    for request in (
        BackupRequest(salvage=True, encrypt=True, kind="full"),
        BackupRequest(salvage=True),
        BackupRequest(encrypt=True),
    ):
        assert isinstance(_plan(locked, request=request).steps[0], CaptureDisk)
    opened = replace(_LACKING, name="b.rimg", encrypted=True)
    assert isinstance(_plan(locked, opened, request=BackupRequest(salvage=True, encrypt=True)).steps[0], MendImage)


def test_without_salvage_nothing_is_different() -> None:
    made = _plan(_LACKING, request=BackupRequest())
    assert isinstance(made.steps[0], CaptureDisk)
    assert not made.steps[0].salvage
    assert not any(isinstance(step, MendImage) for step in made.steps)


@pytest.mark.parametrize(
    ("image", "taken", "name"),
    [
        ("laptop.img.zst", set(), "laptop-more.rimg"),
        ("laptop-more.rimg", {"laptop-more.rimg"}, "laptop-more-2.rimg"),
        ("laptop-more-2.rimg", {"laptop-more.rimg", "laptop-more-2.rimg"}, "laptop-more-3.rimg"),
        ("no-more-data.rimg", set(), "no-more-data-more.rimg"),
    ],
)
def test_names(image: str, taken: set[str], name: str) -> None:
    assert name_of_more(image, taken) == name


def test_an_image_that_lacks_something_is_refused_with_what_it_costs() -> None:
    with pytest.raises(DamagedError) as caught:
        plan_restore(_LACKING, BLANK_SURVEY, RestoreRequest())
    assert "8.0 KiB" in caught.value.message
    assert "Partition 2 lacks 8.0 KiB: 4.0 KiB of 4 files" in caught.value.message
    assert "/home/anna/\\x1b[2Jthesis.odt" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert "--salvage" in caught.value.hint


def test_with_salvage_it_is_restored_and_said() -> None:
    made = plan_restore(_LACKING, BLANK_SURVEY, RestoreRequest(salvage=True))
    assert [step.salvage for step in made.steps if isinstance(step, DeployImage)] == [True]
    assert any("becomes zeros" in sentence for sentence in made.sentences)
    assert any("thesis.odt" in warning for warning in made.warnings)
    assert "--salvage" in made.command


def test_a_chain_with_missing_files() -> None:
    lacking = replace(IMAGE, problem="It needs monday.img.zst, not found here.", problem_exit_code=4, damage=_DAMAGE)
    with pytest.raises(DamagedError, match=r"monday\.img\.zst.*\nPartition 2"):
        plan_restore(lacking, BLANK_SURVEY, RestoreRequest())
    made = plan_restore(lacking, BLANK_SURVEY, RestoreRequest(salvage=True))
    assert made.warnings[0] == lacking.problem


def test_what_is_no_image_stays_refused() -> None:
    for broken in (replace(IMAGE, problem="It is a JPEG picture.", problem_exit_code=1), replace(IMAGE, disk=None)):
        with pytest.raises(FormatError):
            plan_restore(broken, BLANK_SURVEY, RestoreRequest(salvage=True))
