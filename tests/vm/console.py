"""One serial console of a machine: every byte is logged, a terminal emulator makes screen text of it, keys go back."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyte

from rescue.errors import RescueError

Found = TypeVar("Found")

_KEYS = {
    "enter": "\r",
    "esc": "\x1b",
    "tab": "\t",
    "backtab": "\x1b[Z",
    "space": " ",
    "backspace": "\x7f",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "delete": "\x1b[3~",
    "f1": "\x1bOP",
    "f2": "\x1bOQ",
    "f3": "\x1bOR",
    "f4": "\x1bOS",
    "f5": "\x1b[15~",
    "f6": "\x1b[17~",
    "f7": "\x1b[18~",
    "f8": "\x1b[19~",
    "f9": "\x1b[20~",
    "f10": "\x1b[21~",
    **{f"ctrl-{letter}": chr(ord(letter) & 0x1F) for letter in "abcdefghijklmnopqrstuvwxyz"},
}
_NAMED_KEY = re.compile(r"<([a-z0-9-]+)>")
_PANIC = re.compile(r"Kernel panic - not syncing|Oops: |BUG: unable to handle")
# Private-mode sequences such as the kitty keyboard protocol's, which pyte would print as text.
_PRIVATE = re.compile(r"\x1b\[[<=>][0-9;:]*[ -/]*[@-~]")
# Synchronized output: asked for support we say yes, and then every picture is drawn between these two. So what is
# looked at is always a whole picture, never half of the last one.
_FRAME_QUERY = "\x1b[?2026$p"
_FRAME_ANSWER = b"\x1b[?2026;2$y"
_FRAME_EDGE = re.compile(r"(\x1b\[\?2026[hl])")
_FRAME_START = "\x1b[?2026h"
_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*)?$")
_NO_COLOURS = ("", "", False)
_QUIET = 0.3  # seconds without output after which a screen counts as drawn


class GuestPanicError(RescueError):
    """The guest's kernel died, which multi-threaded emulation in QEMU 7.2 does once in about 15 boots."""


class GuestTimeoutError(RescueError):
    """What was waited for did not appear; the message holds what did."""


