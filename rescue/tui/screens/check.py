"""How thoroughly is an image checked? Its hashes only, or its file systems too."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.model.volume import Volume
from rescue.planning.words import plain
from rescue.records import replace
from rescue.services import Machine
from rescue.tui.describe import image_date, image_origin
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.inner import encrypted
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.screens.unlock import volume_title
from rescue.tui.secret_dialogs import UnlockVolumeDialog
from rescue.tui.theme import GOOD, QUIET, STRONG
from rescue.tui.timeline import health_of
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.lines import Line, Lines
from rescue.units import human_size

_OPEN, _HASHES, _UNLOCK = "open", "hashes", "unlock:"


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
        self._draw()

    def _locked(self) -> list[Volume]:
        """The partitions of the image with something that only a passphrase opens."""
        image = self._flow.image
        return [v for v in encrypted(image.volumes) if v.partition not in self._flow.unlocked] if image else []

    def _draw(self) -> None:
        choices = [
            _choice(_OPEN, "Hashes, and open its file systems", "Proves that what it holds can be used. Takes a little longer."),
            _choice(_HASHES, "Hashes only", "Proves that the file is as it was written."),
        ]
        for volume in self._locked():
            title = volume_title(volume)
            words = "Without it, what is in it is checked as a whole only: by its hashes."
            choices.append(_choice(f"{_UNLOCK}{volume.partition}", f"Unlock {title[0].lower()}{title[1:]} first …", words))
        self.query_one(Choices).show(choices)

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        key = event.option_id or ""
        if key.startswith(_UNLOCK):
            self._unlock(int(key.removeprefix(_UNLOCK)))
        else:
            self.rescue.push_screen(ReviewScreen(replace(self._flow, open_filesystems=key == _OPEN)))

    def _unlock(self, partition: int) -> None:
        image = self._flow.image
        if image is None:
            return
        volume = next(volume for volume in image.volumes if volume.partition == partition)
        machine = self._flow.machine or self.rescue.machine

        def opened(unlocked: Machine | None) -> None:
            if unlocked is not None:
                self._flow = replace(self._flow, machine=unlocked, unlocked=(*self._flow.unlocked, partition))
                self._draw()
                self.query_one("#so-far", Lines).show([Line(f"{volume_title(volume)} is unlocked.", GOOD, "✓ ")])

        what = f"{volume_title(volume)}, {human_size(volume.size)}"
        self.rescue.push_screen(UnlockVolumeDialog(what, machine, image, partition), opened)
