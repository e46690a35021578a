"""Which image: what the timeline shows, what can be chosen, and what an encrypted one asks for."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input

from rescue.images.secrets import Secrets
from rescue.records import replace
from rescue.tui.timeline import Timeline, chain_words, dependences, health_of
from rescue.tui.widgets.timeline import RowList
from tests.unit.tui.person import Person, at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import NVME, PASSPHRASE, RECOVERY, all_images
from tests.unit.tui.ways import restore_locked, restore_which, verify_how


def names(person: Person) -> list[str]:
    """What can be reached in the list."""
    return [key.rsplit("/", 1)[-1] for key in person.app.screen.query_one(RowList).keys]


async def to_row(person: Person, name: str) -> None:
    """Arrow keys to the row of this name."""
    for _ in range(20):
        if person.app.screen.query_one(RowList).highlighted_key.endswith(name):
            return
        await person.press("down")
    raise AssertionError(f"{name} cannot be reached")


def test_disks_and_their_images_newest_first_and_the_unusable_apart() -> None:
    found = Timeline.of(reversed(all_images("x")))
    assert found.groups[0].title.split(",")[0] == "laptop – Samsung SSD 980 PRO 500GB"
    assert [image.name for image in found.groups[0].images] == [
        "laptop-2026-11-22.rimg",
        "laptop-2026-11-21.rimg",
        "laptop-2026-11-20.img.zst",
        "laptop-2026-10-02.rimg",
        "laptop-2026-09-01.img.zst",
    ]
    assert {image.name for image in found.others} == {"laptop-2026-10-14.img.zst", "2024-02-11-img"}


def test_what_depends_on_what() -> None:
    images = {image.name: image for image in all_images("x")}
    depends = dependences(list(images.values()))
    full = images["laptop-2026-11-20.img.zst"]
    assert chain_words(full, depends[full.path]) == "It needs no other image. 2 newer images need it."
    newest = images["laptop-2026-11-22.rimg"]
    assert chain_words(newest, depends[newest.path]) == "It needs laptop-2026-11-21.rimg, laptop-2026-11-20.img.zst."
    lost = images["laptop-2026-10-02.rimg"]
    assert "laptop-2026-10-01.img.zst, not found here" in chain_words(lost, depends[lost.path])


def test_health_in_words_and_marks() -> None:
    image = all_images("x")[0]
    shown = [
        health_of(replace(image, **change))
        for change in (
            {"health": "proved 2026-11-22"},
            {"health": "verified 2026-11-22"},
            {"health": "never checked"},
            {"health": "FAILED"},
            {"problem": "It needs a, not found here."},
            {"locked": True},
            {"disk": None, "problem": "Its end is missing."},
            {"bad_bytes": 4096},
        )
    ]
    assert [(health.mark, health.short) for health in shown[:7]] == [
        ("✓", "proved 2026-11-22"),
        ("✓", "verified 2026-11-22"),
        ("–", "never checked"),
        ("✗", "FAILED"),
        ("✗", "chain incomplete"),
        ("▪", "locked"),
        ("✗", "cannot be used"),
    ]
    assert shown[7].mark == "⚠"


async def test_what_cannot_be_used_says_why_and_goes_no_further(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_which(person, machine)
        for name, reason, asks in (
            ("laptop-2026-10-02.rimg", "not found here: 170.0", "Question"),  # what is whole of it?
            ("11-img", "A Clonezilla folder", "Notice"),
        ):
            await to_row(person, name)
            assert reason in person.screen()
            await person.press("enter")
            assert person.name == asks
            await person.press("escape")


async def test_the_chain_of_the_highlighted_image_is_drawn(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_which(person, machine)
        lines = person.screen().splitlines()
        assert [line[:2] for line in lines[3:6]] == ["▸┌", " ├", " └"]
        await person.press("down")
        lines = person.screen().splitlines()
        assert [line[:2] for line in lines[3:6]] == ["  ", "▸┌", " └"]


async def test_an_image_that_failed_asks_before_it_is_restored(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_which(person, machine)
        await to_row(person, "laptop-2026-09-01.img.zst")
        await person.press("enter")
        assert "failed its last check" in person.screen()
        await person.press("enter")
        assert person.name == "ImageScreen"
        await person.press("enter", "down", "enter")
        assert person.name == "TargetScreen"


async def test_a_folder_is_opened(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_which(person, machine)
        await person.press("end", "enter")
        assert ", in old:" in person.screen()
        await person.press("escape")
        assert names(person)[-1] == "folder:old"


async def test_a_locked_image_is_opened_by_its_passphrase_and_everything_goes_on_with_it(
    machine: RecordedMachine, clock: Clock
) -> None:
    async with at(machine, clock) as person:
        await restore_locked(person, machine)
        await person.type("hunter2")
        await person.press("enter")
        assert "does not open" in person.screen()
        assert person.app.screen.query_one("#secret", Input).value == ""
        await person.type(PASSPHRASE)
        assert PASSPHRASE not in person.screen()
        await person.press("enter")
        assert person.name == "TargetScreen"
        assert machine.given == [Secrets(passphrase="hunter2"), Secrets(passphrase=PASSPHRASE)]
        await person.press("escape")
        assert "locked" not in person.screen()
        assert "private" in person.screen()


async def test_a_recovery_key_opens_it_too_and_a_mistyped_one_is_named_as_such(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_locked(person, machine)
        await person.press("up", "left", "down")
        await person.type("50MJ")
        await person.press("enter")
        assert "mistyped" in person.screen()
        await person.type(RECOVERY.lower().replace("-", " "))
        await person.press("enter")
        assert person.name == "TargetScreen"


async def test_a_key_file_that_is_not_there_is_said(machine: RecordedMachine, clock: Clock, tmp_path: Path) -> None:
    async with at(machine, clock) as person:
        await restore_locked(person, machine)
        await person.press("up", "right", "down")
        await person.type("/nowhere/key")
        await person.press("enter")
        assert "No such file" in person.screen()
        person.app.screen.query_one("#secret", Input).value = ""
        (tmp_path / "key").write_bytes(bytes(64))
        await person.type("key")
        await person.press("enter")
        assert machine.given[-1].key_file is not None


async def test_esc_leaves_the_question_and_the_image_stays_locked(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_locked(person, machine)
        await person.type("hunter2")
        await person.press("escape")
        assert person.name == "ImageScreen"
        assert machine.given == []


async def test_two_hundred_images(machine: RecordedMachine, clock: Clock) -> None:
    image = all_images("backups")[2]
    machine.image_list = [
        replace(
            image,
            path=f"backups/i{n:03}",
            name=f"i{n:03}",
            uuid=f"u{n}",
            created=f"2026-{1 + n // 28:02}-{1 + n % 28:02}T10:00:00Z",
        )
        for n in range(200)
    ]
    async with at(machine, clock) as person:
        await restore_which(person, machine)
        assert names(person)[:2] == ["i199", "i198"]
        await person.press("pagedown", "pagedown", "end", "up")
        assert person.app.screen.query_one(RowList).highlighted_key == "backups/i000"
        assert "i000" in person.screen()
        await person.press("home")
        assert NVME.model in person.screen()


async def test_a_check_is_of_hashes_only_when_asked(machine: RecordedMachine, clock: Clock) -> None:
    for keys, steps in ((["enter"], 2), (["down", "enter"], 1)):
        async with at(RecordedMachine(clock, folder=machine.folder), clock) as person:
            await verify_how(person, person.machine)
            await person.press(*keys, "tab", "enter")
            assert len(person.machine.started[0].plan.steps) == steps
