"""Progress and events: what a running job says."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event as ThreadEvent
from typing import TypeAlias

import msgspec

from rescue.errors import CancelledError


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Bytes done of a step. Monotonic; ``total`` may be corrected downwards only at the end."""

    step: str  # the step's title, as shown in the plan
    index: int  # position of the step in the plan, from 0
    done: int
    total: int
    rate: float = 0.0  # bytes a second, over the last seconds
    eta: float = 0.0  # seconds left of this step; 0 when not known yet


class Message(msgspec.Struct, frozen=True, tag="message"):
    """A sentence for people, with its weight."""

    level: str  # "info", "warning"
    text: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The verdict, always the last event. ``state`` is "succeeded", "failed" or "cancelled"."""

    state: str
    exit_code: int
    message: str
    hint: str = ""
    facts: dict[str, str | int | float | bool | list[str]] = {}  # what was done and what was proved, for the Done screen


Event: TypeAlias = Progress | Message | Finished

Notify: TypeAlias = Callable[[Event], None]


class CancelToken:
    """Set once, from a signal handler or another thread; engine functions check it once a chunk."""

    def __init__(self) -> None:
        self._event = ThreadEvent()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether the work was asked to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise CancelledError when the work was asked to stop."""
        if self._event.is_set():
            raise CancelledError("Cancelled.")
