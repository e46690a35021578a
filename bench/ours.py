"""This program's own commands, timed through its command line, as a person would give them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from compileall import compile_dir
from dataclasses import dataclass
from pathlib import Path

import rescue
from bench.archives import size_of
from bench.memory import MemoryWatch
from rescue.errors import RescueError
from rescue.planning.names import OTHER_SUFFIX, SUFFIX
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


def compile_program() -> None:
    """Store the program's bytecode, as the ISO and an installation have it: else each start may compile all of it."""
    compile_dir(Path(rescue.__file__).parent, quiet=1)


def image_in(folder: Path) -> Path:
    """The one image that a backup left in a folder. Raises RescueError when there is none, or more than one."""
    images = [path for path in folder.iterdir() if path.is_file() and path.name.endswith((SUFFIX, OTHER_SUFFIX))]
    if len(images) != 1:
        raise RescueError(f"{folder} holds {len(images)} images after the backup, and should hold one.")
    return images[0]


def _secret(passphrase: Path | None) -> list[str]:
    return [] if passphrase is None else ["--passphrase-file", str(passphrase)]


def backup(source: Path, folder: Path, *, passphrase: Path | None = None) -> OurResult:
    """Back the disk up into an empty folder, without the proof: the peer's pipeline has none either.

    With a file that holds a passphrase the image is encrypted.
    """
    secret = ["--encrypt", *_secret(passphrase)] if passphrase else []
    result = _timed(["backup", str(source), str(folder), "--no-verify", "--progress", "none", "--yes", *secret])
    return OurResult(result.seconds, image_in(folder).stat().st_size, result.memory)


def incremental(source: Path, folder: Path, name: str) -> OurResult:
    """Add an incremental image to a folder that holds the full one; its size is that of all files that appeared."""
    before = size_of(folder)
    options = ["--kind", "incremental", "--parent", "auto", "--name", name, "--no-verify", "--progress", "none", "--yes"]
    result = _timed(["backup", str(source), str(folder), *options])
    return OurResult(result.seconds, size_of(folder) - before, result.memory)


def restore(image: Path, target: Path, *, proof: bool, delta: bool | None = None, passphrase: Path | None = None) -> OurResult:
    """Restore the image onto a file of the disk's size that exists; with or without reading back what was written.

    ``delta``: whether only what differs is written; None leaves it to the program.
    """
    options = ["--progress", "none", "--yes"] + ([] if proof else ["--no-verify"])
    if delta is not None:
        options.append("--delta" if delta else "--no-delta")
    return _timed(["restore", str(image), str(target), *options, *_secret(passphrase)], image)


def clone(source: Path, target: Path, *, proof: bool) -> OurResult:
    """Clone the disk onto a file that exists, smaller or not; with or without reading back what was written."""
    return _timed(["clone", str(source), str(target), "--progress", "none", "--yes", *([] if proof else ["--no-verify"])])


def extract(image: Path, partition: int, path: str, folder: Path) -> OurResult:
    """Copy one file (``path`` is absolute inside of the partition) out of an image into a folder."""
    return _timed(["extract", str(image), f"{partition}:{path}", str(folder)], image)


def verify(image: Path) -> OurResult:
    """Read and hash everything that the image holds."""
    return _timed(["verify", str(image), "--progress", "none"], image)
