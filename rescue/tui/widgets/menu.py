"""The menu of the Home screen: one line of entries with a number and a letter each, and what the chosen one does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from rescue.tui.theme import QUIET


class Entry(msgspec.Struct, frozen=True):
    """``letter`` is a key; the number is the entry's place, from 1."""

    name: str
    letter: str
    title: str
    explanation: str


class Menu(Widget, can_focus=True):
    """Arrows move, Enter chooses, numbers and letters choose at once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,up", "move(-1)", show=False),
        Binding("right,down", "move(1)", show=False),
        Binding("enter,space", "choose", show=False),
    ]
    index: reactive[int] = reactive(0)

    class Chosen(Message):
        """An entry was chosen."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__()
        self.entries = tuple(entries)

    def _cells(self) -> list[str]:
        return [f" {number} {entry.title} " for number, entry in enumerate(self.entries, 1)]

    def _rows(self, width: int) -> list[list[int]]:
        rows: list[list[int]] = [[]]
        used = 0
        for index, cell in enumerate(self._cells()):
            if used + len(cell) + 1 > width and rows[-1]:
                rows.append([])
                used = 0
            rows[-1].append(index)
            used += len(cell) + 1
        return rows

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The rows of entries and the line that explains."""
        return len(self._rows(width)) + 1

    def render(self) -> Content:
        """Entries, the chosen one marked; below, what it does."""
        cells = self._cells()
        lines = []
        for row in self._rows(self.size.width):
            parts: list[tuple[str, str]] = []
            for index in row:
                chosen = index == self.index
                style = "ansi_black on ansi_white" if chosen and self.has_focus else "ansi_bright_white"
                parts += [("▸" if chosen else " ", "ansi_bright_white"), (cells[index], style)]
            lines.append(Content.assemble(*parts))
        lines.append(Content.styled(f"  {self.entries[self.index].explanation}", QUIET))
        return Content("\n").join(lines)

    def action_move(self, by: int) -> None:
        """Go to a neighbour, round."""
        self.index = (self.index + by) % len(self.entries)

    def action_choose(self) -> None:
        """Choose what is marked."""
        self.post_message(self.Chosen(self.entries[self.index].name))

    def choose_by_key(self, key: str) -> bool:
        """Choose by number or letter; whether ``key`` was one."""
        for index, entry in enumerate(self.entries):
            if key in (str(index + 1), entry.letter):
                self.index = index
                self.action_choose()
                return True
        return False

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked on."""
        cells = self._cells()
        rows = self._rows(self.size.width)
        if event.y < len(rows):
            position = 0
            for index in rows[event.y]:
                position += len(cells[index]) + 1
                if event.x < position:
                    self.index = index
                    self.action_choose()
                    return
