"""A partition table as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rescue.cli.text import table
from rescue.model.layout import Layout
from rescue.model.volume import Identity
from rescue.planning.words import holds_words
from rescue.units import human_size


def layout_text(layout: Layout, contents: Mapping[int, Identity]) -> list[str]:
    """The partitions of a table and what is free between them, one a line. ``contents``: by the byte that they begin at."""
    if layout.label == "none":
        return ["  no partition table"]
    return table(list(_rows(layout, contents)), right=(0, 1, 2), limits=(4, 12, 12, 46), indent=2) or ["  no partitions"]


def _rows(layout: Layout, contents: Mapping[int, Identity]) -> Iterator[tuple[str, ...]]:
    position = layout.usable_start
    for p in layout.partitions:
        if p.kind != "logical" and p.start - position >= 1 << 20:
            yield ("-", human_size(position), human_size(p.start - position), "free")
        logical = "logical: " if p.kind == "logical" else ""
        yield (str(p.number), human_size(p.start), human_size(p.size), logical + holds_words(p, contents.get(p.start)))
        if p.kind != "logical":
            position = p.end
    if layout.usable_end - position >= 1 << 20:
        yield ("-", human_size(position), human_size(layout.usable_end - position), "free")
