"""Rescue's screens as a person on the serial console uses them: reads what is shown, presses keys, never sleeps."""

from __future__ import annotations

import re

from rescue.errors import RescueError
from tests.vm.console import GuestTimeoutError
from tests.vm.qemu import Machine

_STEP = 60.0  # seconds for one screen to follow another; emulation on a busy machine is slow
_HOME = r"Disks of this computer"
_MARK = "▸"  # in the first column: the entry that Enter takes


class ScreenError(RescueError):
    """The program shows something else than what it should; the message holds the screen."""


class Tui:
    """The interface on the serial console of a machine that runs the ISO. Every screen passed is kept as a screenshot."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._console = machine.console

    def wait_for_home(self, timeout: float = 240.0) -> None:
        """Wait for the first screen, disks listed."""
        self._console.wait_for_text(_HOME, timeout)
        self._console.wait_while_text("Looking for disks", _STEP)
        self._shot("home")

    def wait_for_disk(self, serial: str, timeout: float = _STEP) -> None:
        """Wait until Home shows the disk."""
        self._console.wait_for_text(re.escape(serial), timeout)

    def wait_for_disk_gone(self, serial: str, timeout: float = _STEP) -> None:
        """Wait until Home no longer shows the disk."""
        self._console.wait_while_text(re.escape(serial), timeout)

    def help(self) -> str:
        """Open the help of the screen at hand, return its text, close it again."""
        self._console.send_keys("<f1>")
        self._console.wait_for_text(r"\[ Close \]", _STEP)
        text = self._console.screen_text()
        self._shot("help")
        self._console.send_keys("<esc>")
        self._console.wait_while_text(r"\[ Close \]", _STEP)
        return text

    def back_up(self, source: str, place: str, timeout: float) -> str:
        """From Home: image the disk with the serial ``source`` onto the place labelled ``place``; the text of the last screen."""
        self._console.send_keys("b")
        self._console.wait_for_text("Back up: Which disk", _STEP)
        self._choose(source, "backup-source")
        self._console.wait_for_text("Where to put the backup", _STEP)
        self._choose(place, "backup-place")
        self._console.wait_for_text("Back up: How", _STEP)
        self._shot("backup-options")
        self._console.send_keys("<enter>")
        self._review("Back up", r"\[ Start the backup \]")
        # Keys that come in one breath all go to what has the focus at first, which is Cancel.
        plain = self._console.colours("[ Start the backup ]")
        self._console.send_keys("<right>")
        self._console.wait_for_other_colours("[ Start the backup ]", plain, _STEP)
        self._console.send_keys("<enter>")
        return self._run("Backing up", "Back up", timeout)

    def restore(self, place: str, image: str, target: str, timeout: float) -> str:
        """From Home: put the image whose entry shows ``image`` onto the disk ``target`` (a serial); the last screen's text."""
        self._console.send_keys("r")
        self._console.wait_for_text("Where are your backups", _STEP)
        self._choose(place, "restore-place")
        self._console.wait_for_text("Restore: Which image", _STEP)
        self._choose(image, "restore-image")
        self._console.wait_for_text("Restore: Onto which disk", _STEP)
        self._choose(target, "restore-target")
        self._console.wait_for_text("Restore: (Fit the partitions|Review)", _STEP)
        if "Fit the partitions" in self._console.screen_text():
            # The disks differ in size: what is proposed is taken.
            self._console.wait_for_text("It fits", _STEP)
            self._shot("restore-fit")
            self._console.send_keys("<enter>")
        self._review("Restore", "This will be erased|blank|What will be done")
        self._refuse_wrong_serial(target)
        self._console.send_keys(target[-4:])
        self._console.wait_for_text("Enter starts", _STEP)
        self._shot("restore-confirmed")
        self._console.send_keys("<enter>")
        return self._run("Restoring", "Restore", timeout)

    def go_home(self) -> None:
        """From the last screen of a job back to Home."""
        self._console.send_keys("<enter>")
        self._console.wait_for_text(_HOME, _STEP)

    def _refuse_wrong_serial(self, target: str) -> None:
        wrong = "0000" if target[-4:] != "0000" else "1111"
        # Cancel has the focus; Tab wraps round to the field, as the start button cannot be reached yet.
        self._console.send_keys("<tab>")
        self._console.wait_for_cursor("Last four characters", _STEP)
        self._console.send_keys(wrong)
        self._console.wait_for_text("not this disk", _STEP)
        self._shot("restore-wrong-serial")
        self._console.send_keys("<backspace>" * len(wrong))
        self._console.wait_while_text("not this disk", _STEP)

    def _choose(self, wanted: str, shot: str) -> None:
        """Move the mark to the entry whose first line shows ``wanted``, and take it."""
        self._console.wait_for_text(re.escape(wanted), _STEP)
        self._console.wait_for_text(f"^{_MARK}", _STEP)
        tried: list[str] = []
        while wanted not in (marked := self._marked()):
            if marked in tried:
                raise ScreenError(f"{wanted!r} cannot be chosen:\n{self._console.screen_text()}")
            tried.append(marked)
            self._console.send_keys("<down>")
            self._console.wait_while_text(f"^{re.escape(marked)}$", _STEP)
        self._shot(shot)
        self._console.send_keys("<enter>")

    def _marked(self) -> str:
        return next((line for line in self._console.screen_text().splitlines() if line.startswith(_MARK)), "")

    def _review(self, name: str, ready: str) -> None:
        self._console.wait_for_text(f"{name}: Review", _STEP)
        self._console.wait_while_text("Making the plan", _STEP)
        if "This cannot be done" in self._console.screen_text():
            raise ScreenError(f"Refused:\n{self._console.screen_text()}")
        self._console.wait_for_text(ready, _STEP)
        self._shot(f"{name.lower().replace(' ', '')}-review")

    def _run(self, running: str, name: str, timeout: float) -> str:
        self._console.wait_for_text(rf"{running}|{name}: (Done|Failed|Stopped)", _STEP)
        self._shot(f"{running.lower().replace(' ', '-')}")
        try:
            self._console.wait_for_text(rf"{name}: (Done|Failed|Stopped)", timeout)
        except GuestTimeoutError:
            self._shot("not-done")
            raise
        self._console.wait_until_still(_STEP)
        self._shot(f"{name.lower().replace(' ', '')}-done")
        text = self._console.screen_text()
        if f"{name}: Done" not in text or "Done, and proved" not in text:
            raise ScreenError(f"{name} did not end well:\n{text}")
        return text

    def _shot(self, name: str) -> None:
        self._console.wait_until_still(_STEP)
        self._machine.screenshot(name)
