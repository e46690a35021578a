"""How thoroughly is an image checked? Its hashes only, or its file systems too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.planning.words import plain
from rescue.tui.describe import image_date, image_origin
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.theme import QUIET, STRONG
from rescue.tui.timeline import health_of
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.lines import Line, Lines

_OPEN, _HASHES = "open", "hashes"


def _choice(key: str, title: str, words: str) -> Choice:
    return Choice(key, Content.assemble(f"● {title}\n", (f"   {words}\n", QUIET)))


class CheckScreen(RescueScreen):
    """Choose, and on to the review."""

    HELP = (
        "An image is checked without changing anything: neither it nor a disk.\n\n"
        "Hashes: every byte of it, and of the images that it needs, is read and compared with what was written when it was "
        "made.\n\n"
        "With its file systems: each is then opened over a throw-away layer, checked by its own program, mounted, and some of "
        "its files are read. This also finds what was wrong already when the image was made."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: How thoroughly?"

    def content(self) -> Iterable[Widget]:
        """Which image, the two ways."""
        image = self._flow.image
        if image is not None:
            health = health_of(image)
            yield Static(
                Content.assemble(("Image of ", QUIET), (f"{image_date(image)}  {image_origin(image)}", STRONG)), classes="gap"
            )
            lines = [Line(plain(image.name), QUIET), Line(f"So far {health.short}: {health.sentence}", QUIET)]
            yield Lines(lines, name="so-far")
            yield Static("")
        yield Choices()

    def on_mount(self) -> None:
        """The thorough one first."""
        self.query_one(Choices).show(
            [
                _choice(
                    _OPEN, "Hashes, and open its file systems", "Proves that what it holds can be used. Takes a little longer."
                ),
                _choice(_HASHES, "Hashes only", "Proves that the file is as it was written."),
            ]
        )

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        self.rescue.push_screen(ReviewScreen(replace(self._flow, open_filesystems=event.option_id == _OPEN)))
