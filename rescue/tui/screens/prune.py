"""Which images are kept? Five numbers, and at once what goes and why the rest stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from msgspec.structs import fields
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from rescue.errors import RescueError
from rescue.model.plan import Plan
from rescue.planning.retention import PruneRequest, Rules
from rescue.planning.words import plain
from rescue.records import replace
from rescue.tui.flow import Flow
from rescue.tui.frame import BACK_KEY, HELP_KEY, Body, RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.theme import BAD, GOOD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.bars import KeyHint
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.lines import BLANK, Line, Lines

# What most people want: to go back by days for a week, by weeks for a month, by months for half a year.
_PROPOSED: Final = Rules(last=3, daily=7, weekly=4, monthly=6)
_LABELS: Final = {"last": "Newest", "daily": "Days", "weekly": "Weeks", "monthly": "Months", "yearly": "Years"}
_NAMES: Final = tuple(field.name for field in fields(Rules))
_DIGITS: Final = 4


def prune_lines(plan: Plan) -> list[Line]:
    """What goes, what stays and why, what counts for nothing. The planner's own sentences."""
    gone = [Line(plain(loss), WARN, "  ✗ ") for loss in plan.losses]
    last = plan.sentences[-1] if plan.sentences else ""
    lines = [Line(plain(last), STRONG if gone else GOOD), *gone, BLANK]
    for said in plan.sentences[:-1]:
        kept = said.startswith("Keep ")
        lines.append(Line(plain(said.removeprefix("Keep ")), PLAIN if kept else QUIET, "  ✓ " if kept else ""))
    return [*lines, *(Line(plain(warning), WARN, "⚠ ") for warning in plan.warnings)]


class PruneScreen(RescueScreen):
    """Choose the rules; the review comes next, and there the number of images that go is typed."""

    HELP = (
        "Nothing is removed on this screen: it shows what the numbers come to.\n\n"
        "Newest: so many images, of each disk, are kept in any case. Days, weeks, months, years: of each of the last so many "
        "that have an image at all, the newest one is kept. An image stays when any of the rules keeps it, and when another "
        "one that stays needs it. 0 or nothing: this rule keeps nothing.\n\n"
        "What is damaged, locked or of an unknown disk is never removed. An encrypted image is locked until it was opened on "
        "the screen before."
    )
    KEYS = (HELP_KEY, BACK_KEY, KeyHint("Tab", "Next number", "app.focus_next"), KeyHint("PgDn", "More", "screen.scroll_body(1)"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._asked = 0
        self._plan: Plan | None = None

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: What is kept?"

    def content(self) -> Iterable[Widget]:
        """Where, the numbers, what comes of them."""
        yield Static(
            Content.styled(f"Of each disk that has images on {plain(self._flow.place_title)}, keep:", QUIET), classes="gap"
        )
        pairs: list[Widget] = []
        for name in _NAMES:
            value = getattr(_PROPOSED, name)
            pairs.append(Static(Content.styled(_LABELS[name], PLAIN), classes="number-label"))
            pairs.append(Input(str(value) if value else "", id=name, type="integer", max_length=_DIGITS, classes="number"))
        yield Horizontal(*pairs, id="numbers-row")
        yield Static("")
        yield Body(Lines(name="preview"), name="preview-pane")
        yield Horizontal(PushButton("Review", name="next", disabled=True), classes="row")

    def on_mount(self) -> None:
        """Show what the proposed numbers come to."""
        self.query_one("#last").focus()
        self._look()

    def rules(self) -> Rules:
        """What the fields say."""
        return Rules(**{name: int(self.query_one(f"#{name}", Input).value or 0) for name in _NAMES})

    @on(Input.Changed)
    def _changed(self) -> None:
        self._look()

    def _look(self) -> None:
        """Ask what would be removed; only the answer to the last question counts."""
        self._asked += 1
        asked, folder = self._asked, str(self._flow.folder or "/")
        machine = self._flow.machine or self.rescue.machine
        self._allow(None)
        self._show([Line("Looking at the images …", QUIET)])
        try:
            request = PruneRequest(self.rules())
        except ValueError:
            self._show([Line("A number is expected.", BAD, "✗ ")])
            return

        def planned(plan: Plan) -> None:
            if asked == self._asked and self.is_attached:
                self._allow(plan)
                self._show(prune_lines(plan))

        def refused(error: RescueError) -> None:
            if asked != self._asked or not self.is_attached:
                return
            if request.rules == Rules():
                self._show([Line("Say how many are kept: one of the numbers has to be more than 0.", BAD, "✗ ")])
            else:
                self._show([Line(plain(error.message), BAD, "✗ "), Line(plain(error.hint), QUIET)])

        self.rescue.in_thread(lambda: machine.plan_prune(folder, request), planned, refused)

    def _show(self, lines: list[Line]) -> None:
        self.query_one("#preview", Lines).show(lines)

    def _allow(self, plan: Plan | None) -> None:
        self._plan = plan
        self.query_one("#next", PushButton).disabled = plan is None or not plan.steps
        self.query_one("#next", PushButton).refresh()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    @on(PushButton.Pressed, "#next")
    def _next(self) -> None:
        self.rescue.push_screen(ReviewScreen(replace(self._flow, prune=PruneRequest(self.rules()))))
