"""Loop devices and mounts for tests, undone whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rescue.system.run import run


@contextmanager
def attached(path: Path | str, *options: str) -> Iterator[str]:
    """A loop device on a file, with losetup's options; its partitions, if somebody added any, go with it."""
    device = run(["losetup", "--find", "--show", *options, str(path)]).text.strip()
    try:
        yield device
    finally:
        run(["partx", "--delete", device], ok=(0, 1))
        run(["losetup", "--detach", device])


@contextmanager
def mounted(device: str, point: Path, *options: str) -> Iterator[Path]:
    """A device mounted at a folder that is made for it."""
    point.mkdir(exist_ok=True)
    run(["mount", *options, device, str(point)])
    try:
        yield point
    finally:
        run(["umount", str(point)])


def sparse(path: Path, size: int) -> Path:
    """A file of ``size`` bytes, all holes."""
    with path.open("wb") as file:
        file.truncate(size)
    return path
