"""How to back up: name, comment, compression, check. Everything has a default: Enter, Enter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from rescue.planning.words import plain
from rescue.services import BackupRequest
from rescue.tui.describe import disk_name
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.theme import PLAIN, QUIET
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.toggle import Toggle
from rescue.units import human_size

_LEVELS = (1, 0, 9)
_LEVEL_NAMES = ("Fast, bigger file", "Automatic", "Small file, slower")


class OptionsScreen(RescueScreen):
    """A few settings, and on to the review."""

    HELP = (
        "Without a name, the image is named after the computer, the disk and today's date.\n"
        "Normal compression is right for nearly everybody.\n"
        "Checking reads the finished image again from its disk and compares every hash: leave it on unless you are in a hurry."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

    def heading(self) -> str:
        """What for."""
        return "Back up: How?"

    def content(self) -> Iterable[Widget]:
        """Four settings and a button."""
        source = self._flow.source
        what = f"{disk_name(source.disk)}, {human_size(source.disk.size)}" if source else ""
        yield Static(Content.styled(f"{what} → {plain(self._flow.place_title)}", QUIET), classes="gap")
        yield Static("")
        for label, field in (
            ("Name", Input(placeholder="made from computer, disk and date", id="name")),
            ("Comment", Input(placeholder="for yourself: “before the update”", id="comment")),
            ("Compression", Toggle(_LEVEL_NAMES, 1, name="level")),
            ("Check afterwards", Toggle(("Yes", "No"), 0, name="verify")),
        ):
            yield Horizontal(Static(Content.styled(label, PLAIN), classes="label"), field, classes="field")
        yield Horizontal(PushButton("Review the backup", name="next"), classes="row")

    def on_mount(self) -> None:
        """Most people want the defaults: the button first."""
        self.query_one("#next").focus()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    def request(self) -> BackupRequest:
        """What the fields say."""
        return BackupRequest(
            name=self.query_one("#name", Input).value.strip(),
            level=_LEVELS[self.query_one("#level", Toggle).index],
            comment=self.query_one("#comment", Input).value.strip(),
            verify=self.query_one("#verify", Toggle).index == 0,
        )

    @on(PushButton.Pressed, "#next")
    def _next(self) -> None:
        folder = self._flow.folder or Path("/")
        self.rescue.push_screen(ReviewScreen(replace(self._flow, folder=folder, request=self.request())))
