"""The images that are mounted in folders of this computer: where, and ending it."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.planning.words import plain
from rescue.services import MountedImage
from rescue.tui.dialogs import Question
from rescue.tui.frame import RescueScreen
from rescue.tui.theme import QUIET
from rescue.tui.widgets.choices import Choice, Choices


def mount_choice(mounted: MountedImage) -> Choice:
    """The image, and the folders where what it holds is."""
    points = [plain(point) for point in mounted.points] or ["what held it has died"]
    words = [(f"\n   {point}", QUIET) for point in points]
    return Choice(mounted.folder, Content.assemble(f"● {plain(mounted.image.rsplit('/', 1)[-1])}", *words))


class MountsScreen(RescueScreen):
    """Choose one to unmount it."""

    HEADING = "Mounted images"
    HELP = (
        "What these images hold is in these folders of this computer, for every program on it: a shell (“Log & shell”), a "
        "file manager, a network share. It can only be read, and the images are not changed.\n\n"
        "Enter asks whether to unmount one. The disk that the image is on stays in use until then."
    )

    def content(self) -> Iterable[Widget]:
        """What it is about, the list."""
        yield Static(Content.styled("Enter unmounts. What is read there is not changed.", QUIET), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """Ask which there are."""
        self.mounts_changed()

    def mounts_changed(self) -> None:
        """Show those that there are now."""
        mounted = self.rescue.mounts.images
        self._say("" if mounted else "No image is mounted. Esc goes back.")
        self.query_one(Choices).show([mount_choice(one) for one in mounted])

    def _say(self, words: str) -> None:
        self.query_one("#state", Static).update(Content.styled(words, QUIET))

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        folder = event.option_id or ""

        def answered(answer: str | None) -> None:
            if answer == "unmount":
                self._say(f"Unmounting {plain(folder)} …")
                machine = self.rescue.machine
                self.in_thread(lambda: machine.unmount_image(folder), lambda _: self.rescue.mounts.look())

        answers = [("stay", "Leave it mounted"), ("unmount", "Unmount it")]
        self.rescue.push_screen(Question("Unmount it?", plain(folder), answers), answered)

    def failed(self, error: RescueError) -> None:
        """It is in use: it stays."""
        self.mounts_changed()
        super().failed(error)
