"""What all screens share: title line, body, key line, help, going back, work in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widget import Widget

from rescue.errors import RescueError
from rescue.tui.dialogs import HelpDialog, Notice
from rescue.tui.widgets.bars import KeyBar, KeyHint, TitleBar

if TYPE_CHECKING:
    from rescue.tui.app import RescueApp

T = TypeVar("T")

HELP_KEY = KeyHint("F1", "Help", "screen.help")
BACK_KEY = KeyHint("Esc", "Back", "screen.back")


class Body(VerticalScroll, can_focus=False):
    """Text longer than the screen: PgUp and PgDn scroll it, wherever the focus is."""

    def __init__(self, *children: Widget, name: str) -> None:
        super().__init__(*children, id=name, classes="body")


class RescueScreen(Screen[None]):
    """A screen of the program."""

    HEADING: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    KEYS: ClassVar[tuple[KeyHint, ...]] = (HELP_KEY, BACK_KEY)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", show=False),
        Binding("f1,question_mark", "help", show=False),
        Binding("pagedown", "scroll_body(1)", show=False),
        Binding("pageup", "scroll_body(-1)", show=False),
    ]

    @property
    def rescue(self) -> RescueApp:
        """The app, by its own type."""
        return cast("RescueApp", self.app)

    def heading(self) -> str:
        """What the title line says."""
        return self.HEADING

    def help_text(self) -> str:
        """What F1 shows."""
        return self.HELP

    def content(self) -> Iterable[Widget]:
        """The widgets between the two lines."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Title line, content, key line."""
        bar = TitleBar()
        bar.heading = self.heading()
        bar.jobs = self.rescue.jobs_words()
        yield bar
        yield from self.content()
        yield KeyBar(self.KEYS)

    def action_back(self) -> None:
        """One screen back."""
        self.rescue.pop_screen()

    def action_help(self) -> None:
        """Explain this screen."""
        self.rescue.push_screen(HelpDialog(self.heading(), self.help_text()))

    def action_scroll_body(self, pages: int) -> None:
        """Scroll the long text of the screen."""
        for body in self.query(Body):
            body.scroll_relative(y=pages * max(body.size.height - 1, 1), animate=False)

    def in_thread(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Run ``work`` beside the interface, then ``done`` with its result unless the screen was left. Errors are shown."""

        # Through the screen's own queue: a screen that was left does not read it any more.
        def deliver(result: T) -> None:
            self.call_later(done, result)

        def failed(error: RescueError) -> None:
            self.call_later(self.failed, error)

        self.rescue.in_thread(work, deliver, failed)

    def failed(self, error: RescueError) -> None:
        """Say what went wrong."""
        self.rescue.push_screen(Notice("That did not work", error.message, error.hint))

    def disks_changed(self) -> None:
        """Called on the screen in front when the list of disks is new."""

    def mounts_changed(self) -> None:
        """Called on every screen when an image was mounted or unmounted."""

    def show_jobs(self, words: str) -> None:
        """The title line's word about jobs, and whatever else of the screen speaks of them."""
        self.query_one(TitleBar).jobs = words
        self.jobs_changed()

    def jobs_changed(self) -> None:
        """Called on every screen when a job said something, and twice a second while one runs."""
