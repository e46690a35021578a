"""Power off, restart, leave the program: one question, its harmless answer first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rescue.tui.dialogs import Question

if TYPE_CHECKING:
    from rescue.tui.app import RescueApp


def ask_to_leave(app: RescueApp) -> None:
    """Ask, and do it."""
    if isinstance(app.screen, Question):
        return
    warning = ""
    if app.running:
        warning = "A job is running. Restarting or switching off now stops it; what it writes is then not complete."

    def answered(answer: str | None) -> None:
        match answer:
            case "poweroff" | "reboot":
                app.in_thread(partial(app.machine.power, answer), lambda _: None, app.say_failed)
            case "leave":
                app.exit()

    app.push_screen(
        Question(
            "Power off",
            "Remove the rescue stick when the screen is dark, so that the computer starts from its own disk.",
            [
                ("stay", "Go back"),
                ("reboot", "Restart this computer"),
                ("poweroff", "Switch this computer off"),
                ("leave", "Leave this program (jobs go on)"),
            ],
            warning=warning,
        ),
        answered,
    )
