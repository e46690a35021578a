"""Loop devices with an offset and a size limit, and mounts, as context managers: no kernel partition scanning is needed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescue.errors import ProgramError
from rescue.system.run import run


@contextmanager
def loop_device(path: Path, start: int, size: int, *, read_only: bool = False) -> Iterator[str]:
    """A loop device over bytes ``[start, start + size)`` of a file; the node's path. Raises ProgramError when none is free."""
    command = ["losetup", "--find", "--show", "--offset", str(start), "--sizelimit", str(size)]
    node = run([*command, *(["--read-only"] if read_only else []), str(path)]).text.strip()
    try:
        yield node
    finally:
        run(["losetup", "--detach", node])


@contextmanager
def mounted(node: str, where: Path, kind: str, options: str = "noatime") -> Iterator[Path]:
    """A file system mounted at ``where``; unmounted at the end, with patience for what still holds it for a moment."""
    where.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", kind, "-o", options, node, str(where)])
    try:
        yield where
    finally:
        for attempt in range(10):
            try:
                run(["umount", str(where)], timeout=300)
                break
            except ProgramError:
                if attempt == 9:
                    raise
                time.sleep(1)
