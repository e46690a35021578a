"""What a process leaves in a folder that dies anywhere inside of the store's code, without a chance to clean up."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from blake3 import blake3

_TRACED = ("/rescue/stores/", "/rescue/jobs/removing")
_TICK: Final = 20_000_000  # ns: longer than the kernel takes to count on the time of a change


def deaths(folder: Path, action: Callable[[], object], left: Path) -> Iterator[Path]:
    """Run ``action``, and keep in ``left`` what ``folder`` holds at each of its lines; then yield these, one after the other.

    Nothing of a process outlives it but its files: so what they are at a line is what a death at that line leaves. Lines that
    changed nothing are one with those before them. What is yielded may be changed.
    """
    kept: list[Path] = []
    last: object = None

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal last
        if not any(part in frame.f_code.co_filename for part in _TRACED):
            return None
        if event == "line" and (now := _state(folder)) != last:
            last = now
            kept.append(left / f"{len(kept):04}")
            shutil.copytree(folder, kept[-1], symlinks=True)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    for state in kept:
        yield state
        shutil.rmtree(state)


def _state(folder: Path) -> list[tuple[object, ...]]:
    """What tells two states of a folder apart: names, sizes, times; of what was changed just now its content as well."""
    found: list[tuple[object, ...]] = []
    now = time.time_ns()
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        facts = entry.stat(follow_symlinks=False)
        fresh = entry.is_file(follow_symlinks=False) and now - facts.st_mtime_ns < _TICK
        content = blake3(Path(entry.path).read_bytes()).digest() if fresh else b""
        found.append((entry.name, facts.st_ino, facts.st_size, facts.st_mtime_ns, content))
    return found
