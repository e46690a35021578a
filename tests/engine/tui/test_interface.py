"""The interface on disks and images that are real: an encrypted disk backed up, its image looked into, mounted, re-keyed."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from rescue.jobs.holding import REGISTER, mounts_below
from rescue.services.scratch import ScratchMachine
from rescue.system.run import run
from rescue.tui.app import RescueApp
from tests.engine.volumes.stacks import PASSPHRASE
from tests.engine.volumes.test_stacked_disks import Locked
from tests.unit.tui.person import Person, at_once
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import RECOVERY
from tests.unit.tui.ways_disks import choose

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of disk files with one that is encrypted."""
    folder = tmp_path_factory.mktemp("scratch")
    locked = Locked(tmp_path_factory.mktemp("locked"))
    os.rename(locked.disk, folder / "laptop.img")
    return folder


@asynccontextmanager
async def interface(scratch: Path) -> AsyncIterator[Person]:
    """The interface of this computer, with its disk files."""
    machine, clock = ScratchMachine(scratch), Clock()
    app = RescueApp(machine, clock=clock, launch=at_once, poll_every=None, new_recovery_key=lambda: RECOVERY)
    async with app.run_test(size=(100, 40)):
        person = Person(app, cast(RecordedMachine, machine), clock)
        await person.settle()
        yield person


async def end_of_job(person: Person) -> dict[str, object]:
    """Wait for the newest job; its verdict."""
    follower = person.app.followers[0]
    follower.job.wait(300)
    person.app.poll_jobs()
    await person.settle()
    assert follower.finished is not None
    return {"state": follower.finished.state, "message": follower.finished.message, **follower.finished.facts}


async def test_an_encrypted_disk(scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCUE_JOBS", str(tmp_path / "jobs"))
    async with interface(scratch) as person:
        await person.press("b", "enter")
        assert person.name == "UnlockScreen"
        await person.press("enter")
        await person.type("wrong")
        await person.press("enter")
        assert "does not open" in person.screen()
        await person.type(PASSPHRASE.decode())
        await person.press("enter", "enter", "enter")
        assert person.name == "ReviewScreen", person.screen()
        await person.press("tab", "enter")
        told = await end_of_job(person)
        assert told["state"] == "succeeded", told
        (image,) = (scratch / "images").glob("*.img.zst")
        assert image.stat().st_size < 100 << 20  # of 160 MiB
        assert PASSPHRASE not in (person.app.followers[0].job.folder / "plan.json").read_bytes()

        # Its files.
        await person.press("escape", "i", "enter", "enter")
        await choose(person, "files")
        await choose(person, "1")
        await person.type(PASSPHRASE.decode())
        await person.press("enter")
        assert person.name == "FilesScreen", person.screen()
        assert "file-0" in person.screen()
        await person.press("escape", "escape")

        # Mounted, also seen by another interface, and unmounted.
        await person.press("enter")
        await choose(person, "unlock:1")
        await person.type(PASSPHRASE.decode())
        await person.press("enter")
        await choose(person, "mount")
        point = tmp_path / "point"
        for _ in range(60):
            await person.press("backspace")
        await person.type(str(point))
        await person.press("enter")
        assert "It is mounted" in person.screen(), person.screen()
        assert (point / "1-vault-home" / "file-0").is_file()
    async with interface(scratch) as person:
        assert "Mounted, press M" in person.screen()
        assert [mounted.folder for mounted in person.app.mounts.images] == [str(point)]
        await person.press("m", "enter", "down", "enter")
        assert "No image is mounted" in person.screen(), person.screen()
    assert not point.exists()
    assert not mounts_below(str(point))
    assert not [json.loads(file.read_bytes()) for file in REGISTER.glob("*.json") if str(point) in file.read_text()]
    assert str(image) not in run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]).text
