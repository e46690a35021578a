"""A partition table as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from rescue.cli.text import table
from rescue.model.layout import Layout
from rescue.planning.words import plain, role_words
from rescue.units import human_size


def layout_text(layout: Layout) -> list[str]:
    """The partitions of a table and what is free between them, one a line."""
    if layout.label == "none":
        return ["  no partition table"]
    return table(list(_rows(layout)), right=(0, 1, 2), limits=(4, 12, 12, 20, 36), indent=2) or ["  no partitions"]


def _rows(layout: Layout) -> Iterator[tuple[str, ...]]:
    position = layout.usable_start
    for p in layout.partitions:
        if p.kind != "logical" and p.start - position >= 1 << 20:
            yield ("-", human_size(position), human_size(p.start - position), "free", "")
        kind = "" if p.kind == "primary" else f"{p.kind} "
        yield (str(p.number), human_size(p.start), human_size(p.size), f"{kind}{role_words(p)}".strip(), plain(p.name))
        if p.kind != "logical":
            position = p.end
    if layout.usable_end - position >= 1 << 20:
        yield ("-", human_size(position), human_size(layout.usable_end - position), "free", "")
