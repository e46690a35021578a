"""Which disk is backed up, or copied?"""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.model.survey import DiskSurvey
from rescue.planning.words import plain
from rescue.records import replace
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.place import PlaceScreen
from rescue.tui.screens.target import TargetScreen, disk_choice
from rescue.tui.screens.unlock import unlocked_first
from rescue.tui.theme import QUIET
from rescue.tui.widgets.choices import Choices


def source_obstacle(survey: DiskSurvey) -> str:
    """Why a disk cannot be read, as a clause; empty when it can."""
    if survey.is_rescue_medium:
        return "rescue medium: there is nothing of yours on it"
    if survey.unreadable:
        return f"cannot be read: {plain(survey.unreadable)}"
    return ""


class SourceScreen(RescueScreen):
    """Choose the disk that is read."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

    def heading(self) -> str:
        """What for."""
        return "Clone: Which disk is to be copied?" if self._flow.kind == "clone" else "Back up: Which disk?"

    def help_text(self) -> str:
        """What is read of it."""
        read = "The disk that you choose here is only read: it is not changed. Used space is "
        if self._flow.kind == "clone":
            return f"{read}copied, free space is not. The next screen asks for the disk that it is copied onto."
        return f"{read}kept, free space is not, so the image is smaller than the disk."

    def content(self) -> Iterable[Widget]:
        """The disks."""
        yield Static(Content.styled("The disk is only read, never changed.", QUIET), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """Show what is known."""
        self.disks_changed()

    def on_resize(self) -> None:
        """The maps are as wide as the screen."""
        self.disks_changed()

    def disks_changed(self) -> None:
        """Show the disks that are there now, the possible ones first."""
        surveys = self.rescue.surveys
        state = "Looking for disks …" if surveys is None else "" if surveys else "No disks were found."
        self.query_one("#state", Static).update(Content.styled(state, QUIET))
        self.query_one("#state", Static).display = bool(state)
        choices = [disk_choice(survey, source_obstacle(survey), self.size.width) for survey in surveys or []]
        choices.sort(key=lambda choice: not choice.enabled)
        self.query_one(Choices).show(choices)

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        source = next(survey for survey in self.rescue.surveys or [] if survey.disk.path == event.option_id)
        flow = replace(self._flow, source=source)
        self.rescue.push_screen(unlocked_first(flow, TargetScreen if flow.kind == "clone" else PlaceScreen))
