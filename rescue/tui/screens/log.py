"""Log and shell: the jobs of this session, what they said, and a command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.planning.words import plain
from rescue.tui.describe import job_words
from rescue.tui.dialogs import Notice
from rescue.tui.follow import Follower
from rescue.tui.frame import BACK_KEY, HELP_KEY, RescueScreen
from rescue.tui.screens.done import DoneScreen
from rescue.tui.screens.running import RunningScreen
from rescue.tui.theme import BAD, GOOD, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.choices import Choice, Choices


def job_choice(follower: Follower) -> Choice:
    """Verdict and what it was; the last thing it said below."""
    plan = follower.job.plan
    if follower.finished is None:
        verdict = (f"▶ running, {int(follower.share * 100)} %", STRONG)
    else:
        verdict = {"succeeded": ("✓ done", GOOD), "cancelled": ("■ stopped", WARN)}.get(
            follower.finished.state, ("✗ failed", BAD)
        )
    said = follower.finished.message if follower.finished else follower.messages[-1].text if follower.messages else ""
    return Choice(
        follower.job.id, Content.assemble(verdict, f"  {job_words(plan)}\n", (f"   {plain(said) or follower.job.id}", QUIET))
    )


class LogScreen(RescueScreen):
    """Choose a job to see it whole."""

    HEADING = "Log & shell"
    HELP = (
        "Enter on a job shows its progress or its verdict and all that it said; from there the log can be saved.\n\n"
        "S opens a command line on this terminal; type exit to come back. On the computer's own console there is also one on the "
        "second screen: Alt+F2, and Alt+F1 back. Everything that this program does is also a command: rescue --help."
    )
    KEYS = (HELP_KEY, BACK_KEY, KeyHint("S", "Shell", "screen.shell"))
    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "shell", show=False)]

    def content(self) -> Iterable[Widget]:
        """A hint about shells, the jobs."""
        hint = "S opens a shell here. On the computer's own console, Alt+F2 (tty2) is a root shell, Alt+F1 comes back."
        yield Static(Content.styled(hint, QUIET), classes="gap")
        yield Static(Content.styled("Jobs, newest first:", STRONG), id="state", classes="gap")
        yield Choices()

    def on_mount(self) -> None:
        """Show what is known."""
        self._show()

    def on_screen_resume(self) -> None:
        """Back from a job."""
        self._show()

    def jobs_changed(self) -> None:
        """A job said something."""
        self._show()

    def _show(self) -> None:
        followers = self.rescue.followers
        self.query_one("#state", Static).update(
            Content.styled("Jobs, newest first:" if followers else "No job has run yet.", STRONG)
        )
        self.query_one(Choices).show([job_choice(follower) for follower in followers])

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        follower = next(follower for follower in self.rescue.followers if follower.job.id == event.option_id)
        self.rescue.push_screen(DoneScreen(follower) if follower.ended else RunningScreen(follower))

    def action_shell(self) -> None:
        """A shell on this terminal, where that is possible."""
        try:
            self.rescue.shell()
        except SuspendNotSupported:
            self.rescue.push_screen(
                Notice("No shell here", "This terminal cannot be shared with a shell.", "Use Alt+F2 on the computer's console.")
            )
