"""Processes as the kernel sees them."""

from __future__ import annotations

import contextlib
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    for children in Path("/proc").glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):
            found += map(int, children.read_text().split())
    return found
