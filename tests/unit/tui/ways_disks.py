"""How to get to each screen of Clone, Fit, Partitions and Wipe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rescue.errors import ProgramError, RefusedError
from rescue.model.progress import Finished
from rescue.tui.widgets.choices import Choices
from tests.unit.tui.person import Person
from tests.unit.tui.recorded import RecordedMachine

Way = Callable[[Person, RecordedMachine], Awaitable[None]]


async def choose(person: Person, key: str) -> None:
    """Arrow keys to an entry, then Enter."""
    choices = person.app.screen.query_one(Choices)
    for _ in range(len(choices.options)):
        if choices.highlighted_key == key:
            await person.press("enter")
            return
        await person.press("down")
    raise AssertionError(f"{key} cannot be reached:\n{person.screen()}")


async def highlight(person: Person, key: str) -> None:
    """The list has the focus, and the mark is at an entry."""
    choices = person.app.screen.query_one(Choices)
    choices.focus()
    await person.settle()
    for _ in range(len(choices.options)):
        if choices.highlighted_key == key:
            return
        await person.press("down")
    raise AssertionError(f"{key} cannot be reached:\n{person.screen()}")


async def clone_which(person: Person, machine: RecordedMachine) -> None:
    """First step of a clone."""
    await person.press("3")


async def clone_onto(person: Person, machine: RecordedMachine) -> None:
    """Second step, of the Windows disk."""
    await clone_which(person, machine)
    await choose(person, "/dev/nvme0n1")


async def fit_larger(person: Person, machine: RecordedMachine) -> None:
    """Third step: onto a disk twice as large."""
    await clone_onto(person, machine)
    await choose(person, "/dev/sdc")


async def fit_smaller(person: Person, machine: RecordedMachine) -> None:
    """Onto one that is too small for what the file systems can be made."""
    await clone_onto(person, machine)
    await choose(person, "/dev/sda")


async def fit_by_hand(person: Person, machine: RecordedMachine) -> None:
    """Recovery left out, Windows three steps smaller than it would be."""
    await fit_larger(person, machine)
    await highlight(person, "4")
    await person.press("x")
    await highlight(person, "3")
    await person.press("left", "left", "left")


async def fit_menu(person: Person, machine: RecordedMachine) -> None:
    """What can be done with a partition."""
    await fit_larger(person, machine)
    await highlight(person, "3")
    await person.press("enter")


async def fit_size(person: Person, machine: RecordedMachine) -> None:
    """A size to be typed."""
    await fit_larger(person, machine)
    await highlight(person, "3")
    await person.press("s")
    await person.type("600 GiB")


async def fit_mbr(person: Person, machine: RecordedMachine) -> None:
    """Logical partitions, onto a larger disk."""
    await clone_which(person, machine)
    await choose(person, "/dev/sda")
    await choose(person, "/dev/sdc")


async def fit_unmeasured(person: Person, machine: RecordedMachine) -> None:
    """The file systems do not say how small they can be."""
    machine.refuse_minimums = ProgramError("resize2fs ended with 1: its journal is damaged.", "Check the file system.")
    await fit_smaller(person, machine)


async def clone_review(person: Person, machine: RecordedMachine) -> None:
    """The review."""
    await fit_larger(person, machine)
    await person.press("enter")


async def clone_refused(person: Person, machine: RecordedMachine) -> None:
    """The plan is refused."""
    await fit_larger(person, machine)
    machine.refuse = RefusedError("/dev/sdc (WDC WD10EZEX-08W) is protected: mounted at /mnt.", "Unmount it.")
    await person.press("enter")


async def clone_running(person: Person, machine: RecordedMachine) -> None:
    """In the middle of the data."""
    await clone_review(person, machine)
    await person.press("tab")
    await person.type("7x1l")
    await person.press("enter")
    await person.wait(200)


async def clone_cancel(person: Person, machine: RecordedMachine) -> None:
    """The question."""
    await clone_running(person, machine)
    await person.press("c")


async def clone_failed(person: Person, machine: RecordedMachine) -> None:
    """The source cannot be read everywhere."""
    await clone_running(person, machine)
    machine.started[-1].script = [
        (
            0.0,
            Finished(
                "failed",
                1,
                "/dev/nvme0n1 cannot be read at byte 84825604096 (partition 3).",
                "rescue backup --salvage gets what can still be read.",
            ),
        )
    ]
    machine.started[-1]._next = 0
    await person.wait(1)


async def clone_done(person: Person, machine: RecordedMachine) -> None:
    """The end."""
    await clone_running(person, machine)
    await person.wait(3000, step=50)


async def wipe_which(person: Person, machine: RecordedMachine) -> None:
    """First step."""
    await person.press("w")


async def wipe_how(person: Person, machine: RecordedMachine) -> None:
    """Second step, of a disk that can erase itself."""
    await wipe_which(person, machine)
    await choose(person, "/dev/nvme0n1")


async def wipe_how_frozen(person: Person, machine: RecordedMachine) -> None:
    """Of one that cannot."""
    await wipe_which(person, machine)
    await choose(person, "/dev/sda")


async def wipe_review(person: Person, machine: RecordedMachine) -> None:
    """The review of zeros."""
    await wipe_how(person, machine)
    await choose(person, "zeros")


async def wipe_done(person: Person, machine: RecordedMachine) -> None:
    """The end."""
    await wipe_review(person, machine)
    await person.press("tab")
    await person.type("7r0p")
    await person.press("enter")
    await person.wait(4000, step=100)


async def partitions_which(person: Person, machine: RecordedMachine) -> None:
    """First step."""
    await person.press("t")


async def partitions(person: Person, machine: RecordedMachine) -> None:
    """The Windows disk."""
    await partitions_which(person, machine)
    await choose(person, "/dev/nvme0n1")


async def partitions_mbr(person: Person, machine: RecordedMachine) -> None:
    """Logical partitions."""
    await partitions_which(person, machine)
    await choose(person, "/dev/sda")


async def partitions_blank(person: Person, machine: RecordedMachine) -> None:
    """No table."""
    await partitions_which(person, machine)
    await choose(person, "/dev/sdc")


async def partitions_menu(person: Person, machine: RecordedMachine) -> None:
    """What can be done with a partition."""
    await partitions(person, machine)
    await highlight(person, "p3")
    await person.press("enter")


async def partitions_resize(person: Person, machine: RecordedMachine) -> None:
    """Too small a size was typed."""
    await partitions(person, machine)
    await highlight(person, "p3")
    await person.press("s")
    await person.type("100 GiB")
    await person.press("enter")


async def partitions_pending(person: Person, machine: RecordedMachine) -> None:
    """Windows is made smaller, something new behind it, recovery is deleted."""
    await partitions(person, machine)
    await highlight(person, "p3")
    await person.press("s")
    await person.type("300GiB")
    await person.press("enter")
    await highlight(person, _free(person))
    await person.press("n", "down", "down")
    await person.type("Linux")
    await person.press("enter")
    await highlight(person, "p4")
    await person.press("d")


def _free(person: Person) -> str:
    """Key of the first free stretch in the list."""
    return next(option.id for option in person.app.screen.query_one(Choices).options if option.id and option.id[0] == "f")


async def partitions_new(person: Person, machine: RecordedMachine) -> None:
    """Fields of a new partition."""
    await partitions_mbr(person, machine)
    await highlight(person, "f214748364800")
    await person.press("n")


async def partitions_flags(person: Person, machine: RecordedMachine) -> None:
    """Flags of a partition."""
    await partitions(person, machine)
    await highlight(person, "p4")
    await person.press("g")


async def partitions_leave(person: Person, machine: RecordedMachine) -> None:
    """With changes pending."""
    await partitions_pending(person, machine)
    await person.press("escape")


async def partitions_review(person: Person, machine: RecordedMachine) -> None:
    """The review."""
    await partitions_pending(person, machine)
    await person.press("a")


async def partitions_done(person: Person, machine: RecordedMachine) -> None:
    """The end."""
    await partitions_review(person, machine)
    await person.press("tab")
    await person.type("7r0p")
    await person.press("enter")
    await person.wait(600, step=10)


DISK_WAYS: tuple[Way, ...] = (
    clone_which,
    clone_onto,
    fit_larger,
    fit_smaller,
    fit_by_hand,
    fit_menu,
    fit_size,
    fit_mbr,
    fit_unmeasured,
    clone_review,
    clone_refused,
    clone_running,
    clone_cancel,
    clone_failed,
    clone_done,
    wipe_which,
    wipe_how,
    wipe_how_frozen,
    wipe_review,
    wipe_done,
    partitions_which,
    partitions,
    partitions_mbr,
    partitions_blank,
    partitions_menu,
    partitions_resize,
    partitions_pending,
    partitions_new,
    partitions_flags,
    partitions_leave,
    partitions_review,
    partitions_done,
)
