"""Partitions: what a search finds is added to the queue, and nowhere else. Fit: where what is moved is kept."""

from __future__ import annotations

from collections.abc import Callable

from rescue.errors import CancelledError, SourceReadError
from rescue.model.edit import SetTable
from rescue.model.fitting import FitDisk
from rescue.model.lost import Lost
from rescue.model.progress import CancelToken
from rescue.model.survey import DiskSurvey
from rescue.tui.screens.fit import FitScreen
from rescue.tui.screens.lost import state_words
from rescue.units import GIB, MIB
from tests.unit.tui.person import at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_images import lost_partitions
from tests.unit.tui.ways_disks import choose, highlight
from tests.unit.tui.ways_images import fit_overlay_where, partitions_found, partitions_lost, partitions_none_lost


def test_how_sure_it_is_in_words() -> None:
    whole, inside, _, beginning = lost_partitions()
    assert [state_words(one) for one in (whole, inside, beginning)] == ["whole", "inside of another", "only its beginning"]
    assert state_words(Lost(0, 1, whole.identity, True, overlaps=True)) == "overlaps another"
    assert state_words(Lost(0, 1, whole.identity, True, twin_of=3)) == "copy of partition 3"
    assert state_words(Lost(0, 1, whole.identity, True, damaged=True)) == "its beginning is damaged"


async def test_what_is_whole_is_marked_and_added_with_its_borders(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_lost(person, machine)
        text = person.screen()
        assert "● ext4 “photos”" in text
        assert "1 more begins inside" in " ".join(text.split())
        person.app.screen.query_one("#add").focus()
        await person.press("enter")
        assert person.name == "PartitionsScreen"
        assert "3 changes are pending" in person.screen()
        await person.press("a", "tab")
        await person.type("7x1l")
        await person.press("enter")
        plan = machine.started[0].plan
        table = next(step for step in plan.steps if isinstance(step, SetTable))
        assert [(p.start, p.end) for p in table.after.partitions] == [(1 * MIB, 100 * GIB), (100 * GIB, 300 * GIB)]


async def test_marks_are_set_and_taken_away(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_lost(person, machine)
        await person.press("space")
        await highlight(person, str(400 * GIB))
        await person.press("enter")
        marked = [line.split("●")[1].split()[0] for line in person.screen().splitlines() if line.lstrip("▸ ").startswith("●")]
        assert marked == ["NTFS", "xfs"]
        person.app.screen.query_one("#add").focus()
        await person.press("enter")
        assert f"start={400 * GIB}" not in person.screen()
        assert "3 changes are pending" in person.screen()


async def test_what_was_added_can_be_taken_back(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_found(person, machine)
        await person.press("u", "u", "u")
        assert "Nothing is changed yet" in person.screen()


async def test_nothing_found_offers_every_sector(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await partitions_none_lost(person, machine)
        assert "No lost partition was found" in person.screen()
        machine.lost = lost_partitions()
        await person.press("enter")
        assert "3 lost partitions were found" in person.screen()
        assert machine.deep == [False, True]


async def test_it_can_be_searched_at_every_sector_at_once(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("t")
        await choose(person, "/dev/sdc")
        await person.press("z")
        await choose(person, "deep")
        assert machine.deep == [True]
        assert "every sector" not in person.screen()


class Failing(RecordedMachine):
    """A disk that does not give its bytes."""

    def find_lost(self, survey: DiskSurvey, deep: bool, token: CancelToken, progress: Callable[[int, int], None]) -> list[Lost]:
        """See Machine."""
        if token.cancelled:
            raise CancelledError("Cancelled.")
        raise SourceReadError("/dev/sdc cannot be read at byte 4096.", 4096, 512, "Back it up with salvage first.")


async def test_a_disk_that_cannot_be_read_is_said(machine: RecordedMachine, clock: Clock) -> None:
    async with at(Failing(clock, folder=machine.folder), clock) as person:
        await partitions_none_lost(person, person.machine)
        assert "cannot be read at byte 4096" in person.screen()
        await person.press("escape")
        assert "did not come to its end" in person.screen()
        await person.press("escape")
        assert person.name == "PartitionsScreen"


# Fit


async def test_what_is_moved_is_kept_on_a_disk_that_stays_open_for_the_job(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_overlay_where(person, machine)
        assert "/dev/nvme0n1" not in [place for place, _ in machine.mounted]
        await choose(person, "/dev/sdf1")
        assert isinstance(person.app.screen, FitScreen)
        assert machine.mounted == [("/dev/sdf1", True)]
        person.app.screen.query_one("#next").focus()
        await person.press("enter", "tab")
        await person.type("7x1l")
        await person.press("enter")
        plan = machine.started[0].plan
        assert "--overlay" in plan.command
        assert next(step for step in plan.steps if isinstance(step, FitDisk)).folder == "backups"
        assert machine.mounted == [("/dev/sdf1", True)]
        await person.wait(9000, step=200)
        assert machine.mounted == []


async def test_going_back_gives_the_place_back(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await fit_overlay_where(person, machine)
        await choose(person, "/dev/sdf1")
        await person.press("o", "enter")
        assert machine.mounted == []
        await person.press("o", "down", "enter")
        await choose(person, "/dev/sdf1")
        await person.press("escape")
        assert machine.mounted == []
