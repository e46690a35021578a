"""A person at the interface: presses keys, reads the screen."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual import events
from textual.keys import _character_to_key

from rescue.tui.app import RescueApp
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.recorded_disks import RECOVERY

# The kernel's own sixteen colours (drivers/tty/vt/vt.c, default_red, default_grn, default_blu).
_HALF, _FULL = 0xAA, 0xFF
CONSOLE_PALETTE = TerminalTheme(
    (0, 0, 0),
    (_HALF, _HALF, _HALF),
    [
        (0, 0, 0),
        (_HALF, 0, 0),
        (0, _HALF, 0),
        (_HALF, 0x55, 0),
        (0, 0, _HALF),
        (_HALF, 0, _HALF),
        (0, _HALF, _HALF),
        (_HALF, _HALF, _HALF),
    ],
    [
        (0x55, 0x55, 0x55),
        (_FULL, 0x55, 0x55),
        (0x55, _FULL, 0x55),
        (_FULL, _FULL, 0x55),
        (0x55, 0x55, _FULL),
        (_FULL, 0x55, _FULL),
        (0x55, _FULL, _FULL),
        (_FULL, _FULL, _FULL),
    ],
)


def at_once(work: Callable[[], None]) -> None:
    """Instead of a thread: the tests then have one order of events."""
    work()


class Person:
    """The app, and what can be done to it from outside."""

    def __init__(self, app: RescueApp, machine: RecordedMachine, clock: Clock) -> None:
        self.app = app
        self.machine = machine
        self.did_nothing = True  # so far
        self._clock = clock

    async def settle(self) -> None:
        """Let every message be handled."""
        for _ in range(2):
            quiet = 0
            for _ in range(20_000):
                await asyncio.sleep(0)
                if quiet >= 10:
                    break
                quiet = 0 if self._busy() else quiet + 1
            else:
                raise AssertionError("the interface does not come to rest")
            # What Textual does sixty times a second.
            self.app.screen._on_timer_update()

    def _busy(self) -> bool:
        pumps = (self.app, *self.app._registry)
        return any(not pump._message_queue.empty() for pump in pumps)

    async def press(self, *keys: str) -> None:
        """Keys, one after the other; each is handled before the next."""
        for key in keys:
            self._send(key)
            await self.settle()

    async def burst(self, *keys: str) -> None:
        """Keys that arrive all at once, as over a slow line."""
        for key in keys:
            self._send(key)
        await self.settle()

    def _send(self, key: str) -> None:
        self.did_nothing = False
        name = _character_to_key(key) if len(key) == 1 else key
        character = key if len(key) == 1 else " " if key == "space" else None
        self.app.post_message(events.Key(name, character))

    async def type(self, text: str) -> None:
        """Characters, as fast as they come."""
        await self.burst(*("space" if c == " " else c for c in text))

    async def wait(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, and the app look at its jobs each ``step`` seconds."""
        self.did_nothing = False
        end = self._clock.now + seconds
        ran = False
        while self._clock.now < end:
            self._clock.now = min(self._clock.now + step, end)
            ran |= self.app.read_jobs()
        if ran:
            self.app.tell_of_jobs()
        await self.settle()

    def screen(self) -> str:
        """The text on the screen, lines without trailing blanks."""
        lines = self._render().export_text().splitlines()[: self.app.size.height]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def picture(self) -> str:
        """The screen as SVG, in the colours of a Linux console."""
        svg = self._render().export_svg(title="Rescue", theme=CONSOLE_PALETTE)
        return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)

    def _render(self) -> Console:
        width, height = self.app.size
        console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, record=True, legacy_windows=False)
        update = self.app.screen._compositor.render_update(full=True, screen_stack=self.app._background_screens)
        console.print(update)
        return console

    def styles(self) -> set[Style]:
        """The styles of everything on the screen that is drawn in front."""
        strips = self.app.screen._compositor.render_strips()
        return {segment.style for strip in strips for segment in strip if segment.style is not None}

    @property
    def name(self) -> str:
        """Class of the screen in front."""
        return type(self.app.screen).__name__


@asynccontextmanager
async def at(machine: RecordedMachine, clock: Clock, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Person]:
    """The app running on a terminal of ``size`` cells, its disks shown. What is in front at the end can be drawn."""
    app = RescueApp(
        machine, clock=clock, launch=at_once, poll_every=None, run_shell=lambda: None, new_recovery_key=lambda: RECOVERY
    )
    async with app.run_test(size=size):
        person = Person(app, machine, clock)
        await person.settle()
        yield person
        person.screen()
