"""A range of a file or disk as a read-only block device, for programs that take nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rescue.system.run import run


@contextmanager
def loop_device(path: str, *, offset: int, size: int) -> Iterator[str]:
    """Attach ``size`` bytes at ``offset`` (both multiples of 512) of ``path`` read-only; give the node; always detach.

    Raises ProgramError: no loop device is left, or no right to use one.
    """
    range_ = ["--offset", str(offset), "--sizelimit", str(size)]
    node = run(["losetup", "--find", "--show", "--read-only", *range_, path]).text.strip()
    try:
        yield node
    finally:
        run(["losetup", "--detach", node])
