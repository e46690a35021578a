"""A list to choose from: arrows move over what can be chosen, Enter chooses; the rest is shown with its reason."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.segment import Segment
from textual.content import Content
from textual.strip import Strip
from textual.widgets import OptionList
from textual.widgets.option_list import Option


class Choice(msgspec.Struct, frozen=True):
    """One entry. ``key`` is what it stands for; one that is not ``enabled`` cannot be reached."""

    key: str
    text: Content
    enabled: bool = True


class Choices(OptionList):
    """An OptionList that keeps its place when its entries change."""

    def show(self, choices: Sequence[Choice]) -> None:
        """Replace the entries; the highlight stays on the same key, else goes to the first one possible."""
        before = self.highlighted_key
        self.clear_options()
        self.add_options([Option(choice.text, id=choice.key, disabled=not choice.enabled) for choice in choices])
        possible = [index for index, choice in enumerate(choices) if choice.enabled]
        same = [index for index in possible if choices[index].key == before]
        self.highlighted = next(iter(same or possible), None)

    @property
    def highlighted_key(self) -> str:
        """Key of the entry under the highlight; empty when there is none."""
        option = self.highlighted_option
        return (option.id or "") if option else ""

    def render_line(self, y: int) -> Strip:
        """The entry under the highlight has a mark, and one pair of colours: those of its words may not be readable on it."""
        strip = super().render_line(y)
        if not self.has_focus or self.highlighted is None:
            return strip
        line = self.scroll_offset.y + y
        if line >= len(self._lines) or self._lines[line][0] != self.highlighted:
            return strip
        text = strip.text
        if self._lines[line][1] == 0:
            text = f"▸{text[1:]}"
        return Strip([Segment(text, self.get_component_rich_style("option-list--option-highlighted"))], strip.cell_length)
