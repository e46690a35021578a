"""The file systems of an image mounted in folders, for people to look into. The image itself is never written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from rescue.engine.exports import exported
from rescue.engine.inner import inner_volumes
from rescue.engine.mounting import DRIVERS, Driver
from rescue.engine.overlay import SourceBlocks
from rescue.errors import ProgramError, RefusedError, RescueError, UnsupportedError, UsageError
from rescue.images.chain import Chain
from rescue.images.view import ImageView
from rescue.model.source import Source
from rescue.model.volume import Volume
from rescue.system.mounts import mounted
from rescue.system.run import run

_NO_KEYS: Final[Mapping[str, bytes]] = {}
_NAME_LIMIT: Final = 200  # a file name may have 255 bytes


class Shown(msgspec.Struct, frozen=True):
    """A volume of the image: mounted at ``folder``, or with ``problem`` why it is not."""

    partition: int
    filesystem: str
    folder: str = ""
    problem: str = ""
    name: str = ""  # of a volume in a container: "vg0/root"


class Inside(msgspec.Struct, frozen=True):
    """What is mounted, and the folder with what holds it."""

    volumes: tuple[Shown, ...]
    workspace: Path


@contextmanager
def mounted_image(
    chain: Chain,
    folder: Path,
    *,
    partitions: Collection[int] = (),
    writable: bool = False,
    keys: Mapping[str, bytes] = _NO_KEYS,
) -> Iterator[Inside]:
    """Mount every file system of the image (or those of ``partitions``) at ``folder/1``, ``folder/2``, …; 0: no partition.

    One in a container is at ``folder/2-vg0-root``; ``keys`` open encrypted ones (volume keys by UUID).
    Each is over an overlay of its own that takes what mounting writes (a journal that is replayed) and, when ``writable``,
    what people write; it is thrown away. The folders are removed at the end. Raises RefusedError when the folder is not
    empty or without root, UsageError for a partition that the image does not have; what cannot be mounted is told, not raised.
    """
    if os.geteuid() != 0:
        raise RefusedError("Only root can mount.", "Run it with sudo, or use rescue ls and rescue extract.")
    volumes = chain.manifest.volumes
    unknown = sorted(set(partitions) - {volume.partition for volume in volumes})
    if unknown:
        known = ", ".join(str(volume.partition) for volume in volumes) or "none"
        raise UsageError(f"{chain.path} holds no partition {unknown[0]}.", f"It holds: {known}.")
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        if any(folder.iterdir()):
            raise RefusedError(f"{folder} is not empty.", "Name an empty or a new folder.")
        view = ImageView(chain)
        with exported(view) as disk, ExitStack() as stack:

            def show(volume: Volume, name: str = "", source: Source | None = None) -> Shown:
                driver = DRIVERS.get(volume.identity.type)
                what = volume.identity.type or "unknown content"
                if driver is None:
                    return Shown(volume.partition, what, "", f"There is no file system to mount ({what}).", name)
                with ExitStack() as steps:
                    point = _new_point(folder, volume.partition, name)
                    steps.callback(point.rmdir)
                    export = steps.enter_context(exported(SourceBlocks(source))) if source else disk
                    try:
                        layer = steps.enter_context(export.overlay(volume.start, volume.end))
                        device = steps.enter_context(export.as_volume(layer))
                        steps.enter_context(mounted(device, point, driver.driver, _options(driver, device, writable)))
                    except (ProgramError, UnsupportedError) as error:
                        return Shown(volume.partition, what, "", _why(error, lambda: export.error), name)
                    stack.enter_context(steps.pop_all())
                return Shown(volume.partition, what, str(point), "", name)

            shown: list[Shown] = []
            for volume in volumes:
                if partitions and volume.partition not in partitions:
                    continue
                inner = inner_volumes(view, volumes, volume.partition, keys)
                shown += [show(found.volume, found.name, found.source) for found in inner] or [show(volume)]
            yield Inside(tuple(shown), disk.socket.parent)
    finally:
        if made:
            folder.rmdir()


def _new_point(folder: Path, partition: int, name: str) -> Path:
    """A folder to mount at. The name is a stranger's: nothing in it leads elsewhere."""
    wanted = f"{partition}-{name}" if name else str(partition)
    plain = re.sub(r"[^A-Za-z0-9+_.-]", "_", wanted.replace("/", "-"))[:_NAME_LIMIT]
    for number in count(1):
        point = folder / (plain if number == 1 else f"{plain}~{number}")
        with suppress(FileExistsError):
            point.mkdir()
            break
    return point


def _options(driver: Driver, device: str, writable: bool) -> list[str]:
    if not writable:
        return list(driver.options)
    if driver.driver == "btrfs":
        # The kernel finds the devices of a btrfs by its UUID, and must never take the source for the overlay.
        run(["btrfstune", "-f", "-m", device])
        return ["rw"]
    return ["rw", *(option for option in driver.options if option != "ro")]


def _why(error: RescueError, behind: Callable[[], RescueError | None]) -> str:
    """What a program said, and what was really wrong when the image could not be read."""
    cause = behind()
    return f"{error.message} {cause.message}" if cause else error.message
