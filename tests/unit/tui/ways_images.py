"""How to get to each screen of Images, of encrypted disks and of damaged ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rescue.errors import RefusedError
from rescue.model.progress import Finished
from rescue.tui.widgets.timeline import RowList
from rescue.units import GIB
from tests.unit.tui.person import Person
from tests.unit.tui.recorded import RecordedMachine
from tests.unit.tui.recorded_images import DISK_PASSPHRASE, image_of_locked, lost_partitions, with_older
from tests.unit.tui.ways import backup_how, backup_running, restore_which
from tests.unit.tui.ways_disks import choose, fit_larger

Way = Callable[[Person, RecordedMachine], Awaitable[None]]


async def to_row(person: Person, name: str) -> None:
    """Arrow keys to the image of this name."""
    rows = person.app.screen.query_one(RowList)
    await person.press("home")
    for _ in range(len(rows.keys) + 1):
        if rows.highlighted_key.endswith(name):
            return
        await person.press("down")
    raise AssertionError(f"{name} cannot be reached:\n{person.screen()}")


async def images_where(person: Person, machine: RecordedMachine) -> None:
    """First the place."""
    await person.press("i")


async def images(person: Person, machine: RecordedMachine) -> None:
    """What is in it."""
    await person.press("i", "enter")


async def image_actions(person: Person, machine: RecordedMachine) -> None:
    """What can be done with one of them."""
    await images(person, machine)
    await person.press("enter")


async def prune(person: Person, machine: RecordedMachine) -> None:
    """Which are kept."""
    machine.image_list = with_older("backups")
    await images(person, machine)
    await person.press("o")


async def prune_few(person: Person, machine: RecordedMachine) -> None:
    """Only the newest."""
    await prune(person, machine)
    for number in ("1", "0", "0", "0"):
        await person.press("home", "delete", number, "tab")


async def prune_nothing(person: Person, machine: RecordedMachine) -> None:
    """No number at all."""
    await prune(person, machine)
    for _ in range(4):
        await person.press("home", "delete", "tab")


async def prune_review(person: Person, machine: RecordedMachine) -> None:
    """Before it is done: how many go is typed."""
    await prune_few(person, machine)
    person.app.screen.query_one("#next").focus()
    await person.press("enter", "tab")
    await person.type("7")


async def check_all(person: Person, machine: RecordedMachine) -> None:
    """The review of a check of all of them."""
    await images(person, machine)
    await person.press("c")


async def check_all_damaged(person: Person, machine: RecordedMachine) -> None:
    """One of them is damaged."""
    await check_all(person, machine)
    await person.press("tab", "enter")
    machine.started[-1].script = [
        (
            0.0,
            Finished(
                "failed",
                4,
                "1 of 3 images in backups are damaged: laptop-2026-11-21.rimg (laptop-2026-11-22.rimg needs it).",
                "Make a full backup anew where it can still be made. What is whole can be restored.",
                {
                    "images": [
                        "laptop-2026-11-22.rimg: whole, but needs laptop-2026-11-21.rimg",
                        "laptop-2026-11-21.rimg: damaged",
                        "laptop-2026-11-20.img.zst: whole",
                    ],
                    "verified_bytes": 104 * GIB,
                },
            ),
        )
    ]
    machine.started[-1]._next = 0
    await person.wait(1)


async def export_as(person: Person, machine: RecordedMachine) -> None:
    """The formats."""
    await image_actions(person, machine)
    await choose(person, "export")


async def export_where(person: Person, machine: RecordedMachine) -> None:
    """Where to."""
    await export_as(person, machine)
    await person.press("enter")


async def export_name(person: Person, machine: RecordedMachine) -> None:
    """Under which name."""
    await export_where(person, machine)
    await person.press("enter")


async def export_review(person: Person, machine: RecordedMachine) -> None:
    """The review."""
    await export_name(person, machine)
    await person.press("enter")


async def consolidate_where(person: Person, machine: RecordedMachine) -> None:
    """Where a full image goes."""
    await image_actions(person, machine)
    await choose(person, "consolidate")


async def consolidate_review(person: Person, machine: RecordedMachine) -> None:
    """The review."""
    await consolidate_where(person, machine)
    await person.press("enter")


async def mount_where(person: Person, machine: RecordedMachine) -> None:
    """In which folder."""
    await image_actions(person, machine)
    await choose(person, "mount")


async def mount_done(person: Person, machine: RecordedMachine) -> None:
    """It is mounted."""
    await mount_where(person, machine)
    await person.press("enter")


async def home_mounted(person: Person, machine: RecordedMachine) -> None:
    """Home says so."""
    await mount_done(person, machine)
    await person.press("escape", "escape", "escape")


async def mounts(person: Person, machine: RecordedMachine) -> None:
    """What is mounted."""
    await home_mounted(person, machine)
    await person.press("m")


async def keys(person: Person, machine: RecordedMachine) -> None:
    """What opens an encrypted image."""
    await images(person, machine)
    await to_row(person, "private-2026-11-19.rimg")
    await person.press("enter")
    await person.type("correct horse battery staple")
    await person.press("enter")
    await choose(person, "keys")


async def keys_drop(person: Person, machine: RecordedMachine) -> None:
    """Taking one away."""
    await keys(person, machine)
    await choose(person, "drop:3")


# Encrypted disks


async def unlock_which(person: Person, machine: RecordedMachine) -> None:
    """A backup of a disk that is locked."""
    await person.press("b")
    await choose(person, "/dev/sdd")


async def unlock_wrong(person: Person, machine: RecordedMachine) -> None:
    """A wrong passphrase."""
    await unlock_which(person, machine)
    await person.press("enter")
    await person.type("hunter2")
    await person.press("enter")


async def unlocked_go_on(person: Person, machine: RecordedMachine) -> None:
    """It was opened: nothing else is locked."""
    await unlock_wrong(person, machine)
    await person.type(DISK_PASSPHRASE.decode())
    await person.press("enter", "escape")


async def image_of_encrypted_check(person: Person, machine: RecordedMachine) -> None:
    """The check of an image of an encrypted disk."""
    machine.image_list = [image_of_locked("backups")]
    await image_actions(person, machine)
    await person.press("enter")


async def files_of_encrypted(person: Person, machine: RecordedMachine) -> None:
    """The files in it: locked at first."""
    machine.image_list = [image_of_locked("backups")]
    await image_actions(person, machine)
    await choose(person, "files")


async def files_unlocked(person: Person, machine: RecordedMachine) -> None:
    """What was in it."""
    await files_of_encrypted(person, machine)
    await choose(person, "2")
    await person.type(DISK_PASSPHRASE.decode())
    await person.press("enter")


# What is damaged


async def restore_salvage(person: Person, machine: RecordedMachine) -> None:
    """An image that was cut off: what is whole of it?"""
    await restore_which(person, machine)
    await to_row(person, "laptop-2026-10-14.img.zst")
    await person.press("enter")


async def backup_salvage(person: Person, machine: RecordedMachine) -> None:
    """A failing disk, chosen among the options."""
    await backup_how(person, machine)
    person.app.screen.query_one("#salvage").focus()
    await person.press("right")


async def backup_salvage_review(person: Person, machine: RecordedMachine) -> None:
    """Its review."""
    await backup_salvage(person, machine)
    person.app.screen.query_one("#next").focus()
    await person.press("enter")


async def backup_source_failed(person: Person, machine: RecordedMachine) -> None:
    """The disk that is read failed: a salvage is offered."""
    await backup_running(person, machine)
    machine.started[-1].script = [
        (
            0.0,
            Finished(
                "failed",
                1,
                "Partition 3 of /dev/nvme0n1 cannot be read at byte 84825604096: Input/output error.",
                "To get all that can still be read, run the same command again with --salvage.",
                {"source_failed": True},
            ),
        )
    ]
    machine.started[-1]._next = 0
    await person.wait(1)


async def backup_salvage_offered(person: Person, machine: RecordedMachine) -> None:
    """What a salvage means."""
    await backup_source_failed(person, machine)
    await person.press("right", "enter")


async def backup_salvaged(person: Person, machine: RecordedMachine) -> None:
    """The end of a salvage: what is missing, and the files that are damaged."""
    await backup_salvage_review(person, machine)
    await person.press("tab", "enter")
    await person.wait(10)
    machine.started[-1].script = [
        (
            0.0,
            Finished(
                "failed",
                4,
                "/dev/nvme0n1 is backed up. But it is incomplete: 192.0 KiB are missing.\nPartition 3: 192.0 KiB, in 2 files.",
                "Run the same command again to try again for what is missing.",
                {
                    "used_bytes": 187 * GIB,
                    "won_bytes": 3 * 1024 * 1024,
                    "missing_bytes": 192 * 1024,
                    "bad_bytes": 192 * 1024,
                    "damage": ["Partition 3: 192.0 KiB, in 2 files."],
                    "damaged_files": ["3:/Users/anna/Pictures/2024/IMG_2231.JPG", "3:/pagefile.sys"],
                },
            ),
        )
    ]
    machine.started[-1]._next = 0
    await person.wait(1)


# Lost partitions, and what is moved on the way


async def partitions_lost(person: Person, machine: RecordedMachine) -> None:
    """What a search of the blank disk finds."""
    machine.lost = lost_partitions()
    await person.press("t")
    await choose(person, "/dev/sdc")
    await person.press("z")
    await choose(person, "lost")


async def partitions_found(person: Person, machine: RecordedMachine) -> None:
    """It is in the queue."""
    await partitions_lost(person, machine)
    person.app.screen.query_one("#add").focus()
    await person.press("enter")


async def partitions_none_lost(person: Person, machine: RecordedMachine) -> None:
    """Nothing is found."""
    await person.press("t")
    await choose(person, "/dev/sdc")
    await person.press("z")
    await choose(person, "lost")


async def fit_overlay(person: Person, machine: RecordedMachine) -> None:
    """Where is what is moved kept?"""
    await fit_larger(person, machine)
    await person.press("o")


async def fit_overlay_where(person: Person, machine: RecordedMachine) -> None:
    """On a disk."""
    await fit_overlay(person, machine)
    await person.press("down", "enter")


async def mount_refused(person: Person, machine: RecordedMachine) -> None:
    """The folder is not empty."""
    await mount_where(person, machine)
    machine.refuse = RefusedError("/mnt is not empty.", "Name an empty or a new folder.")
    await person.press("enter")


IMAGES_WAYS: tuple[Way, ...] = (
    images_where,
    images,
    image_actions,
    prune,
    prune_few,
    prune_nothing,
    prune_review,
    check_all,
    check_all_damaged,
    export_as,
    export_where,
    export_name,
    export_review,
    consolidate_where,
    consolidate_review,
    mount_where,
    mount_done,
    mount_refused,
    home_mounted,
    mounts,
    keys,
    keys_drop,
    unlock_which,
    unlock_wrong,
    unlocked_go_on,
    image_of_encrypted_check,
    files_of_encrypted,
    files_unlocked,
    restore_salvage,
    backup_salvage,
    backup_salvage_review,
    backup_source_failed,
    backup_salvage_offered,
    backup_salvaged,
    partitions_lost,
    partitions_found,
    partitions_none_lost,
    fit_overlay,
    fit_overlay_where,
)
