"""The line at the top (where am I, are jobs running) and the one at the bottom (which keys work here)."""

from __future__ import annotations

from itertools import accumulate

import msgspec
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget


class KeyHint(msgspec.Struct, frozen=True):
    """One key of a screen, for the bottom line. ``action`` is run when it is clicked."""

    key: str
    text: str
    action: str


class TitleBar(Widget):
    """The program's name, the way to here, and a word about running jobs at the right."""

    heading: reactive[str] = reactive("")
    jobs: reactive[str] = reactive("")

    def render(self) -> Content:
        """One line, exactly as wide as the screen."""
        width = self.size.width
        left = Content.assemble(" Rescue │ ", self.heading)
        right = f"{self.jobs} " if self.jobs else ""
        space = width - left.cell_length - len(right)
        if space < 1:
            return left.truncate(width, ellipsis=True)
        return Content.assemble(left, (" " * space, ""), right)


class KeyBar(Widget):
    """``F1 Help   Esc Back``; a mouse can click them."""

    def __init__(self, hints: tuple[KeyHint, ...]) -> None:
        super().__init__()
        self._hints = hints

    def show(self, hints: tuple[KeyHint, ...]) -> None:
        """Replace the keys."""
        self._hints = hints
        self.refresh()

    def render(self) -> Content:
        """Keys bright, their meaning after them; closer together where the screen is narrow, and none is cut off."""
        wide = self.size.width
        for gap in ("   ", "  "):
            shown = _shown(self._hints, gap, wide)
            if len(shown) == len(self._hints):
                break
        return Content.from_markup(
            " " + gap.join(f"[@click={h.action}][bold ansi_bright_cyan]{h.key}[/] {h.text}[/]" for h in shown)
        )


def _shown(hints: tuple[KeyHint, ...], gap: str, width: int) -> list[KeyHint]:
    """As many of them, from the first on, as fit on a line of ``width`` columns. The help of the screen names all keys."""
    ends = accumulate(len(f"{gap}{hint.key} {hint.text}") for hint in hints)
    return [hint for hint, end in zip(hints, ends, strict=True) if 1 + end - len(gap) <= width]
