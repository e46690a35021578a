"""Files: where to copy them? A place, then a folder of it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.plan import Plan
from rescue.model.survey import Place
from rescue.planning.extract import AlreadyThereError
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import ExtractRequest
from rescue.tui.dialogs import AskLine, Question
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.files_words import marked_words
from rescue.tui.screens.place_choice import PATH, path_choice, place_choice
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.theme import QUIET, STRONG
from rescue.tui.widgets.choices import Choice, Choices

_NEW: Final = "new"
_HERE: Final = "here"
_FOLDER: Final = "folder:"
_NAMED: Final = 5


class FilesTargetScreen(RescueScreen):
    """Choose a place that can be written to; it stays mounted until this screen is left or the job has ended."""

    HEADING = "Files: Where to copy them?"
    HELP = (
        "Choose the disk or stick that the files are copied to, then a folder on it. The disk that the files come from cannot "
        "be chosen. A disk that you plug in now appears here by itself.\n\n“Another folder” takes the path of a folder that "
        "is there already, for example of a network share."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._places: list[Place] = []
        self._opened: OpenedPlace | None = None
        self._opening = False

    def content(self) -> Iterable[Widget]:
        """What is copied, the list."""
        yield Static(Content.styled(f"{marked_words(self._flow.files)}.", STRONG), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """Ask for the places."""
        self._say("Looking for places …")
        self.disks_changed()

    def on_unmount(self) -> None:
        """Left: unmount what no job needs."""
        self.rescue.give_back(self._opened)

    def disks_changed(self) -> None:
        """A stick was plugged in."""
        self.in_thread(self.rescue.machine.places, self._show)

    def failed(self, error: RescueError) -> None:
        """A path can still be typed."""
        self._opening = False
        self._say("")
        if not self._places:
            self.query_one(Choices).show([path_choice()])
        super().failed(error)

    def _say(self, text: str) -> None:
        self.query_one("#state", Static).update(Content.styled(text, QUIET))

    def _obstacle(self, place: Place) -> str:
        source = self._flow.source
        if source is not None and (place.disk.path, place.disk.serial) == (source.disk.path, source.disk.serial):
            return "on the disk that the files are read from"
        return ""

    def _show(self, places: list[Place]) -> None:
        self._places = places
        self.query_one(Choices).show([*(place_choice(place, self._obstacle(place)) for place in places), path_choice()])
        if not self._opening:
            self._say("" if places else "No disk with a file system was found. Plug one in: it appears here.")

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        if self._opening:
            return
        if event.option_id == PATH:
            self.rescue.push_screen(AskLine("Another folder", "The path of the folder:", "/"), self._typed)
            return
        place = next(place for place in self._places if place.device == event.option_id)
        self._opening = True
        self._say(f"Opening {plain(place.title)} …")
        self.rescue.open_place(place, True, self._open, self._not_opened)

    def _typed(self, path: str | None) -> None:
        if path is not None:
            self.rescue.push_screen(FilesFolderScreen(self._flow, None, Path(path)))

    def _open(self, opened: OpenedPlace) -> None:
        self._opening = False
        if not self.is_attached:
            self.rescue.give_back(opened)
            return
        self._say("")
        before, self._opened = self._opened, opened
        self.rescue.give_back(before)
        self.rescue.push_screen(FilesFolderScreen(self._flow, opened, opened.folder))

    def _not_opened(self, error: RescueError) -> None:
        self._opening = False
        self.call_later(self.failed, error)


def folders_in(folder: Path) -> list[str]:
    """Names of the folders that a person may want to copy into. Raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith((".", "$", "lost+found")))


class FilesFolderScreen(RescueScreen):
    """A new folder, this one, or one below."""

    HEADING = "Files: Into which folder?"
    HELP = (
        "The files keep their names and are put into the folder that you choose; folders are copied with all that is in them. "
        "A new folder is the safe choice. Nothing that is there is replaced without asking you."
    )

    def __init__(self, flow: Flow, opened: OpenedPlace | None, folder: Path) -> None:
        super().__init__()
        self._flow = flow
        self._opened = opened
        self._folder = folder

    def content(self) -> Iterable[Widget]:
        """Where we are, the list."""
        yield Static(Content.styled(f"{self._where()}:", QUIET), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def _where(self) -> str:
        if self._opened is None:
            return plain(str(self._folder))
        inside = self._folder.relative_to(self._opened.folder)
        return plain(self._opened.place.title + (f", in {inside}" if inside.parts else ""))

    def on_mount(self) -> None:
        """Read the folder."""
        folder = self._folder
        self.in_thread(lambda: folders_in(folder), self._show)

    def _show(self, folders: list[str]) -> None:
        choices = [
            Choice(_NEW, Content.assemble("+ A new folder here …\n", ("   you give it a name", QUIET))),
            Choice(_HERE, Content.assemble("● Here\n", ("   directly into this folder", QUIET))),
        ]
        choices += [
            Choice(f"{_FOLDER}{name}", Content.assemble(f"□ {plain(name)}/\n", ("   look into it", QUIET))) for name in folders
        ]
        self.query_one(Choices).show(choices)

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        key = event.option_id or ""
        if key == _NEW:
            today = datetime.datetime.now().astimezone().date()
            self.rescue.push_screen(AskLine("A new folder", "Its name:", f"files-{today}"), self._named)
        elif key == _HERE:
            self._try(self._folder)
        else:
            self.rescue.push_screen(FilesFolderScreen(self._flow, self._opened, self._folder / key.removeprefix(_FOLDER)))

    def _named(self, name: str | None) -> None:
        if name is None:
            return
        if "/" in name or name in (".", ".."):
            self.failed(RescueError(f"{plain(name)} is not the name of a folder.", "Give it a name without a slash."))
        else:
            self._try(self._folder / name)

    def _try(self, folder: Path, overwrite: bool = False) -> None:
        """Look whether something would be replaced; ask, if so; then the review."""
        flow = self._flow
        request = ExtractRequest(
            tuple(entry.path for entry in flow.files), str(folder), overwrite, salvage=flow.salvage, inside=flow.inside
        )
        flow = replace(flow, extract=request, destination=self._opened)
        machine, source, volume = flow.machine or self.rescue.machine, flow.image or flow.source, flow.volume
        if source is None or volume is None:
            return
        self._say("Looking what is there …")

        def plan() -> Plan | AlreadyThereError:
            try:
                return machine.plan_extract(source, volume.partition, request)
            except AlreadyThereError as there:
                return there

        def planned(found: Plan | AlreadyThereError) -> None:
            self._say("")
            if isinstance(found, AlreadyThereError):
                self._ask(flow, folder, found)
            else:
                self.rescue.push_screen(ReviewScreen(flow))

        self.in_thread(plan, planned)

    def _ask(self, flow: Flow, folder: Path, there: AlreadyThereError) -> None:
        def answered(answer: str | None) -> None:
            if answer == "replace" and flow.extract is not None:
                self.rescue.push_screen(ReviewScreen(replace(flow, extract=replace(flow.extract, overwrite=True))))

        self.rescue.push_screen(
            Question(
                "Some of it is there already",
                plain(there.message),
                [("back", "Choose another folder"), ("replace", "Replace what is there")],
                warning="Files of the same names are replaced; other files in folders of the same names stay.",
            ),
            answered,
        )

    def _say(self, text: str) -> None:
        self.query_one("#state", Static).update(Content.styled(text, QUIET))

    def failed(self, error: RescueError) -> None:
        """Another folder may do."""
        self._say("")
        super().failed(error)
