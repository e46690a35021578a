"""Search a disk for partitions that its table does not name, and choose which of them the queue shall add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import CancelledError, RescueError
from rescue.model.lost import Lost
from rescue.model.progress import CancelToken
from rescue.model.survey import DiskSurvey
from rescue.planning.lost import believed
from rescue.planning.words import content_words, plain
from rescue.tui.frame import BACK_KEY, HELP_KEY, RescueScreen
from rescue.tui.theme import QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.graph import bar
from rescue.tui.widgets.lines import Line, Lines
from rescue.units import human_duration, human_size

_NUMBERS = 12  # cells of a size
_EVERY = 0.25  # seconds between two words about how far it is


def state_words(one: Lost) -> str:
    """How sure it is that it is still there."""
    if one.inside:
        return "inside of another"
    if one.damaged:
        return "its beginning is damaged"
    if not one.whole:
        return "only its beginning"
    if one.twin_of:
        return f"copy of partition {one.twin_of}"
    return "overlaps another" if one.overlaps else "whole"


def lost_choice(one: Lost, chosen: bool, width: int) -> Choice:
    """One line: mark, what it is, where, how large, how sure."""
    label = f" “{plain(one.identity.label)}”" if one.identity.label else ""
    name = f"{content_words(one.identity) or one.identity.type}{label}"
    room = max(width - 2 * _NUMBERS - 32, 12)
    name = f"{name[: room - 2]}…" if len(name) > room - 1 else name
    sizes = f"{human_size(one.start):>{_NUMBERS}}{human_size(one.end - one.start):>{_NUMBERS}}"
    sure = one.whole and not one.damaged and not one.inside and not one.overlaps and not one.twin_of
    return Choice(
        str(one.start),
        Content.assemble(
            f"  {'●' if chosen else '○'} {name:<{room}}", (sizes, QUIET), (f"  {state_words(one)}", QUIET if sure else WARN)
        ),
    )


class LostScreen(RescueScreen):
    """Search, mark, and give what is marked to ``add``, which puts it into the queue or raises RescueError."""

    HELP = (
        "A partition that was deleted, or whose table was overwritten, is usually still on the disk. This looks for the "
        "beginnings of file systems where the table names nothing, and for what they keep twice. It only reads.\n\n"
        "“whole”: its end is there too, so it is surely a partition. Those are marked (●) already; Space marks others or takes "
        "marks away. What is marked is added to the queue of changes, with exactly these borders; nothing in it is changed.\n\n"
        "“copy of partition 3”: partition 3 has the same identifier. It was moved, and this is what stood at its old place.\n\n"
        "The quick search looks where partitions begin: at whole MiB, and at the tracks of old disks. “Every sector” takes as "
        "long as reading all of the free space.\n\n"
        "Do not write anything to such a disk before it is found. Better: back the disk up first."
    )
    KEYS = (HELP_KEY, BACK_KEY, KeyHint("Space", "Mark", "screen.mark"), KeyHint("Tab", "Buttons", "app.focus_next"))
    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "mark", show=False)]

    def __init__(self, survey: DiskSurvey, add: Callable[[Sequence[Lost]], None], *, deep: bool) -> None:
        super().__init__()
        self._survey, self._add, self._deep = survey, add, deep
        self._token = CancelToken()
        self._began = 0.0
        self._told = 0.0
        self._found: tuple[Lost, ...] = ()
        self._marked: set[int] = set()
        self._searching = True

    def heading(self) -> str:
        """What for."""
        return "Partitions: Lost ones"

    def content(self) -> Iterable[Widget]:
        """How far it is, what was found, buttons."""
        yield Lines([Line("Searching …", STRONG)], name="found")
        yield Static("", id="state", classes="note")
        yield Static("", id="columns", classes="note")
        yield Choices()
        yield Horizontal(
            PushButton("Add what is marked", name="add", disabled=True),
            PushButton("Look at every sector", name="deep"),
            classes="row",
        )

    def on_mount(self) -> None:
        """Search in a thread."""
        self.query_one("#deep").display = False
        self._search()

    def on_unmount(self) -> None:
        """Left: nobody wants to know any more."""
        self._token.cancel()

    def on_resize(self) -> None:
        """Names get the room there is."""
        self._draw()

    def _search(self) -> None:
        clock, machine, survey, deep = self.rescue.clock, self.rescue.machine, self._survey, self._deep
        token = self._token = CancelToken()
        self._began = self._told = clock()
        self._searching = True

        def progress(done: int, total: int) -> None:
            now = clock()
            if now - self._told >= _EVERY:
                self._told = now
                self.call_later(self._tell, done, total, now)

        self.in_thread(lambda: machine.find_lost(survey, deep, token, progress), self._show)

    def _tell(self, done: int, total: int, now: float) -> None:
        if not self._searching or not total:
            return
        seconds = now - self._began
        left = seconds * (total - done) / done if done and seconds > 2 else 0.0
        words = f"   {human_duration(left)} left" if left else ""
        self.query_one("#state", Static).update(
            Content.assemble((bar(done / total, 40), "ansi_cyan"), (f"  {human_size(done)} of {human_size(total)}{words}", QUIET))
        )

    def failed(self, error: RescueError) -> None:
        """Left, or the disk does not give its bytes."""
        self._searching = False
        if isinstance(error, CancelledError):
            return
        self.query_one("#found", Lines).show([Line("The search did not come to its end.", WARN, "✗ ")])
        super().failed(error)

    def _show(self, found: list[Lost]) -> None:
        self._searching = False
        self._found = tuple(one for one in found if not one.inside)
        self._marked = {one.start for one in believed(found)}
        hidden = len(found) - len(self._found)
        if self._found:
            count = "1 lost partition was" if len(self._found) == 1 else f"{len(self._found)} lost partitions were"
            lines = [Line(f"{count} found where the table names nothing. Marked (●) are those that are surely there.", STRONG)]
        else:
            lines = [Line("No lost partition was found where the table names nothing.", STRONG)]
            if not self._deep:
                lines.append(Line("Looking at every sector takes longer and may find what does not begin where most do.", QUIET))
        if hidden:
            more = "1 more begins" if hidden == 1 else f"{hidden} more begin"
            lines.append(Line(f"{more} inside of those that are whole: files in them, or remains.", QUIET))
        self.query_one("#found", Lines).show(lines)
        self.query_one("#state", Static).update("")
        deep = self.query_one("#deep", PushButton)
        deep.display = not self._deep
        self._draw()
        (self.query_one(Choices) if self._found else deep if not self._deep else self.query_one(Choices)).focus()

    def _draw(self) -> None:
        if self._searching:
            return
        width = max(self.size.width - 2, 40)
        columns = f"    {'Holds':<{max(width - 2 * _NUMBERS - 32, 12)}}{'Begins at':>{_NUMBERS}}{'Size':>{_NUMBERS}}"
        self.query_one("#columns", Static).update(Content.styled(columns if self._found else "", QUIET))
        self.query_one(Choices).show([lost_choice(one, one.start in self._marked, width) for one in self._found])
        self.query_one("#add", PushButton).disabled = not self._marked
        self.query_one("#add", PushButton).refresh()

    @on(Choices.OptionSelected)
    def action_mark(self) -> None:
        """Mark the one under the highlight, or take its mark away."""
        key = self.query_one(Choices).highlighted_key
        if key:
            self._marked ^= {int(key)}
            self._draw()

    @on(PushButton.Pressed, "#add")
    def _take(self) -> None:
        try:
            self._add([one for one in self._found if one.start in self._marked])
        except RescueError as error:
            super().failed(error)
        else:
            self.rescue.pop_screen()

    @on(PushButton.Pressed, "#deep")
    def _look_deeper(self) -> None:
        self._deep = True
        self.query_one("#deep").display = False
        self.query_one("#found", Lines).show([Line("Looking at every sector …", STRONG)])
        self._found = ()
        self.query_one(Choices).show([])
        self.query_one("#columns", Static).update("")
        self._search()
