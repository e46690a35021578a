"""Paragraphs with a mark before each, wrapped so that what follows hangs under the text and not under the mark."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import msgspec
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget


class Line(msgspec.Struct, frozen=True):
    """One paragraph. ``text`` is plain; ``mark`` is put before its first line."""

    text: str
    style: str = ""
    mark: str = ""
    mark_style: str = ""

    def wrapped(self, width: int) -> Content:
        """The paragraph on lines of at most ``width`` cells."""
        room = max(width - len(self.mark), 10)
        rows = textwrap.wrap(self.text, room, break_on_hyphens=False) or [""]
        indent = " " * len(self.mark)
        body = f"\n{indent}".join(rows)
        return Content.assemble((self.mark, self.mark_style or self.style), (body, self.style))


BLANK = Line("")


class Lines(Widget):
    """Some paragraphs, as tall as they need."""

    DEFAULT_CSS = "Lines { height: auto; width: 100%; }"

    def __init__(self, lines: Sequence[Line] = (), *, name: str | None = None) -> None:
        super().__init__(id=name)
        self._lines = tuple(lines)

    def show(self, lines: Sequence[Line]) -> None:
        """Replace them."""
        if tuple(lines) != self._lines:
            self._lines = tuple(lines)
            self.refresh(layout=True)

    def _content(self, width: int) -> Content:
        return Content("\n").join([line.wrapped(width) for line in self._lines])

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Lines after wrapping."""
        return len(self._content(width).plain.splitlines()) if self._lines else 0

    def render(self) -> Content:
        """The paragraphs."""
        return self._content(self.size.width)
