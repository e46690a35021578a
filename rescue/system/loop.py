"""A range of a file or disk as a block device, for programs that take nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rescue.system.run import run


@contextmanager
def loop_device(path: str, *, offset: int, size: int, writable: bool = False, sector_size: int = 512) -> Iterator[str]:
    """Attach ``size`` bytes at ``offset`` (both multiples of 512) of ``path``, read-only unless ``writable``; give the node.

    It has sectors of ``sector_size`` bytes, and is always detached. Raises ProgramError: no loop device is left, or no
    right to use one.
    """
    range_ = ["--offset", str(offset), "--sizelimit", str(size)]
    mode = [] if writable else ["--read-only"]
    mode += [] if sector_size == 512 else ["--sector-size", str(sector_size)]
    node = run(["losetup", "--find", "--show", *mode, *range_, path]).text.strip()
    try:
        held = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        # While it is open this only marks it: the kernel detaches it with its last user, also when we are killed.
        run(["losetup", "--detach", node])
    try:
        yield node
    finally:
        os.close(held)
