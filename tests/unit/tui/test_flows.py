"""Keys pressed, and what comes of it: on the machine, on the screen, with the focus."""

from __future__ import annotations

import threading
from pathlib import Path

from textual.widgets import Input

from rescue.errors import RescueError
from rescue.model.disk import Protection
from rescue.model.plan import CaptureDisk
from rescue.model.progress import Finished
from rescue.model.survey import DiskSurvey, Place
from rescue.records import replace
from rescue.services import RestoreRequest
from rescue.tui.app import RescueApp
from rescue.tui.screens.home import HomeScreen
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.choices import Choices
from rescue.tui.widgets.disk_panel import DiskPanel
from tests.unit.tui.person import Person, at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import BLANK, NVME, all_disks
from tests.unit.tui.ways import (
    backup_how,
    backup_review,
    backup_where,
    log,
    restore_cancel,
    restore_done,
    restore_onto,
    restore_review,
    restore_right,
    restore_running,
    restore_wrong,
    verify_done,
)


def focused(person: Person) -> str:
    """Id of the widget with the focus, or its class."""
    widget = person.app.focused
    return (widget.id or type(widget).__name__) if widget else ""


async def test_the_last_four_characters_start_a_restore(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_right(person, machine)
        assert machine.started == []
        await person.press("enter")
        assert [job.plan.kind for job in machine.started] == ["restore"]
        assert machine.started[0].plan.target == NVME
        assert person.name == "RunningScreen"
        assert machine.mounted == [("/dev/sdf1", False)]


async def test_wrong_characters_start_nothing(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_wrong(person, machine)
        assert person.app.screen.query_one("#start", PushButton).disabled
        await person.press("enter", "tab", "enter", "enter")
        assert machine.started == []


async def test_enter_on_the_review_screen_goes_back(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_review(person, machine)
        assert focused(person) == "cancel"
        await person.press("enter")
        assert person.name == "TargetScreen"
        assert machine.started == []


async def test_cancel_has_the_focus_of_a_backup_too(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_review(person, machine)
        assert focused(person) == "cancel"
        await person.press("tab", "enter")
        assert [job.plan.kind for job in machine.started] == ["backup"]
        assert machine.mounted == [("/dev/sdf1", True)]


async def test_every_screen_has_a_focus(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        assert focused(person) == "Menu"
        await person.press("1")
        assert focused(person) == "Choices"
        await person.press("enter")
        assert focused(person) == "RowList"
        await person.press("escape", "escape", "p")
        assert focused(person) == "Choices"
        await person.press("escape", "f1")
        assert focused(person) == "close"


async def test_only_possible_targets_can_be_reached(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_onto(person, machine)
        choices = person.app.screen.query_one(Choices)
        enabled = {option.id for option in choices.options if not option.disabled}
        assert enabled == {"/dev/nvme0n1", "/dev/sda", "/dev/sdc", "/dev/sdd"}
        seen = set()
        for _ in range(8):
            seen.add(choices.highlighted_key)
            await person.press("down")
        assert seen == enabled


async def test_a_protected_disk_says_why(machine: RecordedMachine, clock: Clock) -> None:
    machine.disks = [
        replace(survey, protections=(Protection("mounted at /mnt"),)) if survey.disk == BLANK else survey
        for survey in all_disks()
    ]
    async with at(machine, clock, (80, 40)) as person:
        await restore_onto(person, machine)
        assert "mounted at /mnt" in person.screen()


async def test_the_backup_cannot_go_onto_its_own_source(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_where(person, machine)
        options = person.app.screen.query_one(Choices).options
        assert [option.disabled for option in options] == [False, True, False, False]
        assert "on the disk that is backed up" in person.screen()


async def test_name_comment_level_and_check_reach_the_plan(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await backup_how(person, machine)
        person.app.screen.query_one("#name", Input).focus()
        await person.type("mine")
        await person.press("enter")
        await person.type("a note")
        # Kind: full; encryption: no; compression: small; failing disk: no; check: no.
        await person.press("down", "right", "down", "down", "right", "down", "down", "space", "down", "enter")
        assert person.name == "ReviewScreen"
        await person.press("tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, CaptureDisk)
        assert (step.name, step.comment, step.level, step.kind) == ("mine.img.zst", "a note", 9, "full")
        assert len(machine.started[0].plan.steps) == 1


async def test_places_are_given_back(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_onto(person, machine)
        assert machine.mounted == [("/dev/sdf1", False)]
        await person.press("escape", "escape", "escape")
        assert person.name == "HomeScreen"
        assert machine.mounted == []


async def test_a_job_keeps_its_place_until_it_has_ended(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_running(person, machine)
        await person.press("escape")
        assert person.name == "HomeScreen"
        assert machine.mounted == [("/dev/sdf1", False)]
        await person.wait(2000, step=100)
        assert machine.mounted == []


async def test_leaving_the_screen_does_not_stop_the_job(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_running(person, machine)
        await person.press("escape")
        assert "1 job running" in person.screen()
        await person.press("j")
        assert person.name == "RunningScreen"
        await person.press("escape")
        await person.wait(2000, step=100)
        assert "1 job running" not in person.screen()
        assert not machine.started[0].cancelled


async def test_stopping_is_asked_for_and_the_default_goes_on(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_cancel(person, machine)
        await person.press("enter")
        assert not machine.started[0].cancelled
        await person.press("c", "escape")
        assert not machine.started[0].cancelled
        await person.press("c", "down", "enter")
        assert machine.started[0].cancelled
        await person.wait(1)
        assert "Stopped." in person.screen()


async def test_a_verdict_that_comes_while_a_question_is_open_is_shown_after_it(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_cancel(person, machine)
        await person.wait(2000, step=100)
        assert person.name == "Question"
        await person.press("enter")
        assert person.name == "DoneScreen"


async def test_jobs_of_before_are_found(machine: RecordedMachine, clock: Clock) -> None:
    target = all_disks()[0]
    machine.start(machine.plan_restore("backups/laptop-2026-11-20.img.zst", target, RestoreRequest()))
    clock.now += 100
    async with at(machine, clock) as person:
        await person.wait(1)
        assert "1 job running" in person.screen()
        await person.press("j")
        assert "Restore onto /dev/nvme0n1" in person.screen()


async def test_a_disk_that_is_plugged_in_appears(machine: RecordedMachine, clock: Clock) -> None:
    disks = all_disks()
    machine.disks = disks[:1]
    async with at(machine, clock) as person:
        assert BLANK.model not in person.screen()
        machine.disks = disks[:4]
        assert machine.changed is not None
        machine.changed()
        await person.settle()
        assert BLANK.model in person.screen()
        machine.disks = disks[:2]
        machine.changed()
        await person.settle()
        assert BLANK.model not in person.screen()


async def test_a_disk_that_is_plugged_in_can_be_chosen_as_target(machine: RecordedMachine, clock: Clock) -> None:
    disks = all_disks()
    machine.disks = disks[:3]
    async with at(machine, clock) as person:
        await restore_onto(person, machine)
        assert BLANK.model not in person.screen()
        machine.disks = disks
        assert machine.changed is not None
        machine.changed()
        await person.settle()
        assert BLANK.model in person.screen()
        assert person.app.screen.query_one(Choices).highlighted_key == NVME.path


async def test_the_log_is_saved_to_a_place(machine: RecordedMachine, clock: Clock, tmp_path: Path) -> None:
    async with at(machine, clock) as person:
        await restore_done(person, machine)
        job = machine.started[0]
        job.folder = tmp_path / "job"
        job.folder.mkdir()
        (job.folder / "events.jsonl").write_text("{}\n")
        await person.press("s", "down", "enter")
        assert "The log is saved" in person.screen()
    assert (tmp_path / "backups" / f"rescue-log-{job.id}" / "events.jsonl").read_text() == "{}\n"
    assert machine.mounted == []


async def test_the_log_cannot_go_onto_the_restored_disk(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_done(person, machine)
        machine.place_list = [replace(machine.place_list[0], disk=NVME)]
        await person.press("s")
        assert [option.disabled for option in person.app.screen.query_one(Choices).options] == [True, False]


async def test_failing_survey_is_said(machine: RecordedMachine, clock: Clock) -> None:
    class Broken(RecordedMachine):
        def survey(self) -> list[DiskSurvey]:
            raise RescueError("udev does not answer.", "Restart.")

    async with at(Broken(clock), clock) as person:
        assert "The disks cannot be listed: udev does not answer. Restart." in person.screen()


async def test_power_is_asked_for(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("p", "enter")
        assert machine.powered == []
        await person.press("9", "down", "enter")
        assert machine.powered == ["reboot"]
        await person.press("p", "down", "down", "enter")
        assert machine.powered == ["reboot", "poweroff"]


async def test_power_warns_while_a_job_runs(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_running(person, machine)
        await person.press("escape", "p")
        assert "A job is running." in person.screen()


async def test_a_check_that_was_proved_says_so_and_an_unproved_backup_does_not(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await verify_done(person, machine)
        assert "Done, and proved." in person.screen()
        job = machine.started[0]
        person.app.followers[0].finished = Finished("succeeded", 0, "Written.", facts={"verified": False})
        await person.press("escape", "l", "enter")
        assert "proved" not in person.screen()
        assert job.plan.kind == "verify"


async def test_the_log_screen_leads_to_a_verdict(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await log(person, machine)
        await person.press("down", "enter")
        assert person.name == "DoneScreen"
        await person.press("m")
        assert "All messages:" in person.screen()


async def test_text_from_strangers_cannot_steer_the_terminal(machine: RecordedMachine, clock: Clock) -> None:
    survey = all_disks()[0]
    evil = replace(survey.volumes[1], identity=replace(survey.volumes[1].identity, label="\x1b[2J[bold]x[/bold]\n\r"))
    machine.disks = [replace(survey, volumes=(evil,), disk=replace(survey.disk, model="[red]\x1b]0;x\x07"))]
    async with at(machine, clock) as person:
        text = person.screen()
        assert "[bold]x[/bold]" in text
        assert "[red]?]0;x?" in text
        assert "\x1b" not in text


async def test_the_interface_does_not_wait_for_the_machine(machine: RecordedMachine, clock: Clock) -> None:
    release = threading.Event()
    asked = threading.Event()

    class Slow(RecordedMachine):
        def survey(self) -> list[DiskSurvey]:
            asked.set()
            release.wait(20)
            return super().survey()

    app = RescueApp(Slow(clock), clock=clock, poll_every=None)
    async with app.run_test(size=(80, 24)):
        person = Person(app, machine, clock)
        await person.settle()
        assert asked.wait(5)
        assert "Looking for disks …" in person.screen()
        await person.press("l")
        assert "No job has run yet." in person.screen()
        await person.press("escape")
        release.set()
        for _ in range(10_000):
            if app.surveys is not None:
                break
            await person.settle()
        await person.settle()
        assert isinstance(app.screen, HomeScreen)
        assert NVME.model in person.screen()


async def test_a_bug_in_the_machine_is_shown_and_the_interface_lives_on(machine: RecordedMachine, clock: Clock) -> None:
    class Buggy(RecordedMachine):
        def places(self) -> list[Place]:
            raise ZeroDivisionError("a bug")

    async with at(Buggy(clock), clock) as person:
        await person.press("1")
        assert "Rescue met an error of its own" in person.screen()
        await person.press("escape", "escape")
        assert person.name == "HomeScreen"


async def test_a_shell_that_cannot_be_is_refused_in_words(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("l", "s")
        assert "This terminal cannot be shared with a shell." in person.screen()


async def test_problems_and_users_of_a_disk_are_on_home(machine: RecordedMachine, clock: Clock) -> None:
    survey = all_disks()[6]
    machine.disks = [replace(survey, layout=replace(survey.layout, problems=("The backup GPT is damaged.",)))]
    async with at(machine, clock) as person:
        assert "⚠ The backup GPT is damaged." in person.screen()
        assert "protected: mounted at /media/backups" in person.screen()


async def test_maps_grow_where_there_is_room(machine: RecordedMachine, clock: Clock) -> None:
    for size, height in (((80, 24), 1), ((100, 50), 2)):
        async with at(RecordedMachine(clock), clock, size) as person:
            assert {panel.map_height for panel in person.app.screen.query(DiskPanel)} == {height}


async def test_the_highlight_stays_on_its_place_when_another_appears(machine: RecordedMachine, clock: Clock) -> None:
    places = machine.place_list
    machine.place_list = places[:2]
    async with at(machine, clock) as person:
        await person.press("1", "down")
        machine.place_list = [places[2], *places[:2]]
        assert machine.changed is not None
        machine.changed()
        await person.settle()
        await person.press("enter")
        assert machine.mounted == [(places[1].device, False)]


async def test_ctrl_c_asks_how_to_leave(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("ctrl+c")
        assert "Leave this program" in person.screen()


async def test_a_narrow_serial_console_and_a_wide_terminal(machine: RecordedMachine, clock: Clock) -> None:
    for size in ((60, 20), (200, 60)):
        async with at(RecordedMachine(clock, folder=machine.folder), clock, size) as person:
            await restore_onto(person, person.machine)
            assert max(len(line) for line in person.screen().splitlines()) <= size[0]
