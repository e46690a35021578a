"""A button of one line: ``[ Start ]``."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget


class PushButton(Widget, can_focus=True):
    """Pressed by Enter, Space or a click. Arrow keys move to its neighbours."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "press", show=False),
        Binding("right,down", "app.focus_next", show=False),
        Binding("left,up", "app.focus_previous", show=False),
    ]

    class Pressed(Message):
        """The button was pressed."""

        def __init__(self, button: PushButton) -> None:
            super().__init__()
            self.button = button

        @property
        def control(self) -> PushButton:
            """For the ``@on`` decorator's selectors."""
            return self.button

    def __init__(self, label: str, *, name: str, disabled: bool = False) -> None:
        super().__init__(id=name, disabled=disabled)
        self.label = label

    def render(self) -> Content:
        """The label in brackets; in round ones while it cannot be pressed, so that colour is not the only sign."""
        return Content(f"( {self.label} )" if self.disabled else f"[ {self.label} ]")

    def rename(self, label: str) -> None:
        """Show another label."""
        self.label = label
        self.refresh(layout=True)

    def action_press(self) -> None:
        """Tell the screen."""
        self.post_message(self.Pressed(self))

    def on_click(self, event: events.Click) -> None:
        """As Enter."""
        event.stop()
        if not self.disabled:
            self.action_press()
