"""From the name that a person gives to the Disk: a node, a by-id name, ``serial:…`` or a plain file."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from rescue.devices.kernel import Kernel
from rescue.devices.table import guess_sector_size
from rescue.devices.udev import describe, list_disks, udev_properties
from rescue.errors import RescueError, UsageError
from rescue.model.disk import Disk
from rescue.system.blockfile import FileSource

_HINT = "“rescue disks” shows the disks of this machine."
_BY_ID = Path("/dev/disk/by-id")


def by_serial(disks: Sequence[Disk], serial: str) -> Disk:
    """The one disk with this serial number, capitals or not. Raises UsageError when there is none, or more than one."""
    found = [disk for disk in disks if serial.strip() and disk.serial.casefold() == serial.strip().casefold()]
    if not found:
        raise UsageError(f"There is no disk with the serial number {serial!r}.", _HINT)
    if len(found) > 1:
        paths = " and ".join(disk.path for disk in found)
        raise UsageError(f"{paths} have the same serial number {serial!r}.", "Name the disk by its path.")
    return found[0]


def file_disk(path: str) -> Disk:
    """A plain file that holds a raw disk; its sector size is what its GPT says. Raises UsageError, RescueError."""
    real = os.path.realpath(path)
    with FileSource(real) as source:
        if source.size == 0:
            raise UsageError(f"{path} is an empty file, not a disk.", "Give the file of a raw disk image, or a disk.")
        if source.size % 512:
            raise UsageError(f"{path} is not a raw disk: its size, {source.size} bytes, is no whole number of sectors.")
        sector_size = guess_sector_size(source)
        size = source.size
    return Disk(
        path=real,
        size=size,
        logical_sector_size=sector_size,
        physical_sector_size=sector_size,
        transport="file",
        read_only=not os.access(real, os.W_OK),
        is_file=True,
    )


def _device_disk(path: str, number: int) -> Disk:
    kernel = Kernel()
    name = kernel.name_of(f"{os.major(number)}:{os.minor(number)}")
    if not name:
        raise UsageError(f"{path} is a device that the system does not know.", _HINT)
    if parent := kernel.parent(name):
        raise UsageError(
            f"{path} is a partition of the disk /dev/{parent}, not a disk.",
            f"Name the whole disk: /dev/{parent}.",
        )
    disk = describe(kernel, name, udev_properties().get(name, {}))
    if disk.size == 0:
        raise UsageError(f"{path} is empty: there is no medium in it, or nothing is attached to it.", _HINT)
    return disk


def resolve(name: str) -> Disk:
    """The disk that a person named. Raises UsageError that says what the name is instead; RescueError."""
    if name.startswith("serial:"):
        return by_serial(list_disks(), name.removeprefix("serial:"))
    try:
        status = os.stat(name)
    except OSError as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise UsageError(f"There is no disk and no file named {name}.", _HINT) from error
        raise RescueError(f"{name} cannot be looked at: {error.strerror}.") from error
    if stat.S_ISBLK(status.st_mode):
        return _device_disk(name, status.st_rdev)
    if stat.S_ISREG(status.st_mode):
        return file_disk(name)
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{name} is a folder, not a disk.", _HINT)
    raise UsageError(f"{name} is neither a disk nor a file.", _HINT)


def names_of(disk: Disk, by_id: Path = _BY_ID) -> tuple[str, ...]:
    """The names by which a disk can be given that stay the same at the next boot: ``serial:…``, then its by-id paths."""
    links = sorted(by_id.iterdir()) if not disk.is_file and by_id.is_dir() else []
    same = tuple(str(link) for link in links if os.path.realpath(link) == os.path.realpath(disk.path))
    return ((f"serial:{disk.serial}",) if disk.serial else ()) + same
