"""A small window with a few fields, which are taken together when they make sense together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static

from rescue.errors import RescueError
from rescue.tui.theme import BAD, PLAIN, QUIET, STRONG
from rescue.tui.widgets.button import PushButton
from rescue.tui.widgets.lines import Line, Lines
from rescue.tui.widgets.toggle import Toggle


class Field(msgspec.Struct, frozen=True):
    """One field: a line of text, or with ``choices`` one of these words."""

    name: str
    label: str
    value: str = ""
    choices: tuple[str, ...] = ()
    placeholder: str = ""


class Form(ModalScreen[dict[str, str] | None]):
    """Its answer are the fields by name; None for Esc. ``check`` raises RescueError for what cannot be: it is said below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(
        self, title: str, text: str, fields: Sequence[Field], check: Callable[[dict[str, str]], object], button: str
    ) -> None:
        super().__init__()
        self._title, self._text, self._fields, self._check, self._button = title, text, tuple(fields), check, button

    def compose(self) -> ComposeResult:
        """Title, text, fields, what is wrong with them, buttons."""
        with Vertical(id="dialog"):
            yield Static(Content.styled(self._title, STRONG))
            yield Static(Content.styled(f"\n{self._text}\n", QUIET))
            for field in self._fields:
                yield Horizontal(Static(Content.styled(field.label, PLAIN), classes="label"), self._widget(field), classes="pair")
            yield Lines(name="wrong")
            with Horizontal(classes="row"):
                yield PushButton("Cancel", name="cancel")
                yield PushButton(self._button, name="take")

    def _widget(self, field: Field) -> Widget:
        if field.choices:
            return Toggle(field.choices, field.choices.index(field.value) if field.value else 0, name=field.name)
        return Input(field.value, id=field.name, placeholder=field.placeholder)

    def values(self) -> dict[str, str]:
        """What the fields say."""
        found = {}
        for field in self._fields:
            if field.choices:
                found[field.name] = field.choices[self.query_one(f"#{field.name}", Toggle).index]
            else:
                found[field.name] = self.query_one(f"#{field.name}", Input).value.strip()
        return found

    @on(Input.Submitted)
    @on(PushButton.Pressed, "#take")
    def _take(self) -> None:
        values = self.values()
        try:
            self._check(values)
        except RescueError as error:
            self.query_one("#wrong", Lines).show([Line(""), Line(f"{error.message} {error.hint}".strip(), BAD, "✗ ")])
            return
        self.dismiss(values)

    @on(PushButton.Pressed, "#cancel")
    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)
