"""A list of many rows of one line each, drawn only as far as it is seen, with the chain of the highlighted row beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual, visualize


class Row(msgspec.Struct, frozen=True):
    """One line. ``key`` is what it stands for, empty for a heading, which cannot be reached; ``links`` are keys of its chain."""

    key: str
    text: Content
    links: frozenset[str] = frozenset()


class RowList(ScrollView, can_focus=True):
    """Arrows, Home, End, PgUp and PgDn move, Enter chooses."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--highlighted"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "edge(0)", show=False),
        Binding("end", "edge(-1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Highlighted(Message):
        """Another row is under the highlight."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Chosen(Message):
        """Enter on a row, or a click on the highlighted one."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(id=name)
        self._rows: tuple[Row, ...] = ()
        self._reachable: list[int] = []
        self._at: dict[str, int] = {}
        self._highlight = -1
        self._chain: tuple[int, ...] = ()

    @property
    def highlighted_key(self) -> str:
        """Key of the row under the highlight; empty when there is none."""
        return self._rows[self._highlight].key if self._highlight >= 0 else ""

    @property
    def keys(self) -> list[str]:
        """What can be reached, from top to bottom."""
        return [self._rows[index].key for index in self._reachable]

    def show(self, rows: Sequence[Row], key: str = "") -> None:
        """Replace the rows; the highlight goes to ``key``, else stays on its key, else goes to the first one."""
        before = key or self.highlighted_key
        self._rows = tuple(rows)
        self._reachable = [index for index, row in enumerate(self._rows) if row.key]
        self._at = {row.key: index for index, row in enumerate(self._rows) if row.key}
        self.virtual_size = Size(self.size.width, len(self._rows))
        self._go(self._at.get(before, next(iter(self._reachable), -1)))

    def _go(self, index: int) -> None:
        self._highlight = index
        self._chain = ()
        if index >= 0:
            row = self._rows[index]
            self._chain = tuple(sorted({index, *(self._at[link] for link in row.links if link in self._at)}))
            # With the heading above it, if it is the first below one.
            top = index - 1 if index and not self._rows[index - 1].key else index
            top = 0 if index == self._reachable[0] else top
            self.scroll_to_region(Region(0, top, 1, index - top + 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Highlighted(self.highlighted_key))

    def action_move(self, by: int) -> None:
        """To the next row that can be reached; it stops at the ends."""
        if self._reachable:
            place = self._reachable.index(self._highlight) + by
            self._go(self._reachable[min(max(place, 0), len(self._reachable) - 1)])

    def action_page(self, by: int) -> None:
        """A screenful."""
        self.action_move(by * max(self.size.height - 1, 1))

    def action_edge(self, index: int) -> None:
        """To the first (0) or the last (-1)."""
        if self._reachable:
            self._go(self._reachable[index])

    def action_choose(self) -> None:
        """Choose what is under the highlight."""
        if self._highlight >= 0:
            self.post_message(self.Chosen(self.highlighted_key))

    def on_click(self, event: events.Click) -> None:
        """To the row; on the row that has the highlight, choose it."""
        index = self.scroll_offset.y + event.y
        if not 0 <= index < len(self._rows) or not self._rows[index].key:
            return
        if index == self._highlight:
            self.action_choose()
        else:
            self._go(index)

    def on_focus(self) -> None:
        """The highlight is seen only with the focus."""
        self.refresh()

    def on_blur(self) -> None:
        """As on_focus."""
        self.refresh()

    def _link(self, index: int) -> str:
        if len(self._chain) < 2 or not self._chain[0] <= index <= self._chain[-1]:
            return " "
        if index == self._chain[0]:
            return "┌"
        if index == self._chain[-1]:
            return "└"
        return "├" if index in self._chain else "│"

    def render_line(self, y: int) -> Strip:
        """One row: the mark, its place in the chain, its text."""
        index = self.scroll_offset.y + y
        width = self.scrollable_content_region.width
        style = self.rich_style
        if index >= len(self._rows):
            return Strip.blank(width, style)
        row = self._rows[index]
        if index == self._highlight and self.has_focus:
            text = f"▸{self._link(index)}{row.text.truncate(max(width - 2, 1), ellipsis=True).plain}".ljust(width)
            return Strip([Segment(text, self.get_component_rich_style("row-list--highlighted"))], width)
        mark = "▸" if index == self._highlight else " "
        content = Content.assemble(f"{mark}{self._link(index) if row.key else ' '}", row.text)
        content = content.truncate(width, ellipsis=True, pad=True)
        return Visual.to_strips(self, visualize(self, content), width, 1, self.visual_style)[0]