class _Screen(pyte.Screen):
    """A screen that answers the terminal's questions (cursor position, device attributes), as programs need to find the size."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], None]) -> None:
        self._answer = answer
        super().__init__(columns, lines)

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())


class Console:
    """A connected serial console with a terminal of 80×24 on it. A thread reads it until the machine ends.

    All times are seconds of ``clock``.
    """

    def __init__(
        self,
        name: str,
        connection: socket.socket,
        log: Path,
        *,
        columns: int = 80,
        lines: int = 24,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._clock = clock
        self._connection = connection
        self._log = log.open("ab")
        self._screen = _Screen(columns, lines, self.send)
        self._stream = pyte.ByteStream(self._screen)
        self._shown = ""
        self._cursor_line = ""
        self._in_frame = False
        self._changed = threading.Condition()
        self._raw = bytearray()
        self._pending = b""
        self._last_output = self._clock()
        self._closed = False
        self._reader = threading.Thread(target=self._read, name=f"console-{name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = self._connection.recv(65536)
            except OSError:
                data = b""
            with self._changed:
                if data:
                    self._log.write(data)
                    self._log.flush()
                    self._raw += data
                    self._feed(data)
                    self._last_output = self._clock()
                else:
                    self._closed = True
                self._changed.notify_all()
            if not data:
                return

    def _feed(self, data: bytes) -> None:
        text = (self._pending + data).decode("latin-1")
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        self._pending = text[cut:].encode("latin-1")
        text = text[:cut]
        if _FRAME_QUERY in text:
            self.send(_FRAME_ANSWER)
        for part in _FRAME_EDGE.split(text.replace(_FRAME_QUERY, "")):
            if _FRAME_EDGE.fullmatch(part):
                self._in_frame = part == _FRAME_START
            else:
                self._stream.feed(_PRIVATE.sub("", part).encode("latin-1"))
            if not self._in_frame:
                lines = [line.rstrip() for line in self._screen.display]
                self._shown = "\n".join(lines)
                self._cursor_line = lines[min(self._screen.cursor.y, len(lines) - 1)]

    @property
    def closed(self) -> bool:
        """Whether the machine has ended."""
        return self._closed

    def output(self, start: int = 0) -> str:
        """Everything printed since byte ``start``, escape sequences included."""
        with self._changed:
            return self._raw[start:].decode("utf-8", "replace")

    @property
    def position(self) -> int:
        """Bytes printed so far: a mark for ``output`` and ``wait_for_output``."""
        with self._changed:
            return len(self._raw)

    def screen_text(self) -> str:
        """What a person sees now: 24 lines, right-trimmed."""
        with self._changed:
            return self._shown

    def send(self, data: bytes) -> None:
        """Send bytes as they are. Raises GuestTimeoutError when the machine is gone."""
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise GuestTimeoutError(f"The machine behind console {self.name} has ended.") from error

    def send_keys(self, keys: str) -> None:
        """Type text; ``<enter> <up> <down> <left> <right> <esc> <tab> <f1> <ctrl-c>``… are keys, ``<lt>`` is the sign itself."""
        end = 0
        for found in _NAMED_KEY.finditer(keys):
            self.send(keys[end : found.start()].encode())
            self.send(b"<" if found[1] == "lt" else _KEYS[found[1]].encode())
            end = found.end()
        self.send(keys[end:].encode())

    def wait_for_text(self, pattern: str, timeout: float) -> re.Match[str]:
        """Wait until the screen shows ``pattern`` (a regular expression). Raises GuestTimeoutError, GuestPanicError."""
        compiled = re.compile(pattern, re.MULTILINE)
        return self._wait(lambda: compiled.search(self._shown), pattern, timeout)

    def wait_while_text(self, pattern: str, timeout: float) -> None:
        """Wait until the screen no longer shows ``pattern``."""
        compiled = re.compile(pattern, re.MULTILINE)
        self._wait(lambda: not compiled.search(self._shown) or None, f"not {pattern}", timeout)

    def wait_for_cursor(self, pattern: str, timeout: float) -> None:
        """Wait until the cursor stands in a line that shows ``pattern``: the field there takes what is typed."""
        compiled = re.compile(pattern)
        self._wait(lambda: compiled.search(self._cursor_line) or None, f"the cursor at {pattern}", timeout)

    def colours(self, text: str) -> tuple[str, str, bool]:
        """Foreground, background and reversal of the first character of ``text`` on the screen; empty ones if it is not there."""
        with self._changed:
            return self._colours(text)

    def wait_for_other_colours(self, text: str, before: tuple[str, str, bool], timeout: float) -> None:
        """Wait until ``text`` is drawn in other colours than ``before``: the focus came or went."""
        self._wait(lambda: self._colours(text) not in (before, _NO_COLOURS) or None, f"{text!r} in other colours", timeout)

    def _colours(self, text: str) -> tuple[str, str, bool]:
        for number, line in enumerate(self._screen.display if not self._in_frame else []):
            if (column := line.find(text)) >= 0:
                cell = self._screen.buffer[number][column]
                return cell.fg, cell.bg, cell.reverse
        return _NO_COLOURS

    def wait_for_output(self, pattern: str, timeout: float, start: int = 0) -> re.Match[str]:
        """Wait until ``pattern`` was printed since byte ``start``, even if it has scrolled away."""
        compiled = re.compile(pattern, re.MULTILINE)
        return self._wait(lambda: compiled.search(self._raw[start:].decode("utf-8", "replace")), pattern, timeout)

    def wait_until_still(self, timeout: float) -> None:
        """Wait until nothing was printed for a moment, so that a screen is drawn to its end."""
        self._wait(lambda: self._clock() - self._last_output >= _QUIET or None, "a still screen", timeout)

    def _wait(self, look: Callable[[], Found | None], what: str, timeout: float) -> Found:
        deadline = self._clock() + timeout
        with self._changed:
            while True:
                found = look()
                if found is not None:
                    return found
                self._complain(what, deadline, timeout)
                self._changed.wait(min(0.2, max(deadline - self._clock(), 0.01)))

    def _complain(self, what: str, deadline: float, timeout: float) -> None:
        recent = self._raw[-20000:].decode("utf-8", "replace")
        if panic := _PANIC.search(recent):
            raise GuestPanicError(f"The guest's kernel died: {recent[panic.start() : panic.start() + 400]}")
        if self._closed:
            raise GuestTimeoutError(
                f"The machine ended before console {self.name} showed {what!r}. Its last screen:\n{self._shown}"
            )
        if self._clock() >= deadline:
            raise GuestTimeoutError(f"Console {self.name} did not show {what!r} within {timeout:.0f} s. It shows:\n{self._shown}")

    def close(self) -> None:
        """Hang up and end the reader."""
        with contextlib.suppress(OSError):  # the machine may have hung up first
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._reader.join(5)
        self._log.close()
