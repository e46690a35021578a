"""Encrypting a backup, and going on with what was interrupted."""

from __future__ import annotations

from rescue.model.plan import CaptureDisk, DeployImage
from rescue.tui.screens.options import OptionsScreen
from rescue.tui.widgets.toggle import Toggle
from tests.unit.tui.person import at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import LOCKED, PASSPHRASE, RECOVERY, all_images
from tests.unit.tui.ways import (
    backup_anew,
    backup_encrypted_review,
    backup_go_on,
    backup_how,
    backup_kind,
    backup_recovery_key,
    home_interrupted,
    restore_done,
    resume_restore,
    resume_review,
)


async def test_the_kind_is_foretold_and_reaches_the_plan(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_how(person, machine)
        assert "an incremental image upon laptop-2026-11-22.rimg" in person.screen()
    async with at(machine, clock) as person:
        await backup_kind(person, machine)
        assert "a full image: it needs no other" in person.screen()
        await person.press("right", "right")
        assert "a differential image upon" in person.screen()
        assert " laptop-2026-11-20.img.zst." in person.screen()


async def test_an_encrypted_backup_is_started_with_both_secrets_and_shows_neither(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_encrypted_review(person, machine)
        assert person.name == "ReviewScreen"
        await person.press("tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, CaptureDisk)
        assert step.encrypt
        assert (machine.given[-1].passphrase, machine.given[-1].recovery) == (PASSPHRASE, RECOVERY)
        assert PASSPHRASE not in str(machine.started[0].plan)
        assert RECOVERY not in person.screen()
        await person.press("m")
        assert PASSPHRASE not in person.screen()


async def test_a_recovery_key_that_is_not_acknowledged_makes_no_backup(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_recovery_key(person, machine)
        await person.type("0000")
        await person.press("enter")
        assert "not the last four" in person.screen()
        await person.press("escape")
        assert isinstance(person.app.screen, OptionsScreen)
        assert machine.given == []


async def test_beside_encrypted_images_encryption_is_the_default(machine: RecordedMachine, clock: Clock) -> None:
    machine.image_list = [image for image in all_images("backups") if image.locked]
    async with at(machine, clock) as person:
        await backup_how(person, machine)
        assert person.app.screen.query_one("#encrypt", Toggle).index == 1
        assert "The one I have on paper" in person.screen()
    machine.image_list = [image for image in all_images("backups", unlocked=True) if image.disk == LOCKED]
    async with at(machine, clock) as person:
        await backup_how(person, machine)
        assert person.app.screen.query_one("#encrypt", Toggle).index == 1


async def test_an_interrupted_backup_goes_on_or_begins_anew(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_go_on(person, machine)
        await person.press("tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, CaptureDisk)
        assert (step.begun > 0, step.anew) == (True, False)
    async with at(machine, clock) as person:
        await backup_anew(person, machine)
        assert "Go on with it" not in person.screen()
        assert len(machine.started) == 1
        await person.press("tab", "enter")
        step = machine.started[1].plan.steps[0]
        assert isinstance(step, CaptureDisk)
        assert (step.begun, step.anew) == (0, True)


async def test_an_interrupted_restore_is_offered_and_goes_on_by_the_delta(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await resume_review(person, machine)
        assert person.name == "ReviewScreen"
        assert machine.mounted == [("/dev/sdf1", False)]
        await person.press("tab")
        await person.type("7r0p")
        await person.press("enter")
        steps = machine.started[1].plan.steps
        assert [step.delta for step in steps if isinstance(step, DeployImage)] == [True]
        await person.press("escape")
        assert "Interrupted" not in person.screen()


async def test_an_interrupted_restore_can_be_forgotten(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await resume_restore(person, machine)
        assert person.name == "ResumeScreen"
        await person.press("tab", "tab", "enter")
        assert person.name == "HomeScreen"
        assert "Interrupted" not in person.screen()
        await person.press("g")
        assert person.name == "HomeScreen"


async def test_a_target_that_is_gone_is_said(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await home_interrupted(person, machine)
        machine.disks = machine.disks[1:]
        await person.press("f5", "g", "tab", "enter")
        assert "is not here" in person.screen()
        assert len(machine.started) == 1


async def test_nothing_is_offered_after_a_good_end(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_done(person, machine)
        await person.press("escape")
        assert "Interrupted" not in person.screen()
