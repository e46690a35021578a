"""Dying disks and damaged images: what is offered, and what reaches the machine."""

from __future__ import annotations

from rescue.errors import CredentialError
from rescue.model.plan import CaptureDisk, DeployImage, MendImage
from rescue.model.survey import ImageSummary
from rescue.records import replace
from rescue.tui.widgets.toggle import Toggle
from tests.unit.tui.person import at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import NVME, all_images
from tests.unit.tui.ways import backup_how, restore_which
from tests.unit.tui.ways_disks import choose
from tests.unit.tui.ways_images import (
    backup_salvage,
    backup_salvage_offered,
    backup_salvage_review,
    backup_salvaged,
    backup_source_failed,
    restore_salvage,
    to_row,
)


async def test_a_failing_disk_is_chosen_among_the_options(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_salvage_review(person, machine)
        await person.press("tab", "enter")
        plan = machine.started[0].plan
        assert "--salvage" in plan.command
        assert any(isinstance(step, CaptureDisk) and step.salvage for step in plan.steps)
        assert any(isinstance(step, MendImage) for step in plan.steps)


async def test_without_it_a_backup_stops_at_what_cannot_be_read(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_salvage(person, machine)
        await person.press("right")
        person.app.screen.query_one("#next").focus()
        await person.press("enter", "tab", "enter")
        assert "--salvage" not in machine.started[0].plan.command


async def test_of_a_disk_whose_image_lacks_something_only_that_is_asked(machine: RecordedMachine, clock: Clock) -> None:
    newest, *others = all_images("backups")
    machine.image_list = [replace(newest, bad_bytes=192 * 1024), *others]
    async with at(machine, clock) as person:
        await backup_how(person, machine)
        assert person.app.screen.query_one("#salvage", Toggle).index == 1
        assert "asks the disk only for the 192.0 KiB that laptop-2026-11-22.rimg lacks" in " ".join(person.screen().split())
        person.app.screen.query_one("#next").focus()
        await person.press("enter", "tab", "enter")
        assert isinstance(machine.started[0].plan.steps[0], MendImage)


async def test_a_backup_that_a_read_error_ended_is_gone_on_with_as_a_salvage(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_source_failed(person, machine)
        assert "[ Salvage the disk ]" in person.screen()
        assert "makes an image of all that can still be read" in " ".join(person.screen().split())
    async with at(RecordedMachine(clock, folder=machine.folder), clock) as person:
        await backup_salvage_offered(person, person.machine)
        assert "goes on over what cannot be read" in " ".join(person.screen().split())
        await person.press("tab", "enter")
        assert person.name == "ReviewScreen"
        assert "--salvage" in person.screen()


async def test_after_a_salvage_it_says_what_is_missing_and_offers_to_ask_again(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_salvaged(person, machine)
        text = " ".join(person.screen().split())
        assert "Back up: Not complete" in text
        assert "Done, but not all of it could be had." in text
        assert "3:/pagefile.sys" in text
        assert "Missing: 192.0 KiB" in text
        assert "[ Salvage the disk ]" not in text
        await person.press("escape", "g")
        assert "asked only for what is still missing" in " ".join(person.screen().split())


async def test_a_salvage_that_was_stopped_goes_on_as_one(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_salvage_review(person, machine)
        await person.press("tab", "enter")
        await person.wait(5)
        await person.press("c", "down", "enter")
        await person.wait(1)
        await person.press("escape", "g", "tab", "enter", "tab", "enter")
        assert "--salvage" in machine.started[1].plan.command


# Damaged images


async def test_a_damaged_image_is_used_only_when_asked(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_salvage(person, machine)
        assert "Its end is missing" in person.screen()
        await person.press("enter")
        assert person.name == "ImageScreen"
        await person.press("enter", "down", "enter")
        assert person.name == "TargetScreen"
        await choose(person, "/dev/nvme0n1")
        assert person.name == "ReviewScreen"
        await person.press("tab")
        await person.type("7r0p")
        await person.press("enter")
        step = next(step for step in machine.started[0].plan.steps if isinstance(step, DeployImage))
        assert step.salvage


async def test_files_of_a_damaged_image_are_looked_at(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("f", "enter", "enter")
        await to_row(person, "laptop-2026-10-14.img.zst")
        await person.press("enter", "down", "enter")
        assert person.name == "FilesPartitionScreen"
        await choose(person, "3")
        assert machine.looked_into == [(3, "", True)]


async def test_an_image_with_gaps_is_restored_with_them_only_when_asked(machine: RecordedMachine, clock: Clock) -> None:
    newest, *others = all_images("backups")
    machine.image_list = [replace(newest, bad_bytes=4096), *others]
    async with at(machine, clock) as person:
        await restore_which(person, machine)
        await person.press("enter")
        assert "is not complete" in person.screen()
        await person.press("down", "enter")
        await choose(person, "/dev/nvme0n1")
        await person.press("tab")
        await person.type("7r0p")
        await person.press("enter")
        assert machine.started[0].plan.source != NVME
        assert any(isinstance(step, DeployImage) and step.salvage for step in machine.started[0].plan.steps)


class LockedDamaged(RecordedMachine):
    """What is to be had of a damaged image that is encrypted is had with its passphrase only."""

    def image(self, path: str, *, salvage: bool = False) -> ImageSummary:
        """See Machine."""
        if salvage and not self._is_open():
            raise CredentialError("What was given does not open it.")
        return super().image(path, salvage=salvage)


async def test_a_damaged_image_that_is_encrypted_asks_for_its_passphrase(machine: RecordedMachine, clock: Clock) -> None:
    async with at(LockedDamaged(clock, folder=machine.folder), clock) as person:
        await restore_salvage(person, person.machine)
        await person.press("down", "enter")
        assert person.name == "UnlockDialog"
        await person.type("correct horse battery staple")
        await person.press("enter")
        assert person.name == "TargetScreen"
