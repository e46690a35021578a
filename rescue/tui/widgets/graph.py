"""A progress bar and a graph of the rate, in blocks that the console font has."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from rescue.units import human_rate

_LEVELS = " ▁▂▃▄▅▆▇█"


def bar(share: float, width: int) -> str:
    """``share`` (0 to 1) of ``width`` cells, full only when it is all."""
    full = min(int(share * width), width)
    return "█" * full + "░" * (width - full)


def graph_lines(values: Sequence[float], width: int, height: int) -> list[str]:
    """The last ``width`` values as columns, the highest of them filling ``height`` lines."""
    shown = list(values)[-width:]
    top = max(shown, default=0.0) or 1.0
    eighths = [round(value / top * height * 8) for value in shown]
    return [
        "".join(_LEVELS[min(max(value - (height - 1 - line) * 8, 0), 8)] for value in eighths).ljust(width)
        for line in range(height)
    ]


class RateGraph(Widget):
    """The rate over the last minutes, one column a second."""

    def __init__(self) -> None:
        super().__init__()
        self._values: list[float] = []

    def show(self, values: Sequence[float]) -> None:
        """Draw these values (bytes a second, oldest first)."""
        self._values = list(values)
        self.refresh()

    def render(self) -> Content:
        """The columns, and what the highest one means."""
        width, height = self.size.width - 14, self.size.height
        if width < 10 or not self._values:
            return Content("")
        lines = graph_lines(self._values, width, height)
        top = human_rate(max(self._values[-width:]))
        scale = [top, *[""] * (height - 2), "0"] if height > 1 else [top]
        return Content("\n").join(
            Content.assemble((line, "ansi_cyan"), (f" {label}", "ansi_white")) for line, label in zip(lines, scale, strict=True)
        )
