"""Aligned text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 80


def cut(text: str, width: int) -> str:
    """Text of at most ``width`` characters; an ellipsis says that something is missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = (), limits: Sequence[int] = (), indent: int = 0) -> list[str]:
    """Rows as lines with aligned columns, those in ``right`` to the right. ``limits``: the widest each may be, 0 for any."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths = [min(width, limit) if limit else width for width, limit in zip(widths, [*limits, *[0] * len(widths)], strict=False)]
    lines = []
    for row in rows:
        cells = [
            cut(cell, width).rjust(width) if column in right else cut(cell, width).ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            if width
        ]
        lines.append(cut((" " * indent + "  ".join(cells)).rstrip(), WIDTH))
    return lines
