"""A backup is planned with a name of its own, and what is unusual is said before it begins."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from rescue.errors import RefusedError, UsageError
from rescue.model.disk import Disk
from rescue.model.plan import CaptureDisk, MountImage, Plan, VerifyImage
from rescue.model.survey import BegunImage, DiskSurvey
from rescue.planning.backup import StoreFacts, plan_backup
from rescue.planning.names import default_name, with_suffix
from rescue.planning.request import BackupRequest
from rescue.records import replace
from rescue.units import GIB, MIB
from tests.unit.planning.machines import LAPTOP, LAPTOP_SURVEY

TODAY = datetime.date(2026, 11, 22)
STORE = StoreFacts("/mnt/usb", 500 * GIB)
NAME = "samsung-ssd-980-2026-11-22.img.zst"


def plan(store: StoreFacts = STORE, request: BackupRequest | None = None) -> Plan:
    return plan_backup(LAPTOP_SURVEY, store, request or BackupRequest(), host="laptop", today=TODAY)


def test_an_image_is_written_and_then_checked() -> None:
    capture, verify, mount = plan().steps
    assert isinstance(capture, CaptureDisk)
    assert isinstance(verify, VerifyImage)
    assert (capture.source, capture.store, capture.name) == (LAPTOP, "/mnt/usb", NAME)
    assert verify.image == f"/mnt/usb/{NAME}"
    assert mount == MountImage("Open the image and check its file systems", f"/mnt/usb/{NAME}", LAPTOP)
    assert plan().target is None
    assert plan().command == ("rescue", "backup", "/dev/nvme0n1", "/mnt/usb")


def test_the_command_says_what_was_chosen() -> None:
    made = plan(request=BackupRequest("x", 9, "before the update", verify=False))
    assert made.command[4:] == ("--name", "x", "--level", "9", "--comment", "before the update", "--no-verify")
    assert len(made.steps) == 1


def test_a_volume_that_is_kept_whole_says_why() -> None:
    assert "Partition 2, Microsoft reserved, 16.0 MiB: every byte is kept. Its content is not known." in plan().warnings


def test_problems_of_the_layout_are_said() -> None:
    survey = replace(LAPTOP_SURVEY, layout=replace(LAPTOP_SURVEY.layout, problems=("The backup GPT is damaged.",)))
    made = plan_backup(survey, STORE, BackupRequest(), host="laptop", today=TODAY)
    assert "The backup GPT is damaged." in made.warnings


def test_little_room_is_a_warning() -> None:
    warnings = " ".join(plan(StoreFacts("/mnt/usb", 100 * GIB)).warnings)
    assert "100.0 GiB free for 210.0 GiB" in warnings


def split_of(made: Plan) -> int:
    assert isinstance(made.steps[0], CaptureDisk)
    return made.steps[0].split


FAT = StoreFacts("/mnt/usb", 500 * GIB, filesystem="vfat")


def test_fat_gets_parts_without_being_asked() -> None:
    made = plan(FAT)
    assert split_of(made) == 4 * GIB - 1
    assert "parts of 4.0 GiB - 1 byte because its FAT file system takes no file of 4 GiB or more" in " ".join(made.sentences)
    assert f"{NAME}.001, {NAME}.002" in " ".join(made.sentences)
    assert "--split" not in made.command
    assert split_of(plan()) == 0
    assert "Cut" not in " ".join(plan().sentences)


def test_parts_as_they_were_asked_for() -> None:
    made = plan(request=BackupRequest(split=700 * MIB))
    assert split_of(made) == 700 * MIB
    assert made.command[4:] == ("--split", str(700 * MIB))
    assert "Cut the image into parts of 700.0 MiB:" in " ".join(made.sentences)
    assert split_of(plan(FAT, BackupRequest(split=700 * MIB))) == 700 * MIB
    assert split_of(plan(FAT, BackupRequest(split=8 * GIB))) == 4 * GIB - 1
    assert split_of(plan(request=BackupRequest(split=8 * GIB))) == 8 * GIB


def test_more_parts_than_there_can_be_are_a_warning() -> None:
    assert "999 parts at most" in " ".join(plan(request=BackupRequest(split=200 * MIB)).warnings)
    assert "999 parts" not in " ".join(plan(request=BackupRequest(split=300 * MIB)).warnings)


@pytest.mark.parametrize("split", [1, MIB - 1, -MIB])
def test_parts_that_are_too_small(split: int) -> None:
    with pytest.raises(UsageError, match="too small"):
        plan(request=BackupRequest(split=split))


def test_the_store_may_not_be_on_the_source() -> None:
    with pytest.raises(RefusedError, match="the disk that is to be backed up"):
        plan(replace(STORE, disks=("/dev/sda", "/dev/nvme0n1")))


def test_names_that_are_taken() -> None:
    with pytest.raises(RefusedError, match="exists already"):
        plan(replace(STORE, names=frozenset({"x.img.zst"})), BackupRequest(name="x"))
    with pytest.raises(RefusedError, match="Another backup is writing"):
        plan(replace(STORE, busy=frozenset({"x.img.zst"})), BackupRequest(name="x"))
    made = plan(replace(STORE, names=frozenset({NAME}), busy=frozenset({NAME.replace("22.", "22-2.")})))
    assert isinstance(made.steps[0], CaptureDisk)
    assert made.steps[0].name == "samsung-ssd-980-2026-11-22-3.img.zst"


@pytest.mark.parametrize("name", ["a/b", "..", ".hid", "x" * 245, "Ü" * 130, "bad\udcff", "a\0b"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match=r"the name of an image|too long"):
        plan(request=BackupRequest(name=name))


@pytest.mark.parametrize("parent", ["nonsense", "auto"])
def test_a_full_image_has_no_parent(parent: str) -> None:
    with pytest.raises(UsageError, match="do not go together"):
        plan(request=BackupRequest(kind="full", parent=parent))


def test_the_name_of_what_is_won_later_has_to_be_one_too() -> None:
    longest = "x" * (255 - len(".rescue-parts.img.zst") - 1)
    assert plan(request=BackupRequest(name=longest)).steps
    with pytest.raises(UsageError, match="too long"):
        plan(request=BackupRequest(name=longest, salvage=True))


@pytest.mark.parametrize("level", [20, -3])
def test_levels_that_do_not_exist(level: int) -> None:
    with pytest.raises(UsageError, match="compression level"):
        plan(request=BackupRequest(level=level))


def test_a_disk_that_cannot_be_read_is_not_begun() -> None:
    with pytest.raises(RefusedError, match="does not answer"):
        plan_backup(replace(LAPTOP_SURVEY, unreadable="It does not answer."), STORE, BackupRequest(), host="h", today=TODAY)


@pytest.mark.parametrize(
    ("disk", "host", "name"),
    [
        (Disk("/data/old machine.raw", 1, is_file=True), "h", "old-machine-2026-11-22.img.zst"),
        (Disk("/dev/vda", 1), "Büro-PC", "b-ro-pc-2026-11-22.img.zst"),
        (Disk("/dev/vda", 1), "", "disk-2026-11-22.img.zst"),
        (Disk("/dev/sda", 1, model="../../etc/passwd\n"), "h", "etc-passwd-2026-11-22.img.zst"),
    ],
)
def test_default_names(disk: Disk, host: str, name: str) -> None:
    assert default_name(disk, host, TODAY, ()) == name


@pytest.mark.parametrize("given", ["x", "x.img", "x.zst", "x.img.zst"])
def test_the_suffix_is_added_once(given: str) -> None:
    assert with_suffix(given) == "x.img.zst"


LEFT = BegunImage("mine.img.zst", "full", False, "00" * 32, 12 * GIB, 30 * GIB)


def test_an_interrupted_backup_is_gone_on_with_and_the_step_says_so() -> None:
    made = plan(replace(STORE, begun=(LEFT,)))
    capture = made.steps[0]
    assert isinstance(capture, CaptureDisk)
    assert (capture.name, capture.begun, capture.anew) == ("mine.img.zst", 12 * GIB, False)
    assert "Go on with it where it was interrupted. 12.0 GiB are written; they are compared first." in made.sentences


def test_an_interrupted_backup_can_be_begun_anew() -> None:
    made = plan(replace(STORE, begun=(LEFT,)), BackupRequest(anew=True))
    capture = made.steps[0]
    assert isinstance(capture, CaptureDisk)
    assert (capture.name, capture.begun, capture.anew) == ("mine.img.zst", 0, True)
    assert not any("Go on" in sentence for sentence in made.sentences)
    assert "Begin it anew: the 12.0 GiB that an interrupted backup wrote of it are thrown away." in made.sentences
    assert "--anew" in made.command


def test_another_name_leaves_the_interrupted_backup_alone() -> None:
    made = plan(replace(STORE, begun=(LEFT,)), BackupRequest(name="other", anew=True))
    assert not any("thrown away" in sentence for sentence in made.sentences)


def test_what_others_began_is_left_alone() -> None:
    """Of another disk, or locked with another passphrase: under the name that this backup would get."""
    (capture, *_) = plan(replace(STORE, left=frozenset({NAME}))).steps
    assert isinstance(capture, CaptureDisk)
    assert capture.name == NAME.replace(".img.zst", "-2.img.zst")


LOCKED = replace(
    LAPTOP_SURVEY, volumes=tuple(replace(v, identity=replace(v.identity, type="crypto_LUKS")) for v in LAPTOP_SURVEY.volumes)
)


def decrypted(survey: DiskSurvey = LOCKED, number: int = 3, **changed: Any) -> Plan:
    request = BackupRequest(**{"encrypt": True, "unlock": (number,), "decrypt": (number,), **changed})
    return plan_backup(survey, STORE, request, host="laptop", today=TODAY)


def test_what_is_clear_inside_of_the_image_is_told() -> None:
    made = decrypted()
    step = made.steps[0]
    assert isinstance(step, CaptureDisk)
    assert (step.decrypt, step.encrypt) == ((3,), True)
    assert any("LUKS volume of partition 3 is in clear inside of the encrypted image" in said for said in made.sentences)
    assert made.command[-4:] == ("--unlock", "3", "--decrypt", "3")


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"encrypt": False}, UsageError, "only an image that is encrypted itself"),
        ({"unlock": ()}, UsageError, "has to be unlocked"),
        ({"salvage": True}, UsageError, "do not go together"),
        ({"survey": LAPTOP_SURVEY}, RefusedError, "is no LUKS volume"),
        ({"number": 9}, RefusedError, "is no LUKS volume"),
        ({"number": 2}, RefusedError, "was not opened"),
    ],
)
def test_what_must_not_or_cannot_be_clear(changed: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        decrypted(**changed)
