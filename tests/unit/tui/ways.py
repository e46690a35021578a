"""How to get to each screen: one function per screen, used by the snapshots and by the screenshots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rescue.errors import RefusedError
from rescue.model.progress import Finished, Message
from rescue.model.survey import BegunImage
from rescue.tui.widgets.toggle import Toggle
from rescue.units import GIB
from tests.unit.tui.person import Person
from tests.unit.tui.recorded import RecordedMachine
from tests.unit.tui.recorded_disks import PASSPHRASE, RECOVERY

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


async def restore_damaged(person: Person, machine: RecordedMachine) -> None:
    """What cannot be used says why, whole."""
    await restore_which(person, machine)
    await person.press(*["down"] * 7)


async def restore_locked(person: Person, machine: RecordedMachine) -> None:
    """An encrypted image asks."""
    await restore_which(person, machine)
    await person.press(*["down"] * 5, "enter")


async def restore_unlock_wrong(person: Person, machine: RecordedMachine) -> None:
    """A wrong passphrase."""
    await restore_locked(person, machine)
    await person.type("hunter2")
    await person.press("enter")


async def restore_unlock_with_recovery_key(person: Person, machine: RecordedMachine) -> None:
    """By the paper."""
    await restore_locked(person, machine)
    await person.press("up", "left", "down")
    await person.type("50MJ-MASC-5MQ2")


async def backup_kind(person: Person, machine: RecordedMachine) -> None:
    """A full one although there is a chain."""
    await backup_how(person, machine)
    person.app.screen.query_one("#kind").focus()
    await person.press("right")


async def backup_encrypted(person: Person, machine: RecordedMachine) -> None:
    """Encryption turned on."""
    await backup_how(person, machine)
    person.app.screen.query_one("#encrypt").focus()
    await person.press("right")


async def backup_passphrase(person: Person, machine: RecordedMachine) -> None:
    """A new passphrase, its repetition wrong."""
    await backup_encrypted(person, machine)
    person.app.screen.query_one("#next").focus()
    await person.press("enter")
    await person.type(PASSPHRASE)
    await person.press("enter")
    await person.type("something else")
    await person.press("enter")
    await person.type("correct")


async def backup_recovery_key(person: Person, machine: RecordedMachine) -> None:
    """The recovery key, to be written down."""
    await backup_encrypted(person, machine)
    # The place holds encrypted images, so that a key on paper is the default there.
    person.app.screen.query_one("#recovery", Toggle).index = 0
    person.app.screen.query_one("#next").focus()
    await person.press("enter")
    for _ in range(2):
        await person.type(PASSPHRASE)
        await person.press("enter")


async def backup_encrypted_review(person: Person, machine: RecordedMachine) -> None:
    """The review of an encrypted backup."""
    await backup_recovery_key(person, machine)
    await person.type(RECOVERY[-4:].lower())
    await person.press("enter")


async def backup_go_on(person: Person, machine: RecordedMachine) -> None:
    """The place holds an interrupted backup of this disk."""
    machine.begun = BegunImage("laptop-2026-11-22-2.rimg", "incremental", False, "11" * 32, 41 * GIB, 77 * GIB)
    await backup_review(person, machine)


async def backup_anew(person: Person, machine: RecordedMachine) -> None:
    """It is begun anew instead."""
    await backup_go_on(person, machine)
    await person.press("tab", "tab", "enter")


async def backup_done(person: Person, machine: RecordedMachine) -> None:
    """The end of a backup."""
    await backup_review(person, machine)
    await person.press("tab", "enter")
    await person.wait(3000, step=20)


async def home_interrupted(person: Person, machine: RecordedMachine) -> None:
    """A restore was stopped."""
    await restore_cancelled(person, machine)
    await person.press("escape")


async def resume_restore(person: Person, machine: RecordedMachine) -> None:
    """It is offered again."""
    await home_interrupted(person, machine)
    await person.press("g")


async def resume_review(person: Person, machine: RecordedMachine) -> None:
    """Its review."""
    await resume_restore(person, machine)
    await person.press("tab", "enter")


async def resume_done(person: Person, machine: RecordedMachine) -> None:
    """Most of it was there already."""
    await resume_review(person, machine)
    await person.press("tab")
    await person.type("7r0p")
    await person.press("enter")
    await person.wait(3000, step=50)


async def done_with_damaged_files(person: Person, machine: RecordedMachine) -> None:
    """A disk with bad places: the files that they cost, by name."""
    await backup_running(person, machine)
    files = ["Partition 3: /Users/anna/Pictures/2024/IMG_2231.JPG", "Partition 3: /pagefile.sys"]
    machine.started[-1].script = [
        (0.0, Message("warning", "192.0 KiB of /dev/nvme0n1 could not be read.")),
        (
            0.0,
            Finished(
                "succeeded",
                0,
                "/dev/nvme0n1 is backed up, but for what could not be read.",
                facts={"used_bytes": 187 * GIB, "bad_bytes": 192 * 1024, "damaged_files": files, "verified": True},
            ),
        ),
    ]
    machine.started[-1]._next = 0
    await person.wait(1)


async def verify_which(person: Person, machine: RecordedMachine) -> None:
    """First an image."""
    await person.press("i", "enter")


async def verify_how(person: Person, machine: RecordedMachine) -> None:
    """Then how thoroughly."""
    await verify_which(person, machine)
    await person.press("down", "enter", "enter")


async def verify_review(person: Person, machine: RecordedMachine) -> None:
    """Review of a check."""
    await verify_how(person, machine)
    await person.press("enter")


async def verify_done(person: Person, machine: RecordedMachine) -> None:
    """The end of a check."""
    await verify_review(person, machine)
    await person.press("tab", "enter")
    await person.wait(2000, step=40)


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
    backup_kind,
    backup_encrypted,
    backup_passphrase,
    backup_recovery_key,
    backup_encrypted_review,
    backup_go_on,
    backup_anew,
    backup_running,
    backup_done,
    done_with_damaged_files,
    restore_damaged,
    restore_locked,
    restore_unlock_wrong,
    restore_unlock_with_recovery_key,
    home_interrupted,
    resume_restore,
    resume_review,
    resume_done,
    verify_which,
    verify_how,
    verify_review,
    verify_done,
    log,
)
