"""The images of a place, and what can be done with each and with all: check, thin out, mount, export, keys."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from rescue.model.survey import ImageSummary
from rescue.planning.words import plain
from rescue.records import replace
from rescue.tui.describe import image_date, image_origin
from rescue.tui.dialogs import Question
from rescue.tui.flow import Flow
from rescue.tui.frame import BACK_KEY, HELP_KEY
from rescue.tui.screens.image import ImageScreen
from rescue.tui.screens.image_actions import actions, do_action
from rescue.tui.screens.prune import PruneScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.widgets.bars import KeyHint


class ImagesScreen(ImageScreen):
    """As ImageScreen; an image that is chosen asks what is to be done with it."""

    HELP = (
        "Enter on an image shows what can be done with it: check it, look into its files, mount it in a folder, restore it, "
        "export it as a virtual disk, make a full image of one that needs others, change what opens an encrypted one.\n\n"
        "C checks all images here: what several of them share is read once. O removes old ones, by how many of each day, week "
        "and month you want to keep; what goes is shown before.\n\n"
        f"{ImageScreen.HELP}"
    )
    KEYS = (
        HELP_KEY,
        BACK_KEY,
        KeyHint("Enter", "What to do", "screen.help"),
        KeyHint("C", "Check all", "screen.check_all"),
        KeyHint("O", "Remove old ones", "screen.remove_old"),
    )
    HEADING = "Images"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "check_all", show=False),
        Binding("o", "remove_old", show=False),
    ]

    def heading(self) -> str:
        """What for."""
        return self.HEADING

    def use(self, image: ImageSummary, *, salvage: bool = False) -> None:
        """Ask what is to be done with it."""
        self._ask(replace(self.flow, image=image, salvage=salvage), image)

    def _ask(self, flow: Flow, image: ImageSummary) -> None:
        def answered(key: str | None) -> None:
            if key is not None:
                do_action(self, flow, key, lambda again: self._ask(again, image))

        title = f"{image_date(image)}  {image_origin(image)}"
        self.rescue.push_screen(Question(title, plain(image.name), actions(flow, image)), answered)

    def action_check_all(self) -> None:
        """Read all images of the folder again, what they share once."""
        if self.has_images:
            self.rescue.push_screen(ReviewScreen(replace(self.flow, kind="verify", image=None)))

    def action_remove_old(self) -> None:
        """Choose what is kept."""
        if self.has_images:
            self.rescue.push_screen(PruneScreen(replace(self.flow, kind="prune")))
