"""Follows a job from the terminal: shows how it goes, passes on that it shall stop, and turns its verdict into an exit code."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Literal, TextIO, TypeAlias, assert_never

import msgspec

from rescue.cli.json_text import json_text
from rescue.cli.text import cut
from rescue.model.progress import Event, Finished, Message, Progress
from rescue.model.text import shown, shown_lines
from rescue.services import Job
from rescue.units import human_duration, human_rate, human_size

ProgressStyle: TypeAlias = Literal["bar", "json", "none"]

_POLL = 0.1
_BAR = 20


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended, and whether it had begun its first step."""

    finished: Finished
    began: bool


def follow(start: Callable[[], Job], style: ProgressStyle, stderr: TextIO) -> Outcome:
    """Start a job and show its events until it has ended. SIGINT and SIGTERM ask it to stop; it is waited for."""
    shown = _View(style, stderr)
    began = False
    with _stop_requests() as stop_wanted:
        job = start()
        asked = 0
        while True:
            if stop_wanted() > asked:
                asked = stop_wanted()
                job.cancel()
                shown.say("Stopping…")
            for event in job.events():
                began = began or isinstance(event, Progress)
                if isinstance(event, Finished):
                    shown.end()
                    return Outcome(event, began)
                shown.show(event)
            job.pause(_POLL)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], int]]:
    """Count SIGINT and SIGTERM instead of dying of them."""
    count = 0

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1

    before = [(number, signal.signal(number, note)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield lambda: count
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def progress_line(progress: Progress, width: int) -> str:
    """One line: ``[######--------------]  31 %  Write the data, 2.7 of 8.7 GiB, 612.4 MiB/s, 14 s left``."""
    if not progress.total:
        return cut(f"{progress.step}: starting", width)
    share = progress.done / progress.total
    filled = int(share * _BAR)
    parts = [progress.step, f"{human_size(progress.done)} of {human_size(progress.total)}", human_rate(progress.rate)]
    if progress.eta:
        parts.append(f"{human_duration(progress.eta)} left")
    return cut(f"[{'#' * filled}{'-' * (_BAR - filled)}] {int(share * 100):3d} %  {', '.join(parts)}", width)


class _View:
    def __init__(self, style: ProgressStyle, stderr: TextIO) -> None:
        self._style: ProgressStyle = style
        self._stderr = stderr
        self._step = -1
        self._open = False  # whether the cursor is in a line with a bar

    def show(self, event: Event) -> None:
        """Show progress or a message in the style that was asked for."""
        match event:
            case Progress():
                self._progress(event)
            case Message():
                if self._style == "json":
                    self._json({"level": event.level, "message": event.text})
                else:
                    text = shown_lines(event.text)
                    self.say(f"Warning: {text}" if event.level == "warning" else text)
            case Finished():
                pass
            case _:
                assert_never(event)

    def _progress(self, event: Progress) -> None:
        match self._style:
            case "bar":
                if event.index != self._step:
                    self.end()
                    self._step = event.index
                width = shutil.get_terminal_size().columns - 1
                self._stderr.write("\r" + progress_line(event, width).ljust(width))
                self._open = True
                self._stderr.flush()
            case "json":
                self._json({"step": event.step, "done": event.done, "total": event.total, "rate": event.rate, "eta": event.eta})
            case "none":
                pass
            case _:
                assert_never(self._style)

    def say(self, text: str) -> None:
        """A line for people, below the bar."""
        if self._style != "json":
            self.end()
            print(text, file=self._stderr, flush=True)

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._open:
            self._stderr.write("\n")
            self._stderr.flush()
            self._open = False

    def _json(self, value: dict[str, str | int | float]) -> None:
        print(json_text(value, indent=0), file=self._stderr, flush=True)


def report(outcome: Outcome, as_json: bool, more: Mapping[str, str] | None = None) -> int:
    """Say the verdict: success and JSON on standard output, the rest on standard error. The exit code.

    ``more`` are fields that the JSON has besides.
    """
    finished = outcome.finished
    if as_json:
        print(json_text({**msgspec.to_builtins(finished), **(more or {})}))
    if finished.state == "succeeded":
        if not as_json:
            print(shown(finished.message))
        return finished.exit_code
    print(f"rescue: {shown_lines(finished.message)}", file=sys.stderr)
    if finished.hint:
        print(shown_lines(finished.hint), file=sys.stderr)
    return finished.exit_code
