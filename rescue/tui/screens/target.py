"""Onto which disk? Or: which disk is changed? Only possible ones can be chosen; the others say why not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.model.survey import DiskSurvey
from rescue.records import replace
from rescue.tui.describe import disk_details, disk_headline, disk_name, image_date, image_origin, target_obstacle
from rescue.tui.flow import Flow, FlowKind
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.fit import FitScreen, what_is_fitted
from rescue.tui.screens.partitions import PartitionsScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.screens.unlock import unlocked_first
from rescue.tui.screens.wipe import WipeScreen
from rescue.tui.theme import QUIET, STRONG, WARN
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.disk_panel import map_content
from rescue.units import human_size


def disk_choice(survey: DiskSurvey, obstacle: str, width: int) -> Choice:
    """Model, size and serial; the map; what is on it, or why it cannot be chosen."""
    mark = "– " if obstacle else "● "
    size = f"  {human_size(survey.disk.size)}" if survey.disk.size else ""
    head = f"{mark}{disk_name(survey.disk)}{size}"
    last = (f"✗ {obstacle}", WARN) if obstacle else (f"now on it: {disk_headline(survey)}", QUIET)
    text = Content.assemble(
        head,
        (f"  {disk_details(survey.disk, width - len(head) - 6)}\n", QUIET),
        "  ",
        map_content(survey, max(width - 6, 20)),
        "\n  ",
        last,
    )
    return Choice(survey.disk.path, text, not obstacle)


_QUESTIONS: Final[dict[FlowKind, str]] = {
    "restore": "Onto which disk?",
    "clone": "Onto which disk?",
    "wipe": "Which disk?",
    "partition": "Of which disk?",
}
_CONFIRMS: Final = (
    "Nothing is written yet: what would be lost is shown before, and the last four characters of the disk's serial are asked "
    "for, which is printed on its label."
)
_HELP: Final[dict[FlowKind, str]] = {
    "restore": f"Everything on the disk that you choose here is replaced by the image. {_CONFIRMS}",
    "clone": f"Everything on the disk that you choose here is replaced by a copy of the other one. {_CONFIRMS}",
    "wipe": f"The disk that you choose here is erased. {_CONFIRMS}",
    "partition": f"Of the disk that you choose here, partitions can be made, changed and removed. {_CONFIRMS}",
}
_WHY_NOT: Final = (
    "A disk that cannot be chosen says why: it is too small, it is the one that is read, it is in use, or Rescue runs from it."
)


class TargetScreen(RescueScreen):
    """Choose the disk that is overwritten or changed."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: {_QUESTIONS[self._flow.kind]}"

    def help_text(self) -> str:
        """What becomes of it."""
        return f"{_HELP[self._flow.kind]}\n\n{_WHY_NOT}"

    def content(self) -> Iterable[Widget]:
        """What is restored, the disks."""
        image, source = self._flow.image, self._flow.source
        if image is not None:
            words = Content.assemble(("Image of ", QUIET), (f"{image_date(image)}  {image_origin(image)}", STRONG))
            yield Static(words, classes="gap")
        elif source is not None:
            who = f"{disk_name(source.disk)}, {human_size(source.disk.size)}, {disk_headline(source)}"
            yield Static(Content.assemble(("Copy of ", QUIET), (who, STRONG)), classes="gap")
        else:
            yield Static(Content.styled("Nothing is changed before you confirm it.", QUIET), classes="gap")
        yield Static("", id="state", classes="note")
        yield Choices()

    def on_mount(self) -> None:
        """The survey on the Home screen may be older than the mount of the place: look again."""
        self.disks_changed()
        self.rescue.survey()

    def on_resize(self) -> None:
        """The maps are as wide as the screen."""
        self.disks_changed()

    def _obstacle(self, survey: DiskSurvey) -> str:
        opened = self._flow.opened
        if opened is not None and (opened.place.disk.path, opened.place.disk.serial) == (survey.disk.path, survey.disk.serial):
            return "holds the image"
        return target_obstacle(survey, self._flow.image, self._flow.source)

    def disks_changed(self) -> None:
        """Show the disks that are there now: the possible ones first, and of those that are to be overwritten the blank ones."""
        if self.rescue.surveys is None:
            self.query_one("#state", Static).update(Content.styled("Looking for disks …", QUIET))
            return
        width = self.size.width
        found = [(survey, self._obstacle(survey)) for survey in self.rescue.surveys]
        overwritten = self._flow.kind in ("restore", "clone")
        found.sort(key=lambda pair: (bool(pair[1]), overwritten and disk_headline(pair[0]) != "blank"))
        choices = [disk_choice(survey, obstacle, width) for survey, obstacle in found]
        self.query_one(Choices).show(choices)
        state = (
            ""
            if any(choice.enabled for choice in choices)
            else "None of these disks can be used. Plug in another one: it appears here."
        )
        self.query_one("#state", Static).update(Content.styled(state, WARN))
        self.query_one("#state", Static).display = bool(state)

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        target = next(survey for survey in self.rescue.surveys or [] if survey.disk.path == event.option_id)
        self.rescue.push_screen(self._next(replace(self._flow, target=target)))

    def _next(self, flow: Flow) -> RescueScreen:
        match flow.kind:
            case "wipe":
                return WipeScreen(flow)
            case "partition":
                return PartitionsScreen(flow)
            case _:
                source = what_is_fitted(flow)
                if source is None:
                    return ReviewScreen(flow)
                # Of a clone it was asked when the disk was chosen.
                return unlocked_first(flow, lambda f: FitScreen(f, source)) if flow.image is not None else FitScreen(flow, source)
