"""Where to put something new: the folder that the image is in, another place, or a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.survey import Place
from rescue.planning.words import plain
from rescue.tui.dialogs import AskLine
from rescue.tui.flow import Flow, OpenedPlace
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.place_choice import PATH, path_choice, place_choice
from rescue.tui.theme import QUIET, STRONG
from rescue.tui.widgets.choices import Choice, Choices

_BESIDE: Final = "beside"

# What is done with the folder that was chosen, and the place that was opened for it, if it was.
Then = Callable[[Path, OpenedPlace | None], None]


class WhereScreen(RescueScreen):
    """Choose a folder that is written into; its place stays mounted until this screen is left or the job has ended."""

    HELP = (
        "Each entry is a file system on one of this computer's disks, or on a disk that you plugged in; it is only written to "
        "after the review. A disk that you plug in now appears here by itself.\n\n"
        "“Another folder” takes the path of a folder that is there already, for example of a network share."
    )

    def __init__(
        self, flow: Flow, question: str, then: Then, *, what: str, beside: str = "", obstacle: str = "", hand_over: bool = False
    ) -> None:
        """``what`` is put there. ``beside``: how the image's own folder is named, "" where it is not offered.

        ``obstacle``: why the places of the flow's target cannot be chosen, and of its source. With ``hand_over`` it is for
        ``then`` to give the place back, not for this screen.
        """
        super().__init__()
        self._flow, self._question, self._then = flow, question, then
        self._what, self._beside, self._obstacle = what, beside, obstacle
        self._hand_over = hand_over
        self._places: list[Place] = []
        self._opened: OpenedPlace | None = None
        self._opening = False

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: {self._question}"

    def content(self) -> Iterable[Widget]:
        """What it is, the list."""
        yield Static(Content.styled(self._what, STRONG), classes="gap")
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
            self._show([])
        super().failed(error)

    def _say(self, text: str) -> None:
        self.query_one("#state", Static).update(Content.styled(text, QUIET))

    def _why_not(self, place: Place) -> str:
        for survey in (self._flow.target, self._flow.source):
            if self._obstacle and survey is not None:
                disk = survey.disk
                if (place.disk.path, place.disk.serial) == (disk.path, disk.serial):
                    return self._obstacle
        return ""

    def _show(self, places: list[Place]) -> None:
        own = self._flow.opened.place if self._flow.opened else None
        self._places = [place for place in places if own is None or not self._beside or place.device != own.device]
        beside = Choice(_BESIDE, Content.assemble("● Beside the image\n", (f"   {self._beside}", QUIET)))
        listed = [place_choice(place, self._why_not(place)) for place in self._places]
        self.query_one(Choices).show([*([beside] if self._beside else []), *listed, path_choice()])
        if not self._opening:
            self._say("")

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        if self._opening:
            return
        if event.option_id == _BESIDE:
            self._then(self._flow.folder or Path("/"), None)
        elif event.option_id == PATH:
            self.rescue.push_screen(AskLine("Another folder", "The path of the folder:", "/"), self._typed)
        else:
            place = next(place for place in self._places if place.device == event.option_id)
            self._opening = True
            self._say(f"Opening {plain(place.title)} …")
            self.rescue.open_place(place, True, self._open, self._not_opened)

    def _typed(self, path: str | None) -> None:
        if path is not None:
            self._then(Path(path), None)

    def _open(self, opened: OpenedPlace) -> None:
        self._opening = False
        if not self.is_attached:
            self.rescue.give_back(opened)
            return
        self._say("")
        if not self._hand_over:
            before, self._opened = self._opened, opened
            self.rescue.give_back(before)
        self._then(opened.folder, opened)

    def _not_opened(self, error: RescueError) -> None:
        self._opening = False
        self.call_later(self.failed, error)
