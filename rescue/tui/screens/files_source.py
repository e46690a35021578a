"""Files: of what? An image, or a disk of this computer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.model.survey import DiskSurvey
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.files_partition import after_source, volume_obstacle, volumes_of
from rescue.tui.screens.place import PlaceScreen
from rescue.tui.screens.source import source_obstacle
from rescue.tui.screens.target import disk_choice
from rescue.tui.theme import QUIET
from rescue.tui.widgets.choices import Choice, Choices

_IMAGE: Final = "image"


class FilesSourceScreen(RescueScreen):
    """Choose an image, or a disk as it is now."""

    HEADING = "Files: Where are they?"
    HELP = (
        "Look into an image of a disk, or into a disk of this computer as it is now, and copy files out. "
        "What you look into is only read, never changed."
    )

    def content(self) -> Iterable[Widget]:
        """The image, the disks."""
        yield Static(Content.styled("What you look into is only read, never changed.", QUIET), classes="gap")
        yield Static("", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """Show what is known."""
        self.disks_changed()

    def on_resize(self) -> None:
        """The maps are as wide as the screen."""
        self.disks_changed()

    def disks_changed(self) -> None:
        """Images first, then the disks, those with files first."""
        image = Choice(_IMAGE, Content.assemble("● In an image\n", ("   choose where your backups are, and which one", QUIET)))
        disks = [disk_choice(survey, _disk_obstacle(survey), self.size.width) for survey in self.rescue.surveys or []]
        disks.sort(key=lambda choice: not choice.enabled)
        self.query_one(Choices).show([image, *disks])

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        if event.option_id == _IMAGE:
            self.rescue.push_screen(PlaceScreen(Flow("files")))
            return
        source = next(survey for survey in self.rescue.surveys or [] if survey.disk.path == event.option_id)
        self.rescue.push_screen(after_source(Flow("files", source=source)))


def _disk_obstacle(survey: DiskSurvey) -> str:
    obstacle = source_obstacle(survey)
    if not obstacle and all(map(volume_obstacle, volumes_of(Flow("files", source=survey)))):
        return "there are no files that can be read"
    return obstacle
