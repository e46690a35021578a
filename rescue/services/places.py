"""Local file systems that may hold images: which there are, and mounting them on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from rescue.devices.kernel import Kernel
from rescue.errors import ProgramError, RescueError
from rescue.model.survey import DiskSurvey, Place
from rescue.system.run import run

_MOUNTS: Final = Path("/run/rescue/places")

# libblkid's word -> the kernel's driver, and what makes it leave the disk alone when mounted for reading: no journal replay.
_DRIVERS: Final = {
    "ext2": ("ext4", "noload"),
    "ext3": ("ext4", "noload"),
    "ext4": ("ext4", "noload"),
    "xfs": ("xfs", "norecovery"),
    "btrfs": ("btrfs", "rescue=nologreplay"),
    "ntfs": ("ntfs3", ""),
    "exfat": ("exfat", ""),
    "vfat": ("vfat", ""),
}


def filesystem_of(folder: Path, kernel: Kernel) -> str:
    """The kernel's word for the file system that a folder is on; "" when no mount has its device number."""
    number = os.stat(folder).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    return next((mount.filesystem for mount in kernel.mounts() if mount.device == device), "")


def find_places(surveys: Sequence[DiskSurvey], kernel: Kernel) -> list[Place]:
    """The file systems that can be mounted, on all disks but the rescue medium."""
    mounted = {kernel.name_of(m.device) or kernel.name_of_node(m.source): m.point for m in reversed(kernel.mounts())}
    found = []
    for survey in surveys:
        if survey.is_rescue_medium or survey.unreadable:
            continue
        for volume in survey.volumes:
            if volume.identity.type not in _DRIVERS:
                continue
            name = partition_name(survey.disk.path.removeprefix("/dev/"), volume.partition)
            found.append(
                Place(
                    device=f"/dev/{name}",
                    label=volume.identity.label,
                    filesystem=volume.identity.type,
                    size=volume.size,
                    disk=survey.disk,
                    folder=mounted.get(name, ""),
                    point=str(mount_point(f"/dev/{name}")),
                )
            )
    return found


def partition_name(disk: str, number: int) -> str:
    """The kernel's name of a partition: ``sda1``, ``nvme0n1p1``; of the disk itself for number 0."""
    if not number:
        return disk
    return f"{disk}p{number}" if disk[-1:].isdigit() else f"{disk}{number}"


def mount_point(device: str) -> Path:
    """Where the file system on a device node is mounted."""
    return _MOUNTS / device.removeprefix("/dev/").replace("/", "-")


class MountedPlace:
    """A place, mounted as long as the context lasts; one that was mounted already is used as it is, and left so."""

    def __init__(self, place: Place, writable: bool) -> None:
        self._place = place
        self._writable = writable
        self._mounted: Path | None = None

    def __enter__(self) -> Path:
        place = self._place
        if place.folder:
            return self._checked(Path(place.folder))
        folder = mount_point(place.device)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.path.ismount(folder):
            # Left by a program that died, or in use by a job of it.
            self._mounted = folder
            return self._checked(folder)
        driver, quiet = _DRIVERS[place.filesystem]
        options = ["rw" if self._writable else "ro", "nosuid", "nodev", "noexec"]
        if quiet and not self._writable:
            options.append(quiet)
        try:
            run(["mount", "-t", driver, "-o", ",".join(options), "--", place.device, str(folder)])
        except ProgramError as error:
            hint = _HINTS.get(place.filesystem, "Check it on its own computer.") if self._writable else ""
            raise RescueError(f"{place.title} cannot be opened: {error.message}", hint) from error
        self._mounted = folder
        return folder

    def _checked(self, folder: Path) -> Path:
        if not self._writable or not os.statvfs(folder).f_flag & os.ST_RDONLY:
            return folder
        if self._mounted is None:
            raise RescueError(
                f"{self._place.title} is mounted read-only at {folder}.", "Mount it for writing, or choose another."
            )
        run(["mount", "-o", "remount,rw", "--", str(folder)])
        return folder

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._mounted is None:
            return
        # 32: busy. A job still works there; the next one who opens the place uses the mount again and takes it down.
        if run(["umount", "--", str(self._mounted)], ok=(0, 32)).code == 0:
            self._mounted.rmdir()
        self._mounted = None


_HINTS: Final = {
    "ntfs": "If Windows was not shut down completely, start it, hold Shift and choose Shut down; then try again.",
}
