"""This program's own commands, timed through its command line, as a person would give them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.memory import MemoryWatch
from rescue.errors import RescueError
from rescue.system.run import run

RESCUE = Path(sys.executable).parent / "rescue"
_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class OurResult:
    """Seconds of the whole command, start of Python included; bytes of the image; peak memory of its processes in bytes."""

    seconds: float
    size: int
    memory: int


def _timed(arguments: Sequence[str], image: Path | None = None) -> OurResult:
    with MemoryWatch() as watch:
        began = time.perf_counter()
        run([str(RESCUE), *arguments], timeout=_TIMEOUT)
        seconds = time.perf_counter() - began
    return OurResult(seconds, image.stat().st_size if image else 0, watch.peak)


def image_in(folder: Path) -> Path:
    """The one image that a backup left in a folder. Raises RescueError when there is none, or more than one."""
    images = [path for path in folder.iterdir() if path.is_file() and path.name.endswith(".img.zst")]
    if len(images) != 1:
        raise RescueError(f"{folder} holds {len(images)} images after the backup, and should hold one.")
    return images[0]


def backup(source: Path, folder: Path) -> OurResult:
    """Back the disk up into an empty folder, without the proof: the peer's pipeline has none either."""
    result = _timed(["backup", str(source), str(folder), "--no-verify", "--progress", "none", "--yes"])
    return OurResult(result.seconds, image_in(folder).stat().st_size, result.memory)


def restore(image: Path, target: Path, *, proof: bool) -> OurResult:
    """Restore the image onto a file of the disk's size that exists; with or without reading back what was written."""
    options = ["--progress", "none", "--yes"] + ([] if proof else ["--no-verify"])
    return _timed(["restore", str(image), str(target), *options], image)


def verify(image: Path) -> OurResult:
    """Read and hash everything that the image holds."""
    return _timed(["verify", str(image), "--progress", "none"], image)
