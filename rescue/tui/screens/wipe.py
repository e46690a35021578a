"""How is the disk erased? Three ways, each with what it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from rescue.errors import RescueError
from rescue.model.disk import Disk
from rescue.model.edit import WipeMethod
from rescue.model.plan import Plan
from rescue.planning.wipe import WipeRequest
from rescue.planning.words import plain
from rescue.records import replace
from rescue.tui.describe import disk_headline, disk_name, rough_duration
from rescue.tui.flow import Flow
from rescue.tui.frame import RescueScreen
from rescue.tui.screens.review import ReviewScreen
from rescue.tui.theme import QUIET, STRONG, WARN
from rescue.tui.widgets.choices import Choice, Choices
from rescue.tui.widgets.disk_panel import map_content
from rescue.units import human_size

_METHODS: Final[dict[str, WipeMethod]] = {"quick": "quick", "zeros": "zeros", "sanitize": "sanitize"}


def _entry(key: str, title: str, lines: Iterable[str], obstacle: str = "") -> Choice:
    words = [(f"\n   {line}", QUIET) for line in lines]
    reason = [(f"\n   ✗ {obstacle}", WARN)] if obstacle else []
    return Choice(key, Content.assemble(f"{'–' if obstacle else '●'} {title}", *words, *reason, "\n"), not obstacle)


def wipe_choices(disk: Disk, sanitize: Plan | RescueError | None) -> list[Choice]:
    """The ways; ``sanitize`` is the plan of that way or why there is none, None as long as the disk was not asked."""
    quick = _entry(
        "quick",
        "Quick: the disk looks blank",
        (
            "Takes seconds. Erases what tells that there is something on the disk.",
            "What files held stays, and programs can get it back.",
            "For a disk that you keep.",
        ),
    )
    spare = "Flash keeps spare blocks that cannot be addressed: what is in them stays."
    flash = (spare,) if disk.is_flash else ()
    zeros = _entry(
        "zeros",
        "Zeros: everything is overwritten",
        (
            f"Takes {rough_duration(2 * disk.size, disk)}.",
            "What files held cannot be got back by any program.",
            *flash,
        ),
    )
    title = "Sanitize: the disk erases itself, spare blocks too"
    if sanitize is None:
        return [quick, zeros, _entry("sanitize", title, (), "asking the disk whether it can …")]
    if isinstance(sanitize, RescueError):
        why = plain(sanitize.message).partition(": ")[2] or plain(sanitize.message)
        return [quick, zeros, _entry("sanitize", title, (), f"Not this disk: {why}")]
    said = (
        "Nothing can be got back, not even in a laboratory.",
        "For a disk that you give away.",
        "It cannot be stopped once begun: this computer must stay on.",
    )
    return [quick, zeros, _entry("sanitize", title, said)]


class WipeScreen(RescueScreen):
    """Choose, and on to the review."""

    HELP = (
        "Quick writes zeros over the partition tables and over the beginning and end of the disk and of each partition. "
        "Zeros overwrites every byte that can be addressed. Both read back what they wrote.\n\n"
        "Sanitize is a command of the disk: its own controller erases everything, also what no program can reach. Not every "
        "disk knows it; one at USB is not asked, because adapters do not pass it on reliably.\n\n"
        "Nothing is written before the next screen was confirmed with the last four characters of the disk's serial."
    )

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow

    def heading(self) -> str:
        """What for."""
        return f"{self._flow.name}: How?"

    def content(self) -> Iterable[Widget]:
        """Which disk, the three ways."""
        yield Static("", id="disk", classes="gap")
        yield Static("")
        yield Choices()

    def on_mount(self) -> None:
        """The disk is asked in a thread whether it can erase itself."""
        self._draw()
        target, machine = self._flow.target, self.rescue.machine
        self._show(None)
        if target is not None:
            self.in_thread(lambda: machine.plan_wipe(target, WipeRequest("sanitize")), self._show)

    def on_resize(self) -> None:
        """The map is as wide as the screen."""
        self._draw()

    def failed(self, error: RescueError) -> None:
        """It cannot: the list says why."""
        self._show(error)

    def _draw(self) -> None:
        target = self._flow.target
        if target is None:
            return
        head = f"{disk_name(target.disk)}  {human_size(target.disk.size)}"
        now = f"   now on it: {disk_headline(target)}\n"
        drawn = map_content(target, max(self.size.width - 2, 20))
        self.query_one("#disk", Static).update(Content.assemble((head, STRONG), (now, QUIET), drawn))

    def _show(self, sanitize: Plan | RescueError | None) -> None:
        if self._flow.target is not None:
            self.query_one(Choices).show(wipe_choices(self._flow.target.disk, sanitize))

    @on(Choices.OptionSelected)
    def _chosen(self, event: Choices.OptionSelected) -> None:
        method = _METHODS[event.option_id or "quick"]
        self.rescue.push_screen(ReviewScreen(replace(self._flow, wipe=WipeRequest(method))))
