"""How to get to each screen: one function per screen, used by the snapshots and by the screenshots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rescue.errors import RefusedError
from rescue.model.progress import Finished
from tests.unit.tui.person import Person
from tests.unit.tui.recorded import RecordedMachine

Way = Callable[[Person, RecordedMachine], Awaitable[None]]


async def home(person: Person, machine: RecordedMachine) -> None:
    """The first screen."""


async def home_end(person: Person, machine: RecordedMachine) -> None:
    """Its other disks."""
    await person.press("pagedown")


async def home_with_job(person: Person, machine: RecordedMachine) -> None:
    """While a restore runs."""
    await restore_running(person, machine)
    await person.press("escape")


async def help_of_home(person: Person, machine: RecordedMachine) -> None:
    """Help."""
    await person.press("f1")


async def power(person: Person, machine: RecordedMachine) -> None:
    """The question."""
    await person.press("p")


async def restore_where(person: Person, machine: RecordedMachine) -> None:
    """First step of a restore."""
    await person.press("1")


async def restore_path(person: Person, machine: RecordedMachine) -> None:
    """A path by hand."""
    await person.press("1", "end", "enter")


async def restore_refused_place(person: Person, machine: RecordedMachine) -> None:
    """A place that cannot be mounted."""
    machine.refuse = RefusedError("/dev/sdf1 cannot be mounted: its file system is damaged.", "Check it on another computer.")
    await person.press("1", "enter")


async def restore_which(person: Person, machine: RecordedMachine) -> None:
    """Second step."""
    await person.press("1", "enter")


async def restore_onto(person: Person, machine: RecordedMachine) -> None:
    """Third step."""
    await person.press("1", "enter", "enter")


async def restore_review(person: Person, machine: RecordedMachine) -> None:
    """Onto the Windows disk."""
    await person.press("1", "enter", "enter", "down", "enter")


async def restore_wrong(person: Person, machine: RecordedMachine) -> None:
    """The wrong characters typed."""
    await restore_review(person, machine)
    await person.press("tab")
    await person.type("1234")


async def restore_right(person: Person, machine: RecordedMachine) -> None:
    """The right characters typed."""
    await restore_review(person, machine)
    await person.press("tab")
    await person.type("7r0p")


async def restore_refused(person: Person, machine: RecordedMachine) -> None:
    """The plan is refused."""
    await restore_onto(person, machine)
    machine.refuse = RefusedError("/dev/nvme0n1 (Samsung SSD 980 PRO 500GB) is protected: mounted at /mnt.", "Unmount it.")
    await person.press("down", "enter")


async def restore_running(person: Person, machine: RecordedMachine) -> None:
    """In the middle of the data."""
    await restore_right(person, machine)
    await person.press("enter")
    await person.wait(200)


async def restore_stalled(person: Person, machine: RecordedMachine) -> None:
    """No events any more."""
    machine.stop_events_at = 200.0
    await restore_running(person, machine)
    await person.wait(12)


async def restore_cancel(person: Person, machine: RecordedMachine) -> None:
    """The question."""
    await restore_running(person, machine)
    await person.press("c")


async def restore_cancelled(person: Person, machine: RecordedMachine) -> None:
    """The verdict."""
    await restore_cancel(person, machine)
    await person.press("down", "enter")
    await person.wait(1)


async def restore_done(person: Person, machine: RecordedMachine) -> None:
    """The end."""
    await restore_right(person, machine)
    await person.press("enter")
    await person.wait(2000, step=50)


async def restore_failed(person: Person, machine: RecordedMachine) -> None:
    """The target was pulled out."""
    await restore_running(person, machine)
    machine.started[-1].script = [
        (
            0.0,
            Finished(
                "failed",
                1,
                "/dev/nvme0n1 does not take data any more (failing or unplugged), at byte 84825604096.",
                "Check the cable and the disk. It is only partly written: its old content is lost.",
            ),
        )
    ]
    machine.started[-1]._next = 0
    await person.wait(1)


async def restore_died(person: Person, machine: RecordedMachine) -> None:
    """The process was killed."""
    machine.die_at = 220.0
    await restore_running(person, machine)
    await person.wait(30)


async def save_log(person: Person, machine: RecordedMachine) -> None:
    """Where to."""
    await restore_done(person, machine)
    await person.press("s")


async def backup_which(person: Person, machine: RecordedMachine) -> None:
    """First step of a backup."""
    await person.press("b")


async def backup_where(person: Person, machine: RecordedMachine) -> None:
    """Second step, of the Debian disk."""
    await person.press("b", "down", "enter")


async def backup_how(person: Person, machine: RecordedMachine) -> None:
    """Third step."""
    await person.press("b", "enter", "enter")


async def backup_review(person: Person, machine: RecordedMachine) -> None:
    """Fourth step."""
    await person.press("b", "enter", "enter", "enter")


async def backup_running(person: Person, machine: RecordedMachine) -> None:
    """While it is checked."""
    await backup_review(person, machine)
    await person.press("tab", "enter")
    await person.wait(700, step=4)


async def verify_review(person: Person, machine: RecordedMachine) -> None:
    """Review of a check."""
    await person.press("c", "enter", "down", "enter")


async def verify_done(person: Person, machine: RecordedMachine) -> None:
    """The end of a check."""
    await verify_review(person, machine)
    await person.press("tab", "enter")
    await person.wait(1000, step=20)


async def log(person: Person, machine: RecordedMachine) -> None:
    """Two jobs, one of them running."""
    await verify_done(person, machine)
    await person.press("escape")
    await restore_running(person, machine)
    await person.press("escape", "l")


WAYS: tuple[Way, ...] = (
    home,
    home_end,
    home_with_job,
    help_of_home,
    power,
    restore_where,
    restore_path,
    restore_refused_place,
    restore_which,
    restore_onto,
    restore_review,
    restore_wrong,
    restore_right,
    restore_refused,
    restore_running,
    restore_stalled,
    restore_cancel,
    restore_cancelled,
    restore_done,
    restore_failed,
    restore_died,
    save_log,
    backup_which,
    backup_where,
    backup_how,
    backup_review,
    backup_running,
    verify_review,
    verify_done,
    log,
)
