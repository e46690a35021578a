"""Partitions: a queue of changes that is shown, undone one by one and done after the typed confirmation."""

from __future__ import annotations

from textual.widgets import Input

from rescue.model.disk import Protection
from rescue.model.edit import FormatVolume, PutTableBack, ResizeVolume, SetTable
from rescue.model.plan import Plan
from rescue.model.progress import Finished
from rescue.planning.partition_plan import PartitionRequest
from rescue.records import replace
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.choices import Choices
from tests.unit.tui.person import at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import SATA, all_disks
from tests.unit.tui.recorded_plans import recorded_edit
from tests.unit.tui.test_disk_flows import confirm, focused, planned
from tests.unit.tui.ways_disks import (
    choose,
    highlight,
    partitions,
    partitions_blank,
    partitions_mbr,
    partitions_pending,
)


async def test_pending_changes_are_undone_one_by_one(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_pending(person, machine)
        assert "3 changes are pending" in person.screen()
        await person.press("u")
        assert "2 changes are pending" in person.screen()
        assert "NTFS “Recovery”" in person.screen()
        await person.press("u", "u")
        assert "Nothing is changed yet" in person.screen()
        assert person.app.screen.query_one("#apply", PushButton).disabled
        await person.press("u", "a")
        assert person.name == "PartitionsScreen"
        assert "464.9 GiB" in person.screen()


async def test_the_queue_reaches_the_job_after_the_typed_confirmation(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_pending(person, machine)
        await person.press("a")
        assert person.name == "ReviewScreen"
        assert focused(person) == "cancel"
        assert "✗ Partition 4, NTFS, “Recovery”" in person.screen()
        await confirm(person, "7r0p")
        plan = planned(machine)
        assert plan.kind == "partition"
        assert plan.command[:4] == ("rescue", "partition", "/dev/nvme0n1", "resize 3 size=300GiB")
        assert plan.command[4].endswith("fs=ext4 label=Linux")
        assert plan.command[5] == "delete 4"
        kinds = [type(step) for step in plan.steps]
        assert kinds.index(ResizeVolume) < kinds.index(SetTable) < kinds.index(FormatVolume)


async def test_cancel_on_the_review_keeps_the_queue(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_pending(person, machine)
        await person.press("a", "enter")
        assert "3 changes are pending" in person.screen()
        assert machine.started == []


async def test_what_cannot_be_done_is_said_while_the_fields_are_there(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions(person, machine)
        await highlight(person, "p3")
        await person.press("s")
        for typed, said in (("100GiB", "as small as"), ("9TiB", "it has room for"), ("x", "is no size")):
            person.app.screen.query_one(Input).value = ""
            await person.type(typed)
            await person.press("enter")
            assert person.name == "Form"
            assert said in " ".join(person.screen().split())
        await person.press("escape")
        assert "Nothing is changed yet" in person.screen()


async def test_each_kind_of_change_is_noted(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock, (100, 40)) as person:
        await partitions(person, machine)
        await highlight(person, "p3")
        await person.press("s")
        await person.type("400GiB")
        await person.press("enter")
        await highlight(person, "p4")
        await person.press("e")
        await person.press("end")
        await person.type("my tools")
        await person.press("enter")
        await person.press("t")
        await choose(person, "linux")
        await person.press("g")
        await choose(person, "hidden=on")
        await person.press("f", "down")
        await person.type("tools")
        await person.press("enter")
        await person.press("m")
        await person.type("420GiB")
        await person.press("enter")
        assert "6 changes are pending" in person.screen()
        await person.press("g")
        assert "■ hidden" in person.screen()
        await person.press("escape", "a")
        await confirm(person, "7r0p")
        assert planned(machine).command[4:] == (
            "name 4 'my tools'", "type 4 linux", "flag 4 hidden=on", "format 4 fs=ext4 label=tools", "move 4 start=420GiB",
        )  # fmt: skip


async def test_what_a_partition_holds_is_labelled_and_copied(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_mbr(person, machine)
        await highlight(person, "p1")
        await person.press("l")
        await person.type("my root")
        await person.press("enter")
        assert "ext4 “my root”" in person.screen()
        await highlight(person, "p5")
        await person.press("enter")
        await choose(person, "copy")
        assert "2 changes are pending" in person.screen()
        await person.press("a")
        await confirm(person, "8f1c")
        assert planned(machine).command[3:] == ("label 1 'my root'", "copy 5")


async def test_keys_that_a_row_cannot_take_do_nothing(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions(person, machine)
        await highlight(person, "p3")
        await person.press("n")
        assert person.name == "PartitionsScreen"
        free = next(o.id for o in person.app.screen.query_one(Choices).options if o.id and o.id.startswith("f"))
        await highlight(person, free)
        await person.press("d", "s", "m", "c", "f", "l", "e", "t", "g")
        assert person.name == "PartitionsScreen"
        assert "Nothing is changed yet" in person.screen()


async def test_a_blank_disk_gets_a_table_and_a_partition(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_blank(person, machine)
        await person.press("enter")
        await choose(person, "table gpt")
        await person.press("n", "enter")
        assert "2 changes are pending" in person.screen()
        await person.press("a")
        await confirm(person, "7x1l")
        command = planned(machine).command
        assert command[3] == "table gpt"
        assert command[4].startswith("create start=")


async def test_an_mbr_becomes_a_gpt_around_its_partitions(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_mbr(person, machine)
        await person.press("b")
        await choose(person, "convert gpt")
        assert "238.5 GiB, GPT" in person.screen()


async def test_leaving_asks_when_something_is_pending(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_pending(person, machine)
        await person.press("escape", "enter")
        assert person.name == "PartitionsScreen"
        await person.press("escape", "down", "enter")
        assert person.name == "TargetScreen"
        assert machine.started == []


async def test_an_interrupted_move_comes_first(machine: RecordedMachine, clock: Clock) -> None:
    machine.begun_move = recorded_edit_of_nvme()
    async with at(machine, clock) as person:
        await partitions(person, machine)
        assert "A move was interrupted on this disk" in person.screen()
        await highlight(person, "p3")
        await person.press("d")
        assert "Complete it first" in person.screen()
        await person.press("escape", "a")
        await confirm(person, "7r0p")
        assert planned(machine) == machine.begun_move


def recorded_edit_of_nvme() -> Plan:
    """Stands for the plan that completes a move."""
    return recorded_edit(all_disks()[0], PartitionRequest(("name 4 x",), ""))


async def test_the_kept_table_is_put_back_or_it_is_said_that_there_is_none(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions(person, machine)
        await person.press("z")
        await choose(person, "put-back")
        assert "No partition table of" in person.screen()
        await person.press("escape")
        machine.table_kept = True
        await person.press("z")
        await choose(person, "put-back")
        await confirm(person, "7r0p")
        assert isinstance(planned(machine).steps[0], PutTableBack)


async def test_a_table_that_is_whole_is_not_repaired_and_a_damaged_one_is(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions(person, machine)
        await person.press("z")
        await choose(person, "repair")
        assert "there is nothing to repair" in " ".join(person.screen().split())
    nvme = all_disks()[0]
    machine.disks = [replace(nvme, layout=replace(nvme.layout, problems=("The backup GPT is damaged.",)))]
    async with at(machine, clock) as person:
        await partitions(person, machine)
        assert "⚠ The backup GPT is damaged." in person.screen()
        await person.press("z")
        await choose(person, "repair")
        await confirm(person, "7r0p")
        assert planned(machine).command[-1] == "--repair"


async def test_a_mounted_disk_cannot_be_edited(machine: RecordedMachine, clock: Clock) -> None:
    machine.disks = [
        replace(survey, protections=(Protection("mounted at /mnt"),)) if survey.disk == SATA else survey for survey in all_disks()
    ]
    async with at(machine, clock) as person:
        await person.press("t")
        options = {option.id: option.disabled for option in person.app.screen.query_one(Choices).options}
        assert options[SATA.path]


async def test_a_job_that_fails_while_partitions_change_says_in_what_state_it_is(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_pending(person, machine)
        await person.press("a")
        await confirm(person, "7r0p")
        machine.started[-1].script = [
            (0.0, Finished("failed", 1, "ntfsresize ended with 1.", "A file system on /dev/nvme0n1 was being resized."))
        ]
        machine.started[-1]._next = 0
        await person.wait(1)
        assert "Failed." in person.screen()
        assert "was being resized" in person.screen()
        await person.press("escape")
        assert "Interrupted" not in person.screen()
