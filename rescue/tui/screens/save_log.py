"""Save the log: copy a job's journal and plan to a place of the person's choice."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.survey import Place
from rescue.planning.words import plain
from rescue.services import Machine
from rescue.tui.dialogs import AskLine, Notice
from rescue.tui.flow import OpenedPlace
from rescue.tui.follow import Follower
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.place_choice import PATH, path_choice, place_choice
from rescue.tui.theme import QUIET
from rescue.tui.widgets.choices import Choices


def copy_log(follower: Follower, folder: Path) -> Path:
    """Copy plan and journal into a new folder named after the job, flushed to the medium. Raises OSError, RescueError."""
    target = folder / f"rescue-log-{follower.job.id}"
    target.mkdir(exist_ok=True)
    for name in ("plan.json", "events.jsonl"):
        source = follower.job.folder / name
        if source.exists():
            with (target / name).open("wb") as copy:
                copy.write(source.read_bytes())
                copy.flush()
                os.fsync(copy.fileno())
    return target


def save_to_place(machine: Machine, follower: Follower, place: Place) -> str:
    """Mount the place, copy, unmount; where the log is now, for people."""
    opened = OpenedPlace(machine, place, writable=True)
    try:
        target = copy_log(follower, opened.folder)
    finally:
        opened.close()
    return f"{target.name} on {place.title}"


class SaveLogScreen(RescueScreen):
    """Choose a place; the log is copied to it."""

    HELP = "Choose a stick or disk. A folder “rescue-log-…” with the plan and the journal of the job is made on it."

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower
        self._places: list[Place] = []
        self._saving = False

    def heading(self) -> str:
        """What for."""
        return "Save the log: Where to?"

    def content(self) -> Iterable[Widget]:
        """The list."""
        yield Static(Content.styled("Looking for places …", QUIET), id="state", classes="gap")
        yield Choices()

    def on_mount(self) -> None:
        """Ask for the places."""
        self.disks_changed()

    def disks_changed(self) -> None:
        """A stick was plugged in."""
        self.in_thread(self.rescue.machine.places, self._show)

    def _target_path(self) -> str:
        target = self._follower.job.plan.target
        return target.path if target else ""

    def _show(self, places: list[Place]) -> None:
        self._places = places
        self.query_one("#state", Static).update(Content.styled("The log is lost at the next restart unless it is saved.", QUIET))
        choices = [
            place_choice(place, "on the disk that was restored" if place.disk.path == self._target_path() else "")
            for place in places
        ]
        self.query_one(Choices).show([*choices, path_choice()])

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        if self._saving:
            return
        if event.option_id == PATH:
            self.rescue.push_screen(AskLine("Another folder", "The path of the folder:", "/"), self._typed)
            return
        place = next(place for place in self._places if place.device == event.option_id)
        self._saving = True
        machine, follower = self.rescue.machine, self._follower
        self.query_one("#state", Static).update(Content.styled(f"Saving to {plain(place.title)} …", QUIET))
        self.in_thread(lambda: save_to_place(machine, follower, place), self._saved)

    def _typed(self, path: str | None) -> None:
        if path is not None:
            follower = self._follower
            self.in_thread(lambda: str(copy_log(follower, Path(path))), self._saved)

    def failed(self, error: RescueError) -> None:
        """Another place may do."""
        self._saving = False
        super().failed(error)

    def _saved(self, where: str) -> None:
        self.rescue.pop_screen()
        self.rescue.push_screen(Notice("The log is saved", f"It is in {plain(where)}.", bad=False))
