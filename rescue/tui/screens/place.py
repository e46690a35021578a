"""Where are your backups? (or: where to put the backup?) Local places, mounted on demand, or a path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.survey import Place
from rescue.planning.words import plain
from rescue.records import replace
from rescue.tui.describe import disk_name
from rescue.tui.dialogs import AskLine
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.image import ImageScreen
from rescue.tui.screens.images import ImagesScreen
from rescue.tui.screens.options import OptionsScreen
from rescue.tui.screens.place_choice import PATH, path_choice, place_choice
from rescue.tui.theme import QUIET
from rescue.tui.widgets.choices import Choices
from rescue.units import human_size


def _next(flow: Flow) -> RescueScreen:
    match flow.kind:
        case "backup":
            return OptionsScreen(flow)
        case "images":
            return ImagesScreen(flow)
        case _:
            return ImageScreen(flow)


class PlaceScreen(RescueScreen):
    """Choose a place; it is mounted, and stays so until this screen is left or the job that uses it has ended."""

    HELP = (
        "Each entry is a file system on one of this computer's disks, or on a disk that you plugged in. It is only read "
        "(for a backup: written to) after you choose it. A disk that you plug in now appears here by itself.\n\n"
        "“Another folder” takes the path of a folder that is mounted already."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._places: list[Place] = []
        self._opened: OpenedPlace | None = None
        self._opening = False

    def heading(self) -> str:
        """Read from or write to."""
        question = "Where to put the backup?" if self._flow.kind == "backup" else "Where are your backups?"
        return f"{self._flow.name}: {question}"

    def content(self) -> Iterable[Widget]:
        """What was chosen so far, the list, what is going on."""
        source = self._flow.source
        chosen = f"Backing up {disk_name(source.disk)}, {human_size(source.disk.size)}." if source else ""
        yield Static(
            Content.styled(f"{chosen} Choose the disk that holds the images.".strip() if not source else chosen, QUIET),
            classes="gap",
        )
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """Ask for the places."""
        self._say("Looking for places …")
        self._load()

    def on_unmount(self) -> None:
        """Left: unmount what no job needs."""
        self.rescue.give_back(self._opened)

    def disks_changed(self) -> None:
        """A stick was plugged in."""
        self._load()

    def failed(self, error: RescueError) -> None:
        """The places cannot be listed, or one cannot be opened: a path can still be typed."""
        self._opening = False
        self._say("")
        if not self._places:
            self.query_one(Choices).show([path_choice()])
        super().failed(error)

    def _load(self) -> None:
        self.in_thread(self.rescue.machine.places, self._show)

    def _say(self, text: str) -> None:
        self.query_one("#state", Static).update(Content.styled(text, QUIET))

    def _obstacle(self, place: Place) -> str:
        source = self._flow.source
        if source is not None and (place.disk.path, place.disk.serial) == (source.disk.path, source.disk.serial):
            return "on the disk that is backed up"
        return ""

    def _show(self, places: list[Place]) -> None:
        self._places = places
        choices = [place_choice(place, self._obstacle(place)) for place in places]
        self.query_one(Choices).show([*choices, path_choice()])
        if not self._opening:
            self._say(
                "" if places else "No disk with a file system was found. Plug in the disk with your backups: it appears here."
            )

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
        self._mount(place, self._flow.kind in ("backup", "images"))

    def _mount(self, place: Place, writable: bool) -> None:
        def not_opened(error: RescueError) -> None:
            # What is done with images there may write (results of checks, removals), but looking must always be possible.
            if self._flow.kind == "images" and writable:
                self.call_later(self._mount, place, False)
            else:
                self._not_opened(error)

        self.rescue.open_place(place, writable, self._open, not_opened)

    def _typed(self, path: str | None) -> None:
        if path is not None:
            self._go(replace(self._flow, opened=None, folder=Path(path)))

    def _open(self, opened: OpenedPlace) -> None:
        self._opening = False
        if not self.is_attached:
            self.rescue.give_back(opened)
            return
        self._say("")
        if self._opened is not None:
            self.rescue.give_back(self._opened)
        self._opened = opened
        self._go(replace(self._flow, opened=opened, folder=opened.folder))

    def _not_opened(self, error: RescueError) -> None:
        self._opening = False
        self.call_later(self.failed, error)

    def _go(self, flow: Flow) -> None:
        self.rescue.push_screen(_next(flow))
