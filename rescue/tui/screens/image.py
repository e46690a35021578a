"""Which image? What a folder holds, newest first; what is damaged or foreign is shown with its problem."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.tui.describe import image_date, image_origin
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.screens.target import TargetScreen
from rescue.tui.theme import GOOD, QUIET, WARN
from rescue.tui.widgets.choices import Choice, Choices
from rescue.units import human_size

_UNINTERESTING = frozenset({"lost+found", "$RECYCLE.BIN", "System Volume Information"})


def folders_in(folder: Path) -> list[str]:
    """Names of the folders that a person may want to look into. Raises OSError."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(name for name in names if name not in _UNINTERESTING)


def image_choice(image: ImageSummary) -> Choice:
    """Date, computer, disk and sizes; comment and name below. A problem instead of the sizes where there is one."""
    if image.problem:
        text = Content.assemble(
            f"– {plain(image.name)}", (f"  {human_size(image.stored_size)}\n", QUIET), (f"   ✗ {plain(image.problem)}", WARN)
        )
        return Choice(image.path, text, enabled=False)
    comment = f"{plain(image.comment)} – " if image.comment else ""
    text = Content.assemble(
        f"● {image_date(image)}  {image_origin(image)}\n",
        (f"   {human_size(image.used_bytes)} of data in {human_size(image.stored_size)}  ", QUIET),
        ("✓ complete\n", GOOD),
        (f"   {comment}{plain(image.name)}", QUIET),
    )
    return Choice(image.path, text)


class ImageScreen(RescueScreen):
    """Choose an image of a folder, or go into a folder of it."""

    HELP = (
        "The images in this place, newest first: when, of which computer and disk, how much data, how big the file is. "
        "“complete” means that its head, index and end are there and agree; “Check an image” on the Home screen reads it all.\n\n"
        "What cannot be used is shown with the reason and cannot be chosen. Folders are at the end of the list."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._images: list[ImageSummary] = []

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: Which image?"

    def content(self) -> Iterable[Widget]:
        """Where we are, the list."""
        yield Static(Content.styled(f"Images on {plain(self._flow.place_title)}:", QUIET), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """Read the folder."""
        self.query_one("#state", Static).update(Content.styled("Reading the images …", QUIET))
        folder = self._flow.folder or Path("/")

        def read() -> tuple[list[ImageSummary], list[str]]:
            return self.rescue.machine.images(folder), folders_in(folder)

        self.in_thread(read, self._show)

    def failed(self, error: RescueError) -> None:
        """The folder cannot be read: say so here too, under the message."""
        self.query_one("#state", Static).update(Content.styled("This folder cannot be read. Esc goes back.", QUIET))
        super().failed(error)

    def _show(self, found: tuple[list[ImageSummary], list[str]]) -> None:
        self._images, folders = found
        known = {image.name for image in self._images}
        choices = [image_choice(image) for image in self._images]
        choices += [
            Choice(f"folder:{name}", Content.assemble(f"□ {plain(name)}/\n", ("   a folder", QUIET)))
            for name in folders
            if name not in known
        ]
        if any(not image.problem for image in self._images):
            state = ""
        elif self._images:
            state = "Nothing here can be used."
        else:
            state = "There are no images here." + (" Look into a folder, or go back with Esc." if folders else " Esc goes back.")
        self.query_one("#state", Static).update(Content.styled(state, QUIET))
        self.query_one("#state", Static).display = bool(state)
        self.query_one(Choices).show(choices)

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        key = event.option_id or ""
        if key.startswith("folder:"):
            folder = (self._flow.folder or Path("/")) / key.removeprefix("folder:")
            self.rescue.push_screen(ImageScreen(replace(self._flow, folder=folder)))
            return
        image = next(image for image in self._images if image.path == key)
        flow = replace(self._flow, image=image)
        if flow.kind == "restore":
            self.rescue.push_screen(TargetScreen(flow))
        else:
            self.rescue.push_screen(ReviewScreen(flow))
