"""A folder as a list: names, sizes, dates, marks. Drawn only as far as it is seen, so that 100,000 files are no more than ten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import ClassVar, Final

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.text import shown
from rescue.units import human_size

_SIZE: Final = 11
_DATE: Final = 10
_MARKED: Final = Style.parse("bold bright_yellow")
_PROBLEM: Final = Style.parse("bright_yellow")
_QUIET: Final = Style.parse("white")
_FOLDER: Final = Style.parse("bold bright_white")
_NORMAL: Final = Style.parse("bright_white")
_CHOSEN: Final = Style.parse("black on white")
_CHOSEN_BLURRED: Final = Style.parse("bright_white underline")


def day(nanoseconds: int) -> str:
    """The day in this machine's time zone, ``2026-11-22``; dashes for what no calendar has."""
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).astimezone().strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "-" * _DATE


def shortened(text: str, width: int, *, is_path: bool = False) -> str:
    """The text in exactly ``width`` cells: filled up, or its middle left out; of a path its beginning, which tells less."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    end = width - 1 if is_path else min(width // 3, 12)
    tail = text[-end:] if end else ""
    while tail and cell_len(tail) > end:
        tail = tail[1:]
    head = set_cell_size(text[: 2 * width], width - 1 - cell_len(tail))
    return f"{head}…{tail}"


def name_of(entry: Entry, full: bool) -> str:
    """Name or whole path as a terminal may have it, with a sign of what it is."""
    text = shown(entry.path if full else entry.name)
    if entry.kind is Kind.FOLDER:
        return f"{text}/"
    return f"{text} →" if entry.kind is Kind.LINK else text


class FileList(ScrollView, can_focus=True):
    """Arrows, Home, End, PgUp and PgDn move, Enter opens, Space marks and goes on, Backspace goes up."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "edge(0)", show=False),
        Binding("end", "edge(-1)", show=False),
        Binding("enter,right", "open", show=False),
        Binding("space,insert", "mark", show=False),
        Binding("backspace,left", "up", show=False),
    ]

    class Highlighted(Message):
        """Another entry is under the highlight; None where there is none."""

        def __init__(self, entry: Entry | None) -> None:
            super().__init__()
            self.entry = entry

    class Opened(Message):
        """Enter on an entry, or a click on the highlighted one."""

        def __init__(self, entry: Entry) -> None:
            super().__init__()
            self.entry = entry

    class Marked(Message):
        """Space on an entry."""

        def __init__(self, entry: Entry) -> None:
            super().__init__()
            self.entry = entry

    class Up(Message):
        """Backspace."""

    def __init__(self, *, name: str) -> None:
        super().__init__(id=name)
        self._entries: Sequence[Entry] = ()
        self._marked: Collection[str] = frozenset()
        self._full = False
        self._index = -1

    @property
    def highlighted(self) -> Entry | None:
        """What is under the highlight."""
        return self._entries[self._index] if 0 <= self._index < len(self._entries) else None

    def show(self, entries: Sequence[Entry], marked: Collection[str], *, full: bool = False, at: str = "") -> None:
        """Replace the entries; ``marked`` are paths. The highlight goes to the path ``at``, else stays on its path or number."""
        before = self.highlighted
        wanted = at or (before.path if before else "")
        self._entries, self._marked, self._full = entries, marked, full
        self.virtual_size = Size(self.size.width, len(entries))
        found = next((index for index, entry in enumerate(entries) if entry.path == wanted), -1) if wanted else -1
        kept = 0 if self._index < 0 else self._index if before and full else 0
        self._go(found if found >= 0 else min(kept, len(entries) - 1))

    def add(self, entries: Sequence[Entry]) -> None:
        """Further entries at the end; the highlight stays."""
        self._entries = (*self._entries, *entries)
        self.virtual_size = Size(self.size.width, len(self._entries))
        if self._index < 0 and self._entries:
            self._go(0)
        self.refresh()

    def _go(self, index: int) -> None:
        self._index = index
        if index >= 0:
            self.scroll_to_region(Region(0, index, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Highlighted(self.highlighted))

    def action_move(self, by: int) -> None:
        """To another entry; it stops at the ends."""
        if self._entries:
            self._go(min(max(self._index + by, 0), len(self._entries) - 1))

    def action_page(self, by: int) -> None:
        """A screenful."""
        self.action_move(by * max(self.size.height - 1, 1))

    def action_edge(self, index: int) -> None:
        """To the first (0) or the last (-1)."""
        if self._entries:
            self._go(0 if index == 0 else len(self._entries) - 1)

    def action_open(self) -> None:
        """Open what is under the highlight."""
        if self.highlighted is not None:
            self.post_message(self.Opened(self.highlighted))

    def action_mark(self) -> None:
        """Mark what is under the highlight, and go to the next one."""
        if self.highlighted is not None:
            self.post_message(self.Marked(self.highlighted))
            self.action_move(1)

    def action_up(self) -> None:
        """To the folder above."""
        self.post_message(self.Up())

    def on_click(self, event: events.Click) -> None:
        """To the entry; on the one that has the highlight, open it."""
        index = self.scroll_offset.y + event.y
        if index >= len(self._entries):
            return
        if index == self._index:
            self.action_open()
        else:
            self._go(index)

    def on_focus(self) -> None:
        """The highlight looks different with the focus."""
        self.refresh()

    def on_blur(self) -> None:
        """As on_focus."""
        self.refresh()

    def on_resize(self) -> None:
        """The highlight stays in sight."""
        if self._index >= 0:
            self.scroll_to_region(Region(0, self._index, 1, 1), animate=False, force=True)

    def render_line(self, y: int) -> Strip:
        """One entry: the highlight's mark, the person's mark, name, size, day."""
        width = self.scrollable_content_region.width
        index = self.scroll_offset.y + y
        if index >= len(self._entries):
            return Strip.blank(width, self.rich_style)
        entry = self._entries[index]
        base = self.rich_style
        is_marked = entry.path in self._marked
        name_style = _PROBLEM if entry.problem else _MARKED if is_marked else _FOLDER if entry.kind is Kind.FOLDER else _NORMAL
        details = width >= 40
        room = max(width - 3 - (_SIZE + _DATE + 2 if details else 0), 1)
        size = human_size(entry.size) if entry.kind is Kind.FILE else ""
        left = ("▸" if index == self._index else " ") + ("●" if is_marked else "✗" if entry.problem else " ") + " "
        name = shortened(name_of(entry, self._full), room, is_path=self._full)
        right = f"{size:>{_SIZE}}  {day(entry.modified)}" if details else ""
        if index == self._index:
            style = base + (_CHOSEN if self.has_focus else _CHOSEN_BLURRED)
            return Strip([Segment(left + name + right, style)], width)
        return Strip(
            [
                Segment(left, base + (_MARKED if is_marked else _PROBLEM)),
                Segment(name, base + name_style),
                Segment(right, base + _QUIET),
            ],
            width,
        )
