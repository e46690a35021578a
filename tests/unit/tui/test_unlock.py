"""Encrypted disks and images of them: unlocked on the way, and nothing is shown of what was typed."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from rescue.model.survey import DiskSurvey
from rescue.model.volume import Identity
from rescue.records import replace
from rescue.services import BackupRequest
from rescue.tui.inner import encrypted, inner_of, is_closed
from rescue.tui.screens.unlock import BACK_UP, unlock_choices
from tests.unit.tui.person import Person, at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import LOCKED, all_disks
from tests.unit.tui.recorded_images import DISK_PASSPHRASE, image_of_locked, unlocked
from tests.unit.tui.ways_disks import choose
from tests.unit.tui.ways_images import (
    files_of_encrypted,
    files_unlocked,
    image_of_encrypted_check,
    unlock_which,
    unlock_wrong,
    unlocked_go_on,
)

PASSPHRASE = DISK_PASSPHRASE.decode()


def locked_disk() -> DiskSurvey:
    """The recorded disk with an encrypted partition."""
    return next(disk for disk in all_disks() if disk.disk == LOCKED)


def test_what_is_in_a_partition_is_named_as_the_command_line_names_it() -> None:
    volume = encrypted(unlocked(locked_disk()).volumes)[0]
    assert [inner.key for inner in inner_of(volume, opened=True)] == ["2/vg0/root", "2/vg0/home", "2/vg0/swap"]
    assert not is_closed(volume)


def test_without_its_passphrase_it_is_locked_also_when_it_is_known_what_is_in_it() -> None:
    volume = encrypted(unlocked(locked_disk()).volumes)[0]
    (inner,) = inner_of(volume, opened=False)
    assert inner.is_locked
    assert inner.key == "2"


def test_of_a_group_only_the_encrypted_volume_is_locked() -> None:
    outer = encrypted(unlocked(locked_disk()).volumes)[0]
    group = outer.inside[0].inside[0]
    luks = replace(group.inside[0], identity=Identity("crypto_LUKS", "crypto"), name="root", inside=())
    volume = replace(outer, identity=Identity("LVM2_member", "raid"), inside=(replace(group, inside=(luks, *group.inside[1:])),))
    assert is_closed(volume)
    assert [(inner.key, inner.is_locked) for inner in inner_of(volume, opened=False)] == [
        ("2/vg0/root", True),
        ("2/vg0/home", False),
        ("2/vg0/swap", False),
    ]


def test_what_is_locked_what_is_open_and_how_much_that_is() -> None:
    disk, opened = encrypted(locked_disk().volumes), encrypted(unlocked(locked_disk()).volumes)
    before, after = unlock_choices(disk, disk, BACK_UP), unlock_choices(opened, (), BACK_UP)
    assert [choice.key for choice in before] == ["2", "go-on"]
    assert "475.0 GiB" in before[1].text.plain
    assert [(choice.key, choice.enabled) for choice in after] == [("open:2", False), ("go-on", True)]
    assert "31.0 of 475.0 GiB used" in after[0].text.plain


async def test_a_backup_of_a_disk_without_encryption_is_not_asked(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("b", "enter")
        assert person.name == "PlaceScreen"


async def test_a_wrong_passphrase_is_said_in_the_dialog_and_forgotten(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await unlock_wrong(person, machine)
        assert "does not open the encrypted" in person.screen()
        assert person.app.screen.query_one("#secret", Input).value == ""
        assert machine.tried == [b"hunter2"]
        await person.press("escape")
        assert person.name == "UnlockScreen"


async def test_an_unlocked_disk_is_backed_up_by_what_is_used(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await unlock_which(person, machine)
        await person.press("enter")
        await person.type(PASSPHRASE)
        assert PASSPHRASE not in person.screen()
        await person.press("enter")
        assert person.name == "PlaceScreen"
        await person.press("enter", "enter")
        assert person.name == "ReviewScreen"
        assert "31.2 GiB to keep" in " ".join(person.screen().split())
        await person.press("tab", "enter")
        plan = machine.started[0].plan
        assert plan.command[-2:] == ("--unlock", "2")
        assert PASSPHRASE not in str(plan)


async def test_it_can_be_backed_up_without_as_a_whole(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await unlock_which(person, machine)
        await choose(person, "go-on")
        await person.press("enter", "enter", "tab", "enter")
        assert "--unlock" not in machine.started[0].plan.command
        assert machine.tried == []


async def test_what_was_opened_is_shown_when_one_comes_back(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await unlocked_go_on(person, machine)
        assert person.name == "UnlockScreen"
        assert "✓ Partition 2, LUKS: 31.0 of 475.0 GiB used" in person.screen()
        await person.press("enter")
        assert person.name == "PlaceScreen"


async def to_options(person: Person, machine: RecordedMachine) -> None:
    """The disk is unlocked, and the place chosen."""
    await unlock_which(person, machine)
    await person.press("enter")
    await person.type(PASSPHRASE)
    await person.press("enter", "enter")


async def encrypted_review(person: Person, *turned: tuple[str, str]) -> None:
    """Fields turned by a key each, and a passphrase for the image."""
    for field, key in turned:
        person.app.screen.query_one(field).focus()
        await person.press(key)
    person.app.screen.query_one("#next").focus()
    await person.press("enter")
    for _ in range(2):
        await person.type("a passphrase for the image")
        await person.press("enter")
    assert person.name == "ReviewScreen"


async def test_an_encrypted_image_of_an_unlocked_disk_has_both(machine: RecordedMachine, clock: Clock) -> None:
    """The passphrase of the image does not take away what was unlocked."""
    async with at(machine, clock) as person:
        await to_options(person, machine)
        await encrypted_review(person, ("#encrypt", "right"), ("#recovery", "left"))
        assert machine.given[-1].passphrase == "a passphrase for the image"
        assert "31.2 GiB to keep" in " ".join(person.screen().split())
        await person.press("tab", "enter")
        assert {"--encrypt", "--unlock"} <= set(machine.started[0].plan.command)


async def test_a_key_file_opens_it_too_its_line_end_aside(machine: RecordedMachine, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(DISK_PASSPHRASE + b"\n")
    async with at(machine, clock) as person:
        await unlock_which(person, machine)
        await person.press("enter", "up", "right", "down")
        await person.type("key")
        await person.press("enter")
        assert person.name == "PlaceScreen"
        assert machine.tried == [DISK_PASSPHRASE + b"\n", DISK_PASSPHRASE]


async def test_a_clone_of_an_unlocked_disk_copies_what_is_used(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("c")
        await choose(person, "/dev/sdd")
        await person.press("enter")
        await person.type(PASSPHRASE)
        await person.press("enter")
        assert person.name == "TargetScreen"
        await choose(person, "/dev/sdc")
        assert person.name == "FitScreen"


async def test_an_interrupted_backup_asks_for_the_passphrase_again(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await unlock_which(person, machine)
        await person.press("enter")
        await person.type(PASSPHRASE)
        await person.press("enter", "enter", "enter", "tab", "enter")
        await person.wait(5)
        await person.press("c", "down", "enter")
        await person.wait(1)
        await person.press("escape", "g", "tab", "enter")
        assert person.name == "UnlockVolumeDialog"
        await person.press("escape")
        assert person.name == "ResumeScreen"
        await person.press("enter")
        await person.type(PASSPHRASE)
        await person.press("enter")
        assert person.name == "ReviewScreen"
        assert "--unlock 2" in person.screen()


# Images


async def test_what_is_encrypted_in_an_image_is_unlocked_for_its_check(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await image_of_encrypted_check(person, machine)
        await choose(person, "unlock:2")
        await person.type(PASSPHRASE)
        await person.press("enter")
        assert "✓ Partition 2, LUKS is unlocked." in person.screen()
        assert "Unlock partition 2" not in person.screen()
        await choose(person, "open")
        await person.press("tab", "enter")
        assert len(machine.started[0].plan.steps) == 2


async def test_files_in_an_encrypted_partition_are_looked_into_and_copied(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_unlocked(person, machine)
        assert "vg0/root" in person.screen()
        assert "Debian GNU/Linux 13" in person.screen()
        await choose(person, "2/vg0/home")
        assert machine.looked_into == [(2, "vg0/home", False)]
        await person.press("escape")
        assert "partition 2/vg0/home" in person.screen()


async def test_files_of_a_locked_partition_stay_locked_without_its_passphrase(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_of_encrypted(person, machine)
        assert "locked, Enter asks for its passphrase" in person.screen()
        await choose(person, "2")
        await person.press("escape")
        assert machine.looked_into == []
        assert person.name == "FilesPartitionScreen"


async def test_an_image_of_the_whole_partition_is_unlocked_in_the_same_way(machine: RecordedMachine, clock: Clock) -> None:
    machine.image_list = [image_of_locked("backups", by_used_blocks=False)]
    async with at(machine, clock) as person:
        await person.press("i", "enter", "enter")
        await choose(person, "unlock:2")
        await person.type(PASSPHRASE)
        await person.press("enter")
        assert person.name == "Question"
        assert "Unlock" not in person.screen()


async def to_a_larger_disk(person: Person, machine: RecordedMachine) -> None:
    """An image of the encrypted disk, and a disk twice as large to restore it onto."""
    machine.image_list = [image_of_locked("backups")]
    await person.press("r", "enter", "enter")
    await choose(person, "/dev/sdc")


async def test_a_restore_onto_another_size_asks_what_opens_the_volumes(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await to_a_larger_disk(person, machine)
        assert person.name == "UnlockScreen"
        assert "what is locked keeps its size" in person.screen()
        await choose(person, "2")
        await person.type(PASSPHRASE)
        await person.press("enter")
        assert person.name == "FitScreen"
        await person.press("enter")
        assert person.name == "ReviewScreen"
        assert machine.asked[-1].unlock == (2,)
        assert PASSPHRASE not in person.screen()


async def test_a_restore_can_go_on_without_the_passphrase(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await to_a_larger_disk(person, machine)
        await choose(person, "go-on")
        assert person.name == "FitScreen"
        await person.press("enter")
        assert person.name == "ReviewScreen"
        assert machine.asked[-1].unlock == ()
        assert machine.tried == []


async def test_an_encrypted_image_can_hold_an_unlocked_volume_in_clear(machine: RecordedMachine, clock: Clock) -> None:
    """It is offered only where something was unlocked and the image itself is encrypted."""
    async with at(machine, clock) as person:
        await to_options(person, machine)
        row = person.app.screen.query_one("#row-decrypt")
        assert not row.display
        await encrypted_review(person, ("#encrypt", "right"), ("#recovery", "left"), ("#decrypt", "right"))
        assert row.display
        request = machine.asked[-1]
        assert isinstance(request, BackupRequest)
        assert (request.encrypt, request.unlock, request.decrypt) == (True, (2,), (2,))
