"""The files of a volume that only the kernel can read (btrfs, f2fs), by mounting it over a throw-away overlay."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from rescue.engine.exports import Export, exported
from rescue.engine.overlay import SourceBlocks
from rescue.errors import ProgramError, RescueError, SourceReadError, UnsupportedError
from rescue.filesystems.files.mounted import MountedTree
from rescue.images.view import ImageView
from rescue.model.source import Source
from rescue.model.volume import Volume
from rescue.system.mounts import in_private_mounts, mounted
from rescue.system.run import run

# The top of a btrfs, where all its subvolumes are, whichever of them is mounted by default. Mounted read-only over an overlay,
# f2fs may roll forward, and btrfs leaves its log alone.
MOUNTED: Final[dict[str, tuple[str, ...]]] = {"btrfs": ("ro", "rescue=nologreplay", "subvolid=5"), "f2fs": ("ro",)}


@contextmanager
def mounted_files(source: Source, volume: Volume) -> Iterator[MountedTree]:
    """The files of a volume of ``source`` (an ImageView, a disk), which is never written.

    The mount is seen by nobody else and goes with this process. Raises UnsupportedError without root or a driver; what is wrong
    below (a damaged place of the image, a medium that does not give it) as that; ProgramError when it cannot be mounted.
    """
    if os.geteuid() != 0:
        raise UnsupportedError(
            f"Files on {volume.identity.type} are read by mounting it, which only root may.", "Run it with sudo."
        )
    opened: SimpleQueue[MountedTree | BaseException] = SimpleQueue()
    done = Event()

    def hold() -> None:
        with ExitStack() as stack:
            opened.put(_opened(source, volume, stack))
            done.wait()

    def apart() -> None:
        try:
            in_private_mounts(hold)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            opened.put(error)

    thread = Thread(target=apart, name="mounted-files", daemon=True)
    thread.start()
    try:
        found = opened.get()
        if isinstance(found, BaseException):
            raise found
        with found:
            yield found
    finally:
        done.set()
        thread.join()


def _opened(source: Source, volume: Volume, stack: ExitStack) -> MountedTree:
    blocks = source if isinstance(source, ImageView) else SourceBlocks(source)
    export = stack.enter_context(exported(blocks))
    kind = volume.identity.type
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rescue-")))
    try:
        layer = stack.enter_context(export.overlay(volume.start, volume.end))
        device = stack.enter_context(export.as_volume(layer))
        try:
            stack.enter_context(mounted(device, folder, kind, MOUNTED[kind]))
        except ProgramError as error:
            if kind != "btrfs" or "File exists" not in error.message:
                raise
            # The kernel tells btrfs apart by their UUIDs, and the one that was imaged is mounted: the overlay gets another.
            run(["btrfstune", "-f", "-m", device])
            stack.enter_context(mounted(device, folder, kind, MOUNTED[kind]))
        if kind == "btrfs":
            # It remembers every device of a btrfs that it saw; this one goes before the next is asked for.
            stack.callback(run, ["btrfs", "device", "scan", "--forget"], ok=range(256))
    except ProgramError as error:
        if export.error is not None:
            raise export.error from error
        raise
    return MountedTree(folder, kind, lambda error: _cause(error, export))


def _cause(error: RescueError, export: Export) -> RescueError:
    """What was behind an error of the kernel: the damaged place of the image, or what its medium or the disk did not give."""
    below = export.last_error
    if below is None:
        return error
    message = f"{error.message} {below.message}"
    if isinstance(below, SourceReadError):
        return SourceReadError(message, below.offset, below.length, below.hint)
    return type(below)(message, below.hint)
