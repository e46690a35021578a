"""Keys pressed in Files, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from textual.strip import Strip

from rescue.errors import UnsupportedError
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.plan import ExtractFiles
from rescue.tui.app import RescueApp
from rescue.tui.screens.files import FilesScreen
from rescue.tui.widgets.choices import Choices
from rescue.tui.widgets.file_list import FileList, day, name_of, shortened
from tests.unit.tui.person import Person, at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_files import RecordedTree, file, folder
from tests.unit.tui.ways_files import (
    files_damaged,
    files_documents,
    files_marked,
    files_of_an_image,
    files_open,
    files_partition,
    files_review,
    files_root,
    files_running,
    files_search,
    files_target,
    files_there,
)


def highlighted(person: Person) -> str:
    """Path of the entry under the highlight."""
    entry = person.app.screen.query_one(FileList).highlighted
    return entry.path if entry else ""


async def test_what_is_marked_is_copied_and_nothing_else(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_review(person, machine)
        await person.press("enter")
        assert machine.started == []
        await person.press("enter", "tab", "enter")
        (job,) = machine.started
        (step,) = job.plan.steps
        assert isinstance(step, ExtractFiles)
        assert step.paths == (b"Users/anna/Documents/Tax 2025", b"Users/anna/Documents/Letter to the landlord.docx")
        assert (step.volume.partition, step.folder, step.image) == (3, "backups", "")
        assert step.disk == machine.disks[0].disk
        assert not step.overwrite


async def test_without_marks_the_entry_under_the_highlight_is_copied(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_root(person, machine)
        await person.press("c", "enter", "down", "enter", "tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, ExtractFiles)
        assert step.paths == (b"Program Files",)


async def test_files_of_an_image_come_from_the_image(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_of_an_image(person, machine)
        await person.press("c", "enter", "down", "enter", "tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, ExtractFiles)
        assert step.image == machine.images(machine.folder)[0].path
        assert step.disk is None
        # Where the image is and where the files go stay mounted for the job.
        assert sorted(machine.mounted) == [("/dev/sdf1", False), ("/dev/sdf1", True)]
        await person.wait(2000, step=100)
        assert machine.mounted == []


async def test_what_is_there_is_replaced_only_when_that_is_said(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_there(person, machine)
        await person.press("enter")
        assert person.name == "FilesFolderScreen"
        await person.press("enter", "down", "enter", "tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, ExtractFiles)
        assert step.overwrite


async def test_a_new_folder_is_given_a_name(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_target(person, machine)
        await person.press("enter", "enter", "home", "ctrl+k")
        await person.type("a/b")
        await person.press("enter")
        assert "without a slash" in person.screen()
        await person.press("enter", "enter", "home", "ctrl+k")
        await person.type("saved")
        await person.press("enter", "tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, ExtractFiles)
        assert step.folder == "backups/saved"


async def test_the_disk_that_is_read_is_not_written_to(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await person.press("f", "end", "enter", "escape", "c")
        options = person.app.screen.query_one(Choices).options
        assert [option.disabled for option in options] == [True, False, False, False]
        assert "on the disk that the files are read from" in person.screen()


async def test_search_finds_as_it_is_typed_and_leads_to_the_file(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_search(person, machine)
        assert "2 found." in person.screen()
        await person.type("x")
        assert "1 found." in person.screen()
        await person.type("?")
        assert "No name holds these words." in person.screen()
        await person.press("backspace", "enter", "enter")
        assert "/Users/anna/Documents  " in person.screen()
        assert highlighted(person) == "Users/anna/Documents/Letter to the landlord.docx"
        assert not person.app.screen.query_one("#words").display


async def test_a_search_that_finds_too_much_says_so(machine: RecordedMachine, clock: Clock) -> None:
    machine.tree = RecordedTree([file(f"note-{number}", 1) for number in range(1500)])
    async with at(machine, clock) as person:
        await files_open(person, machine)
        await person.press("slash")
        await person.type("note")
        assert "The first 1000 are shown." in person.screen()
        await person.press("escape")
        assert "1500 entries" in person.screen()


async def test_backspace_goes_up_to_where_one_came_from(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_documents(person, machine)
        for above in ("Users/anna/Documents", "Users/anna", "Users", "Users"):
            await person.press("backspace")
            assert highlighted(person) == above


async def test_marks_are_kept_elsewhere_and_can_be_taken_back(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_marked(person, machine)
        await person.press("home", "space")
        assert "1 file (48.3 KiB)" in person.screen()
        await person.press("m")
        assert "/Users/anna/Documents  " in person.screen()
        await person.press("escape", "enter")
        assert isinstance(person.app.screen, FilesScreen)
        await person.press("escape", "down", "enter")
        assert person.name == "FilesPartitionScreen"
        assert machine.browsed == []


async def test_a_damaged_folder_shows_what_can_be_read(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_damaged(person, machine)
        assert "This folder is damaged" in person.screen()
        assert highlighted(person) == "Users/anna/Pictures/IMG_2039.jpg"


async def test_what_cannot_be_read_is_neither_marked_nor_opened(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_documents(person, machine)
        await person.press("home", "space")
        assert "Lost cannot be read" in person.screen()
        await person.press("home", "enter")
        assert "The folder's index is damaged." in person.screen()
        await person.press("enter", "m")
        assert "Marked, to be copied out:" in person.screen()
        assert "Lost" not in person.screen()


async def test_what_cannot_be_opened_says_so(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_partition(person, machine)
        machine.refuse = UnsupportedError("Files on btrfs cannot be read without mounting it.")
        await person.press("enter")
        assert "Files on btrfs cannot be read" in person.screen()
        await person.press("enter", "slash", "c", "space", "backspace", "m")
        assert "These files cannot be shown." in person.screen() or "Nothing is marked" in person.screen()
        await person.press("escape", "escape")
        assert machine.browsed == []


async def test_everything_is_given_back_when_a_job_has_begun(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await files_running(person, machine)
        assert machine.browsed == []
        assert machine.mounted == [("/dev/sdf1", True)]


async def test_names_of_strangers_are_shown_and_not_obeyed(machine: RecordedMachine, clock: Clock) -> None:
    evil = "a\x1b[2Jb\x07[bold]c\u202egnp.exe\udcff\n"
    machine.tree = RecordedTree([file(evil, 1), folder("x" * 5000), file("漢" * 300, 1), file("e" + "\u0301" * 400, 1)])
    async with at(machine, clock, (80, 24)) as person:
        await files_open(person, machine)
        for _ in range(4):
            await person.press("space")
            text = person.screen()
            assert "\x1b" not in text
            assert "\u202e" not in text
            assert len(text.splitlines()) <= 24
        await person.press("space", "home", "down", "enter")
        assert person.name == "Notice"
        assert "\x1b" not in person.screen()
        await person.press("escape", "m", "c", "enter", "down", "enter")
        assert person.name == "ReviewScreen"
        assert "a\\x1b[2Jb\\x07[bold]c" in "".join(person.screen().split())
        await person.press("tab", "enter")
        step = machine.started[0].plan.steps[0]
        assert isinstance(step, ExtractFiles)
        assert "a\x1b[2Jb\x07[bold]c\u202egnp.exe".encode() + b"\xff\n" in step.paths


async def test_a_hundred_thousand_files_are_only_drawn_where_they_are_seen(machine: RecordedMachine, clock: Clock) -> None:
    entries = [Entry(f"f{number:06d}", f"f{number:06d}", Kind.FILE, inode=number + 2) for number in range(100_000)]
    machine.tree = RecordedTree(entries)
    drawn: list[int] = []

    async with at(machine, clock) as person:
        await files_open(person, machine)
        listing = person.app.screen.query_one(FileList)
        original = listing.render_line

        def render_line(y: int) -> Strip:
            drawn.append(y)
            return original(y)

        listing.render_line = render_line  # type: ignore[method-assign]
        await person.press("end")
        assert highlighted(person) == "f099999"
        assert "f099999" in person.screen()
        assert max(drawn) < 24
        assert len(drawn) < 1000


async def test_the_interface_lives_while_a_folder_is_read(machine: RecordedMachine, clock: Clock) -> None:
    release, asked = threading.Event(), threading.Event()

    class SlowTree(RecordedTree):
        def children(self, entry: Entry) -> Iterator[Entry]:
            asked.set()
            release.wait(20)
            return super().children(entry)

    machine.tree = SlowTree([file("one", 1)])
    app = RescueApp(machine, clock=clock, poll_every=None)
    async with app.run_test(size=(80, 24)):
        person = Person(app, machine, clock)
        for _ in range(10_000):
            if app.surveys is not None:
                break
            await person.settle()
        await person.press("f", "down", "enter", "enter")
        for _ in range(10_000):
            if asked.is_set():
                break
            await person.settle()
        assert "Reading the top folder" in person.screen()
        await person.press("escape", "escape")
        assert not isinstance(app.screen, FilesScreen)
        release.set()
        for _ in range(10_000):
            if not machine.browsed:
                break
            await person.settle()
        assert machine.browsed == []


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 8, "short   "),
        ("a long name with.docx", 15, "a long na….docx"),
        ("漢字漢字漢字漢字", 9, "漢字漢…字"),
        ("abc", 1, "…"),
    ],
)
def test_names_are_cut_to_cells(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected


def test_paths_keep_their_end() -> None:
    assert shortened("Users/anna/Documents/Letter.docx", 14, is_path=True) == "…s/Letter.docx"


def test_signs_of_kinds() -> None:
    assert name_of(Entry("a", "b/a", Kind.FOLDER), full=True) == "b/a/"
    assert name_of(Entry("a\n", "b/a\n", Kind.LINK), full=False) == "a\\x0a →"


def test_days_that_no_calendar_has() -> None:
    assert day(-(1 << 80)) == "----------"
    assert day(0) == "1970-01-01"
