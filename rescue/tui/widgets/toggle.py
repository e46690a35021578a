"""A setting with a few values on one line: ``◀ Normal ▶``. Left, right, Space and Enter go through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Toggle(Widget, can_focus=True):
    """Its ``index`` is the value chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", show=False),
        Binding("right,space,enter", "turn(1)", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]
    index: reactive[int] = reactive(0)

    class Turned(Message):
        """Another value was chosen."""

        def __init__(self, toggle: Toggle, index: int) -> None:
            super().__init__()
            self.toggle, self.index = toggle, index

        @property
        def control(self) -> Toggle:
            """For the ``@on`` decorator's selectors."""
            return self.toggle

    def __init__(self, values: Sequence[str], index: int, *, name: str) -> None:
        super().__init__(id=name)
        self._values = tuple(values)
        self.set_reactive(Toggle.index, index)

    def render(self) -> Content:
        """The value between arrows."""
        return Content(f"◀ {self._values[self.index]} ▶")

    def action_turn(self, by: int) -> None:
        """Go to the next or the previous value, round."""
        self.index = (self.index + by) % len(self._values)
        self.post_message(self.Turned(self, self.index))

    def on_click(self) -> None:
        """As Space."""
        self.action_turn(1)
