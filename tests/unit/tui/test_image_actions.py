"""Images: what can be done with one and with all of them reaches the machine; nothing is removed unasked."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from rescue.errors import RefusedError
from rescue.images.keyslots import SlotKind
from rescue.images.secrets import Secrets
from rescue.model.plan import ConsolidateImage, ExportImage, RemoveImages, VerifyStore
from rescue.tui.flow import Flow
from rescue.tui.screens.image_actions import actions
from rescue.tui.widgets.button import PushButton
from tests.unit.tui.person import Person, at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import PASSPHRASE, RECOVERY, all_images
from tests.unit.tui.recorded_images import image_of_locked
from tests.unit.tui.ways_disks import choose
from tests.unit.tui.ways_images import (
    check_all,
    check_all_damaged,
    consolidate_review,
    export_name,
    export_where,
    home_mounted,
    images,
    keys,
    keys_drop,
    mount_done,
    mount_refused,
    mounts,
    prune,
    prune_few,
    prune_nothing,
    prune_review,
    to_row,
)


def by_name(name: str, *, unlocked: bool = False) -> list[str]:
    """The actions that an image offers."""
    image = next(image for image in all_images("x", unlocked) if image.name == name)
    return [key for key, _ in actions(Flow("images"), image)]


def words(person: Person) -> str:
    """The screen as one line."""
    return " ".join(person.screen().split())


def test_what_an_image_offers() -> None:
    assert by_name("laptop-2026-11-22.rimg") == ["check", "files", "mount", "restore", "export", "consolidate"]
    assert by_name("laptop-2026-11-20.img.zst") == ["check", "files", "mount", "restore", "export"]
    assert by_name("private-2026-11-19.rimg", unlocked=True) == ["check", "files", "mount", "restore", "export", "keys"]
    assert by_name("laptop-2026-10-02.rimg") == ["files", "mount", "restore"]
    assert [key for key, _ in actions(Flow("images"), image_of_locked("x"))][-1] == "unlock:2"
    assert "unlock:2" not in [key for key, _ in actions(Flow("images", unlocked=(2,)), image_of_locked("x"))]


def test_an_image_with_gaps_says_that_only_a_part_is_restored() -> None:
    image = next(image for image in all_images("x") if image.bad_bytes)
    assert dict(actions(Flow("images"), image))["restore"] == "Restore what is whole of it onto a disk …"


async def test_the_place_is_opened_for_writing_where_that_can_be(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await images(person, machine)
        assert machine.mounted == [("/dev/sdf1", True)]
        await person.press("escape", "escape")
        assert machine.mounted == []
        machine.read_only = True
        await images(person, machine)
        assert machine.mounted == [("/dev/sdf1", False)]
        assert person.name == "ImagesScreen"


# Remove old ones


async def test_what_goes_and_why_the_rest_stays_is_shown_while_the_numbers_change(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock, (100, 50)) as person:
        await prune(person, machine)
        assert "Nothing is removed." in words(person)
        assert "last of the month 2026-07" in words(person)
        assert person.app.screen.query_one("#next", PushButton).disabled
        for number in ("1", "0", "0", "0"):
            await person.press("home", "delete", number, "tab")
        said = words(person)
        assert "Remove 3 images from backups: 180.0 GiB become free. This cannot be undone." in said
        assert "✗ laptop-2026-08-08.rimg (incremental, made 2026-08-08 20:00 UTC, 2.0 GiB)" in said
        assert (
            "✓ laptop-2026-11-20.img.zst (2026-11-20 19:42 UTC): laptop-2026-11-21.rimg, laptop-2026-11-22.rimg need it." in said
        )
        assert "laptop-2026-09-01.img.zst stays, and counts for no rule: its last check failed." in said


async def test_without_a_number_nothing_can_be_removed(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await prune_nothing(person, machine)
        assert "has to be more than 0" in person.screen()
        assert person.app.screen.query_one("#next", PushButton).disabled


async def test_the_number_of_images_that_go_is_typed_before_they_do(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await prune_review(person, machine)
        assert "not that many" in person.screen()
        await person.press("enter")
        assert machine.started == []
        await person.press("backspace", "3")
        await person.press("enter")
        plan = machine.started[0].plan
        (step,) = plan.steps
        assert isinstance(step, RemoveImages)
        assert step.images[0].name == "laptop-2026-08-08.rimg"  # before what it needs
        assert plan.command == ("rescue", "prune", "backups", "--keep-last", "1")
        assert machine.mounted == [("/dev/sdf1", True)]


async def test_what_is_typed_first_is_not_taken_for_the_answer(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await prune_few(person, machine)
        person.app.screen.query_one("#next").focus()
        await person.press("enter", "enter")  # Cancel has the focus
        assert machine.started == []
        assert person.name == "PruneScreen"


# All of them


async def test_all_images_are_checked_in_one_job(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await check_all(person, machine)
        await person.press("tab", "enter")
        plan = machine.started[0].plan
        assert [type(step) for step in plan.steps] == [VerifyStore]
        await person.wait(4000, step=100)
        assert "Done, and proved." in person.screen()
    async with at(RecordedMachine(clock, folder=machine.folder), clock) as person:
        await check_all_damaged(person, person.machine)
        assert "✗ Damaged." in person.screen()
        assert "laptop-2026-11-21.rimg: damaged" in person.screen()


# Export, consolidate


async def test_an_image_is_exported_beside_itself_or_to_another_place(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await export_name(person, machine)
        person.app.screen.query_one(Input).value = "vm/disk.qcow2"
        await person.press("enter")
        assert "is not the name of a file" in words(person)
        await person.press("escape", "enter")
        person.app.screen.query_one(Input).value = "disk.qcow2"
        await person.press("enter", "tab", "enter")
        (step,) = machine.started[0].plan.steps
        assert isinstance(step, ExportImage)
        assert (step.file, step.format) == ("backups/disk.qcow2", "qcow2")


async def test_the_place_of_an_export_stays_open_for_its_job(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await export_where(person, machine)
        await choose(person, "/dev/sda6")
        assert machine.mounted == [("/dev/sdf1", True), ("/dev/sda6", True)]
        await person.press("enter", "tab", "enter")
        assert person.name == "RunningScreen"
        assert machine.mounted == [("/dev/sdf1", True), ("/dev/sda6", True)]
        await person.wait(4000, step=100)
        assert "Done, and proved." in person.screen()
        assert machine.mounted == []


async def test_a_file_that_exists_is_refused(machine: RecordedMachine, clock: Clock) -> None:
    machine.files_there = {"laptop-2026-11-22.qcow2"}
    async with at(machine, clock) as person:
        await export_name(person, machine)
        await person.press("enter")
        assert "exists already" in words(person)
        assert machine.started == []


async def test_a_full_image_is_made_of_a_chain(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await consolidate_review(person, machine)
        await person.press("tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, ConsolidateImage)
        assert (step.store, step.name) == ("backups", "laptop-2026-11-22-full.img.zst")
        await person.wait(4000, step=100)
        assert "Done, and proved." in person.screen()


# Mount


async def test_an_image_is_mounted_shown_and_unmounted(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await mount_done(person, machine)
        assert "/mnt/laptop-2026-11-22/3" in person.screen()
        assert "Partition 4 is not mounted" in person.screen()
        await person.press("escape", "escape", "escape")
        assert "Mounted, press M: laptop-2026-11-22.rimg" in person.screen()
        assert machine.mounted == [("/dev/sdf1", True)]  # as long as the image on it is mounted
        await person.press("m", "enter", "enter")
        assert len(machine.mounted_list) == 1
        await person.press("enter", "down", "enter")
        assert machine.mounted_list == []
        assert "No image is mounted" in person.screen()
        await person.press("escape")
        assert "Mounted" not in person.screen()
        assert machine.mounted == []


async def test_a_folder_that_is_in_use_stays_mounted(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await mounts(person, machine)
        machine.refuse = RefusedError("/mnt/laptop-2026-11-22/3 is in use.", "Close what is open there and try again.")
        await person.press("enter", "down", "enter")
        assert "is in use" in person.screen()
        await person.press("escape")
        assert "/mnt/laptop-2026-11-22/3" in person.screen()


async def test_a_mount_that_is_refused_leaves_nothing_behind(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await mount_refused(person, machine)
        assert "is not empty" in person.screen()
        await person.press("escape")
        assert person.name == "ImagesScreen"
        await person.press("escape", "escape")
        assert "Mounted" not in person.screen()
        assert machine.mounted == []


async def test_what_another_face_mounted_is_shown_as_well(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await home_mounted(person, machine)
    async with at(machine, clock) as person:
        assert "Mounted, press M" in person.screen()


# Keys


async def test_a_new_passphrase_replaces_the_old_one_and_is_used_from_then_on(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await keys(person, machine)
        assert "It opens with: passphrase, recovery key." in person.screen()
        await choose(person, "passphrase")
        for _ in range(2):
            await person.type("another one for it")
            await person.press("enter")
        assert [change.new for change in machine.changes] == [Secrets(passphrase="another one for it")]
        assert machine.given[-1].passphrase == "another one for it"
        await person.press("enter")
        assert "another one" not in person.screen()


async def test_a_recovery_key_is_shown_before_it_counts(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await keys(person, machine)
        await choose(person, "recovery")
        assert RECOVERY[:19] in person.screen()
        await person.press("escape")
        assert machine.changes == []
        await choose(person, "recovery")
        await person.type(RECOVERY[-4:])
        await person.press("enter")
        assert [change.new.recovery for change in machine.changes] == [RECOVERY]


async def test_a_key_file_is_added_and_one_that_is_not_there_is_said(
    machine: RecordedMachine, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(bytes(64))
    async with at(machine, clock) as person:
        await keys(person, machine)
        for path in ("nowhere", "key"):
            await choose(person, "key-file")
            person.app.screen.query_one(Input).value = path
            await person.press("enter")
            if path == "nowhere":
                assert "No such file" in person.screen()
            await person.press("enter")
        assert [change.new.key_file is not None for change in machine.changes] == [True]
        assert "key file" in person.screen()


async def test_what_opens_it_is_taken_away_only_when_something_else_does(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await keys_drop(person, machine)
        await person.press("enter")
        assert machine.changes == []
        await choose(person, "drop:3")
        await person.press("down", "enter")
        assert [change.drop for change in machine.changes] == [frozenset({SlotKind.RECOVERY})]
        await person.press("enter")
        assert "Take the" not in person.screen()


async def test_a_change_that_is_refused_is_said(machine: RecordedMachine, clock: Clock) -> None:
    machine.no_room_for_keys = True
    async with at(machine, clock) as person:
        await keys(person, machine)
        await choose(person, "recovery")
        await person.type(RECOVERY[-4:])
        await person.press("enter")
        assert "no place for another key" in person.screen()


async def test_an_image_of_another_place_is_not_opened_by_chance(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await images(person, machine)
        await to_row(person, "private-2026-11-19.rimg")
        await person.press("enter")
        await person.type("wrong")
        await person.press("enter")
        assert "does not open" in person.screen()
        await person.type(PASSPHRASE)
        await person.press("enter")
        assert person.name == "Question"
