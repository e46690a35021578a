"""How to get to each screen of Files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rescue.model.progress import Finished, Message
from rescue.records import replace
from rescue.tui.widgets.file_list import FileList
from tests.unit.tui.person import Person
from tests.unit.tui.recorded import RecordedMachine
from tests.unit.tui.recorded_disks import all_disks

Way = Callable[[Person, RecordedMachine], Awaitable[None]]


async def files_where(person: Person, machine: RecordedMachine) -> None:
    """First step."""
    await person.press("f")


async def files_partition(person: Person, machine: RecordedMachine) -> None:
    """Of the Windows disk."""
    await person.press("f", "down", "enter")


async def files_open(person: Person, machine: RecordedMachine) -> None:
    """What is to know about its biggest partition."""
    await files_partition(person, machine)
    await person.press("enter")


async def files_root(person: Person, machine: RecordedMachine) -> None:
    """Its top folder."""
    await files_open(person, machine)
    await person.press("escape")


async def files_documents(person: Person, machine: RecordedMachine) -> None:
    """A folder, two things in it marked."""
    await files_root(person, machine)
    await person.press("down", "enter", "enter", "enter", "down", "space", "space", "down", "down")


async def files_damaged(person: Person, machine: RecordedMachine) -> None:
    """A folder that cannot be read to its end."""
    await files_root(person, machine)
    await person.press("down", "enter", "enter", "down", "enter", "end")


async def files_search(person: Person, machine: RecordedMachine) -> None:
    """Two words."""
    await files_documents(person, machine)
    await person.press("slash")
    await person.type("letter doc")


async def files_marked(person: Person, machine: RecordedMachine) -> None:
    """What is marked."""
    await files_documents(person, machine)
    await person.press("m")


async def files_leave(person: Person, machine: RecordedMachine) -> None:
    """The question."""
    await files_documents(person, machine)
    await person.press("escape")


async def files_target(person: Person, machine: RecordedMachine) -> None:
    """Where to."""
    await files_documents(person, machine)
    await person.press("c")


async def files_folder(person: Person, machine: RecordedMachine) -> None:
    """Into which folder."""
    await files_target(person, machine)
    await person.press("enter")


async def files_there(person: Person, machine: RecordedMachine) -> None:
    """Something of it is there."""
    machine.present = {"Tax 2025": True, "Letter to the landlord.docx": False}
    await files_folder(person, machine)
    await person.press("down", "enter")


async def files_replace(person: Person, machine: RecordedMachine) -> None:
    """The review of that."""
    machine.filesystem = "vfat"
    await files_there(person, machine)
    await person.press("down", "enter")


async def files_review(person: Person, machine: RecordedMachine) -> None:
    """The review."""
    await files_folder(person, machine)
    await person.press("down", "enter")


async def files_running(person: Person, machine: RecordedMachine) -> None:
    """While it is copied."""
    machine.rate = 40.0 * (1 << 20)
    await files_review(person, machine)
    await person.press("tab", "enter")
    await person.wait(5)


async def files_done(person: Person, machine: RecordedMachine) -> None:
    """All was copied, but a stick forgets owners."""
    await files_running(person, machine)
    job = machine.started[-1]
    job.script[-1:-1] = [
        (
            job.script[-1][0],
            Message("warning", "Not kept: owners and groups (only root can give files to others), of 12 entries."),
        )
    ]
    await person.wait(60)


async def files_incomplete(person: Person, machine: RecordedMachine) -> None:
    """Some of it could not be read."""
    await files_running(person, machine)
    job = machine.started[-1]
    job.script = [
        (0.0, Message("warning", "Users/anna/Pictures/IMG_2017.jpg was not copied. Partition 3 does not match its hash.")),
        (
            0.0,
            Finished(
                "failed",
                1,
                "Not everything was copied: 1 thing could not be. 40 files, 2 folders, 511.6 MiB, copied into /mnt/usb/anna.",
                "The messages say which, and why.",
                {"failures": 1, "content_bytes": 511 << 20, "seconds": 14.0},
            ),
        ),
    ]
    job._next = 0
    await person.wait(1)


async def files_of_an_image(person: Person, machine: RecordedMachine) -> None:
    """An image that was chosen."""
    machine.image_list = [replace(image, volumes=all_disks()[0].volumes[1:2]) for image in machine.images(machine.folder)]
    await person.press("f", "enter", "enter", "enter", "escape")
    assert person.app.screen.query_one(FileList)


FILES_WAYS: tuple[Way, ...] = (
    files_where,
    files_partition,
    files_open,
    files_root,
    files_documents,
    files_damaged,
    files_search,
    files_marked,
    files_leave,
    files_target,
    files_folder,
    files_there,
    files_replace,
    files_review,
    files_running,
    files_done,
    files_incomplete,
    files_of_an_image,
)
