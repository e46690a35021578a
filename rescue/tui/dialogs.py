"""Small windows: help, something to read, a question with a harmless default, a line of text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from rescue.tui.theme import BAD, PLAIN, QUIET, STRONG, WARN
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.choices import Choice, Choices


class _Text(VerticalScroll, can_focus=False):
    """The text of a dialog."""

    def __init__(self, text: Content) -> None:
        super().__init__(Static(text), classes="body")


class _Scrolls:
    """Keys that scroll a dialog's text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "scroll_text(1)", show=False),
        Binding("pageup", "scroll_text(-1)", show=False),
    ]


class Notice(ModalScreen[None]):
    """Something to read. Enter or Esc closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *_Scrolls.BINDINGS,
        Binding("escape,f1,question_mark", "close", show=False),
    ]

    def __init__(self, title: str, message: str, hint: str = "", *, bad: bool = True) -> None:
        super().__init__()
        self._title, self._message, self._hint, self._bad = title, message, hint, bad

    def compose(self) -> ComposeResult:
        """Title, message, hint, one button."""
        mark = "✗ " if self._bad else ""
        with Vertical(id="dialog", classes="danger" if self._bad else ""):
            yield Static(Content.styled(f"{mark}{self._title}", BAD if self._bad else STRONG))
            yield _Text(Content.assemble(("\n" + self._message, PLAIN), ("\n" + self._hint if self._hint else "", QUIET)))
            with Horizontal(classes="row"):
                yield PushButton("Close", name="close")

    @on(PushButton.Pressed)
    def action_close(self) -> None:
        """Back to the screen below."""
        self.dismiss()

    def action_scroll_text(self, pages: int) -> None:
        """Scroll long text."""
        self.query_one(_Text).scroll_relative(y=pages * 8, animate=False)


class HelpDialog(Notice):
    """What can be done on the screen below."""

    def __init__(self, heading: str, text: str) -> None:
        general = (
            "Arrow keys and Tab move, Enter chooses, Esc goes one step back (a running job goes on), "
            "PgUp and PgDn scroll, F1 or ? shows help."
        )
        super().__init__(f"Help: {heading}", f"{text}\n\n{general}", bad=False)


class Question(ModalScreen[str | None]):
    """A question with answers in a list; the first one is harmless and has the focus. Esc is None."""

    BINDINGS: ClassVar[list[BindingType]] = [*_Scrolls.BINDINGS, Binding("escape", "leave", show=False)]

    def __init__(self, title: str, text: str, answers: Iterable[tuple[str, str]], *, warning: str = "") -> None:
        super().__init__()
        self._title, self._text, self._warning = title, text, warning
        self._answers = [Choice(key, Content(words)) for key, words in answers]

    def compose(self) -> ComposeResult:
        """Title, text, answers."""
        with Vertical(id="dialog", classes="danger" if self._warning else ""):
            yield Static(Content.styled(self._title, STRONG))
            warning = (f"\n⚠ {self._warning}", WARN) if self._warning else ("", "")
            yield _Text(Content.assemble(("\n" + self._text if self._text else "", PLAIN), warning))
            yield Static("")
            yield Choices()

    def on_mount(self) -> None:
        """Fill the list."""
        self.query_one(Choices).show(self._answers)

    @on(Choices.OptionSelected)
    def _answered(self, event: Choices.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)

    def action_scroll_text(self, pages: int) -> None:
        """Scroll long text."""
        self.query_one(_Text).scroll_relative(y=pages * 8, animate=False)


class AskLine(ModalScreen[str | None]):
    """One line of text; Enter takes it, Esc is None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, title: str, text: str, value: str = "") -> None:
        super().__init__()
        self._title, self._text, self._value = title, text, value

    def compose(self) -> ComposeResult:
        """Title, text, the line."""
        with Vertical(id="dialog"):
            yield Static(Content.styled(self._title, STRONG))
            yield Static(Content.styled(f"\n{self._text}\n", PLAIN))
            yield Input(self._value, id="line")
            yield Static(Content.styled("\nEnter takes it, Esc goes back.", QUIET))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)
