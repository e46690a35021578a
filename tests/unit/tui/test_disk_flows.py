"""Clone, Fit, Partitions and Wipe: keys pressed, and what reaches the machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rescue.errors import RefusedError
from rescue.model.clone import CloneDisk
from rescue.model.edit import EraseExtents, SanitizeDisk
from rescue.model.fitting import FitDisk, FitIds
from rescue.model.plan import DeployImage, Plan
from rescue.records import replace
from rescue.tui.interrupted import fit_of
from rescue.tui.widgets.choices import Choices
from rescue.tui.widgets.toggle import Toggle
from rescue.units import GIB
from tests.unit.tui.person import Person, at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import BLANK, NVME, all_disks
from tests.unit.tui.ways import restore_onto
from tests.unit.tui.ways_disks import (
    Way,
    choose,
    clone_cancel,
    clone_failed,
    clone_onto,
    clone_review,
    clone_running,
    fit_by_hand,
    fit_larger,
    fit_smaller,
    highlight,
    partitions_pending,
    wipe_how,
    wipe_how_frozen,
    wipe_review,
)


async def confirm(person: Person, typed: str) -> None:
    """Type the last characters of the serial on the review, and start."""
    await person.press("tab")
    await person.type(typed)
    await person.press("enter")


def focused(person: Person) -> str:
    """Id of the widget with the focus."""
    widget = person.app.focused
    return (widget.id or "") if widget else ""


def planned(machine: RecordedMachine) -> Plan:
    """The plan of the one job that was started."""
    assert len(machine.started) == 1
    return machine.started[0].plan


def fitted(plan: Plan) -> FitDisk:
    """The step that fits."""
    return next(step for step in plan.steps if isinstance(step, FitDisk))


# Clone and Fit


async def test_a_clone_onto_a_larger_disk_fills_it_and_says_the_same_command(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await clone_review(person, machine)
        assert focused(person) == "cancel"
        await confirm(person, "7x1l")
        plan = planned(machine)
        assert (plan.kind, plan.source, plan.target) == ("clone", NVME, BLANK)
        assert plan.command == ("rescue", "clone", "/dev/nvme0n1", "/dev/sdc", "--fit", "auto")
        assert fitted(plan).layout.partitions[2].size > 900 * GIB
        assert person.name == "RunningScreen"


async def test_what_is_set_by_hand_reaches_the_job_and_the_command(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_by_hand(person, machine)
        person.app.screen.query_one("#next").focus()
        await person.press("enter")
        await confirm(person, "7x1l")
        plan = planned(machine)
        assert [p.number for p in fitted(plan).layout.partitions] == [1, 2, 3]
        assert fitted(plan).layout.partitions[2].size == 920 * GIB
        assert [volume.partition for volume in fitted(plan).volumes] == [1, 3]
        assert sorted(plan.command[4:]) == sorted(("--fit", "auto", "--size", "3=920GiB", "--leave-out", "4"))


async def test_a_typed_size_is_taken_and_nonsense_is_not(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_larger(person, machine)
        await highlight(person, "3")
        await person.press("s")
        await person.type("many")
        await person.press("enter")
        assert "is no size" in person.screen()
        await person.press("escape", "s")
        await person.type("600 gib")
        await person.press("enter")
        assert "600.0 GiB  ▪ set" in person.screen()
        await person.press("s")
        await person.type("2T")
        await person.press("enter")
        assert "✗" in person.screen()
        person.app.screen.query_one("#next").focus()
        await person.press("enter")
        assert person.name == "Notice"
        await person.press("escape")
        await highlight(person, "3")
        await person.press("a")
        assert "✓ It fits" in person.screen()


async def test_keys_and_menu_of_a_partition_do_the_same(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_larger(person, machine)
        await highlight(person, "3")
        for key, entry, note in (
            ("p", "keep", "pinned"),
            ("n", "min", "smallest"),
            ("m", "max", "the rest"),
            ("x", "leave-out", "left"),
        ):
            await person.press(key)
            assert f"▪ {note}" in person.screen()
            await person.press("a", "enter")
            await choose(person, entry)
            assert f"▪ {note}" in person.screen()
            await person.press("enter")
            await choose(person, "automatic")
            assert "▪" not in person.screen()
        await person.press("left_square_bracket")
        assert [option.id for option in person.app.screen.query_one(Choices).options] == ["1", "3", "2", "4"]
        await person.press("right_square_bracket")
        assert [option.id for option in person.app.screen.query_one(Choices).options] == ["1", "2", "3", "4"]


async def test_a_wish_turns_the_way_that_keeps_all(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_larger(person, machine)
        mode = person.app.screen.query_one("#mode", Toggle)
        mode.focus()
        await person.press("left")
        assert "465.8 GiB of 931.5 GiB stay unused" in person.screen()
        await highlight(person, "3")
        await person.press("right")
        assert mode.index == 1


async def test_all_exactly_as_it_was_is_the_plain_clone(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_larger(person, machine)
        person.app.screen.query_one("#mode", Toggle).focus()
        await person.press("left")
        person.app.screen.query_one("#next").focus()
        await person.press("enter")
        await confirm(person, "7x1l")
        assert any(isinstance(step, CloneDisk) for step in planned(machine).steps)


async def test_identifiers_of_its_own_reach_the_job(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_larger(person, machine)
        person.app.screen.query_one("#ids", Toggle).focus()
        await person.press("right")
        person.app.screen.query_one("#next").focus()
        await person.press("enter")
        await confirm(person, "7x1l")
        plan = planned(machine)
        assert "--new-ids" in plan.command
        assert any(isinstance(step, FitIds) for step in plan.steps)
        assert fit_of(plan)[1].new_ids
        await person.wait(3000, step=100)
        assert "Both disks can stay" in person.screen()


async def test_what_does_not_fit_says_by_how_much_and_goes_no_further(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_smaller(person, machine)
        assert "too small by 42.9 GiB" in person.screen()
        await person.press("enter")
        assert person.name == "Notice"
        await person.press("escape")
        await highlight(person, "3")
        await person.press("x")
        assert "✓ It fits" in person.screen()


async def test_until_the_file_systems_have_answered_the_button_waits(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        held: list[Callable[[], None]] = []
        person.app._launch = held.append
        await fit_smaller(person, machine)
        assert "Looking how small" in person.screen()
        await person.press("enter")
        assert person.name == "FitScreen"
        for work in held:
            work()
        await person.settle()
        assert "too small by 42.9 GiB" in person.screen()


async def test_the_source_and_what_is_in_use_cannot_be_the_target_of_a_clone(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock, (80, 40)) as person:
        await clone_onto(person, machine)
        options = {option.id: option.disabled for option in person.app.screen.query_one(Choices).options}
        assert options["/dev/nvme0n1"]
        assert options["/dev/sdf"]
        assert not options["/dev/sdc"]
        assert "the disk that is to be copied" in person.screen()
        assert "mounted at /media/backups" in person.screen()


async def test_a_disk_with_other_sectors_can_be_a_target(machine: RecordedMachine, clock: Clock) -> None:
    machine.disks = [
        replace(survey, disk=replace(survey.disk, logical_sector_size=4096)) if survey.disk == BLANK else survey
        for survey in all_disks()
    ]
    async with at(machine, clock) as person:
        await fit_larger(person, machine)
        assert "Its sectors have 4096 bytes" in " ".join(person.screen().split())


async def test_a_clone_that_was_stopped_is_gone_on_with_as_it_was_asked(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_by_hand(person, machine)
        person.app.screen.query_one("#next").focus()
        await person.press("enter")
        await confirm(person, "7x1l")
        await person.wait(200)
        await person.press("c")
        assert "What was on the target disk is gone" in person.screen()
        await person.press("down", "enter")
        await person.wait(1)
        await person.press("escape", "g", "tab", "enter")
        assert person.name == "ReviewScreen"
        await confirm(person, "7x1l")
        assert fitted(machine.started[1].plan).layout == fitted(machine.started[0].plan).layout


async def test_stopping_a_clone_is_asked_for(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await clone_cancel(person, machine)
        await person.press("enter")
        assert not machine.started[0].cancelled


async def test_a_clone_that_fails_says_so(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await clone_failed(person, machine)
        assert "cannot be read at byte" in person.screen()
        await person.press("escape")
        assert "Interrupted" in person.screen()


async def test_wrong_characters_clone_nothing(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await clone_review(person, machine)
        await confirm(person, "7r0p")
        assert "not this disk" in person.screen()
        assert machine.started == []


async def test_the_whole_of_a_clone_is_never_done_before_it_is(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await clone_running(person, machine)
        follower = person.app.followers[0]
        assert 0 < follower.share < 0.5
        assert follower.all_total == planned(machine).estimated_bytes


@pytest.mark.parametrize("size", [(60, 20), (200, 60)], ids=["narrow", "wide"])
@pytest.mark.parametrize("way", [fit_by_hand, partitions_pending, wipe_how])
async def test_a_narrow_serial_console_and_a_wide_terminal(
    machine: RecordedMachine, clock: Clock, way: Way, size: tuple[int, int]
) -> None:
    async with at(machine, clock, size) as person:
        await way(person, machine)
        lines = person.screen().splitlines()
        assert max(len(line) for line in lines) <= size[0]
        assert any("NTFS “Win" in line and line.rstrip().endswith(("▲", "GiB")) for line in lines) or way is wipe_how


# Restore with Fit


async def test_an_image_of_a_smaller_disk_is_fitted_by_hand(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_onto(person, machine)
        await choose(person, BLANK.path)
        assert person.name == "FitScreen"
        await highlight(person, "3")
        await person.press("s")
        await person.type("500GiB")
        await person.press("enter")
        person.app.screen.query_one("#next").focus()
        await person.press("enter")
        await confirm(person, "7x1l")
        plan = planned(machine)
        assert plan.kind == "restore"
        assert fitted(plan).layout.partitions[2].size == 500 * GIB
        assert plan.command[:3] == ("rescue", "restore", "backups/laptop-2026-11-22.rimg")
        assert "3=500GiB" in plan.command


async def test_an_image_of_a_disk_of_the_same_size_is_not_fitted(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_onto(person, machine)
        await choose(person, NVME.path)
        assert person.name == "ReviewScreen"
        await confirm(person, "7r0p")
        assert any(isinstance(step, DeployImage) for step in planned(machine).steps)


async def test_an_image_that_does_not_say_what_is_in_it_goes_to_its_review(machine: RecordedMachine, clock: Clock) -> None:
    machine.image_list = [replace(image, layout=None) for image in machine.images(machine.folder)]
    async with at(machine, clock) as person:
        await restore_onto(person, machine)
        await choose(person, BLANK.path)
        assert person.name == "ReviewScreen"


async def test_a_fitted_restore_that_was_stopped_is_gone_on_with(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_onto(person, machine)
        await choose(person, BLANK.path)
        await highlight(person, "4")
        await person.press("x")
        person.app.screen.query_one("#next").focus()
        await person.press("enter")
        await confirm(person, "7x1l")
        await person.wait(100)
        await person.press("c", "down", "enter")
        await person.wait(1)
        await person.press("escape", "g")
        assert "laptop-2026-11-22.rimg" in person.screen()
        await person.press("tab", "enter")
        await confirm(person, "7x1l")
        assert fitted(machine.started[1].plan).layout == fitted(machine.started[0].plan).layout


# Wipe


@pytest.mark.parametrize(
    ("way", "step"),
    [("quick", EraseExtents), ("zeros", EraseExtents), ("sanitize", SanitizeDisk)],
    ids=["quick", "zeros", "sanitize"],
)
async def test_each_way_of_wiping_reaches_the_job(machine: RecordedMachine, clock: Clock, way: str, step: type) -> None:
    async with at(machine, clock) as person:
        await wipe_how(person, machine)
        await choose(person, way)
        assert "NTFS, “Windows”" in person.screen()
        assert focused(person) == "cancel"
        await confirm(person, "7r0p")
        plan = planned(machine)
        assert isinstance(plan.steps[0], step)
        assert plan.command[-2:] == ("--method", way)


async def test_a_disk_that_cannot_erase_itself_says_why(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await wipe_how_frozen(person, machine)
        assert "Not this disk: its firmware froze it" in person.screen()
        choices = person.app.screen.query_one(Choices)
        assert [option.disabled for option in choices.options] == [False, False, True]


async def test_what_is_protected_cannot_be_wiped(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("w")
        options = {option.id: option.disabled for option in person.app.screen.query_one(Choices).options}
        assert [path for path, disabled in options.items() if disabled] == ["/dev/sdb", "/dev/sde", "/dev/sdf"]


async def test_a_wipe_that_is_refused_shows_the_reason(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await wipe_how(person, machine)
        machine.refuse = RefusedError("/dev/nvme0n1 is protected: mounted at /mnt.", "Unmount it.")
        await choose(person, "zeros")
        assert "This cannot be done." in person.screen()
        await person.press("tab", "tab", "enter")
        assert machine.started == []


async def test_after_a_quick_wipe_the_disk_is_not_for_giving_away(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await wipe_how(person, machine)
        await choose(person, "quick")
        await confirm(person, "7r0p")
        await person.wait(4000, step=100)
        assert "Do not give it away" in person.screen()


async def test_leaving_the_review_of_a_wipe_changes_nothing(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await wipe_review(person, machine)
        await person.press("enter")
        assert person.name == "WipeScreen"
        await person.press("escape", "escape")
        assert person.name == "HomeScreen"
        assert machine.started == []
