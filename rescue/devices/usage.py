"""Who uses a disk: what is mounted from it and what stands on it, down to loop devices, arrays and opened containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rescue.devices.kernel import Kernel, Mount
from rescue.model.disk import Disk

_SECTOR = 512


class Node(msgspec.Struct, frozen=True):
    """A block device that stands on the bytes ``[start, end)`` of a disk. ``below`` is the device or file it stands on."""

    name: str
    start: int
    end: int
    below: str


class Mounted(msgspec.Struct, frozen=True):
    """The bytes ``[start, end)`` of a disk hold a file system, or a part of it, that is mounted at ``point``."""

    start: int
    end: int
    point: str


def same_file(one: str, other: str) -> bool:
    """Whether two paths are one file; by name where one of them is not there (any more)."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def kernel_name(disk: Disk) -> str:
    """The kernel's name of a disk; "" for a file."""
    return "" if disk.is_file else os.path.realpath(disk.path).removeprefix("/dev/")


def _loops_on(kernel: Kernel, path: str, start: int, end: int) -> Iterator[Node]:
    """The loop devices that were set up on the file or device ``path``, whose bytes are ``[start, end)`` of the disk."""
    for name, backing in kernel.loops():
        if same_file(backing, path):
            first = min(start + kernel.number(name, "loop/offset"), end)
            limit = kernel.number(name, "loop/sizelimit")
            yield Node(name, first, min(first + limit, end) if limit else end, path)


def _above(kernel: Kernel, node: Node) -> Iterator[Node]:
    """The devices that stand directly on a device."""
    for partition in kernel.partitions(node.name):
        start = node.start + kernel.number(partition, "start") * _SECTOR
        yield Node(partition, start, start + kernel.number(partition, "size") * _SECTOR, node.name)
    for holder in kernel.holders(node.name):
        yield Node(holder, node.start, node.end, node.name)  # which of its bytes are here, only the holder knows
    yield from _loops_on(kernel, f"/dev/{node.name}", node.start, node.end)


def nodes(kernel: Kernel, disk: Disk, *, every_place: bool = False) -> list[Node]:
    """The disk's own device (none for a file) and every device that stands on it, directly or not.

    One that stands on several parts of the disk (an array, a volume group) is listed once, or with ``every_place`` for each.
    """
    name = kernel_name(disk)
    found = [Node(name, 0, disk.size, "")] if name else list(_loops_on(kernel, disk.path, 0, disk.size))
    seen = {(node.name, node.start if every_place else 0) for node in found}
    for node in found:  # grows while it is walked
        for above in _above(kernel, node):
            place = above.name, above.start if every_place else 0
            if place not in seen:
                seen.add(place)
                found.append(above)
    return found


def is_mount_of(kernel: Kernel, mount: Mount, name: str) -> bool:
    """Whether what is mounted is the device: by number, or by name where a file system has numbers of its own (btrfs)."""
    return mount.device == kernel.attribute(name, "dev") or kernel.name_of_node(mount.source) == name


def mounts_of(disk: Disk, kernel: Kernel | None = None) -> tuple[Mounted, ...]:
    """What is mounted from a disk, through whatever stands on it, sorted by start."""
    kernel = kernel or Kernel()
    mounts = kernel.mounts()
    btrfs = kernel.btrfs_members()
    found = set()
    for node in nodes(kernel, disk, every_place=True):
        for mount in mounts:
            if is_mount_of(kernel, mount, node.name):
                found.add((node.start, node.end, mount.point))
        for members in btrfs:
            if node.name in members:
                points = [m.point for m in mounts if any(is_mount_of(kernel, m, member) for member in members)]
                found.update((node.start, node.end, point) for point in points or [""])
    return tuple(Mounted(*item) for item in sorted(found))


def _mount_under(kernel: Kernel, path: str) -> Mount | None:
    """The mount that a path is in: the longest mount point above it, the latest of equals."""
    best = None
    for mount in kernel.mounts():
        inside = mount.point == "/" or path == mount.point or path.startswith(mount.point + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that is there."""
    real = Path(os.path.realpath(path))
    return str(next((p for p in (real, *real.parents) if p.exists()), Path("/")))


def device_of_path(kernel: Kernel, path: str) -> str:
    """The name of the block device that a file or folder (or, where it is to be, its folder) is stored on; "" when on none."""
    try:
        there = _existing(path)
        number = os.stat(there).st_dev
    except OSError:
        return ""  # a share that does not answer is not on a disk of this machine
    # btrfs and overlays give device numbers of their own: the mount says what is behind them.
    name = kernel.name_of(f"{os.major(number)}:{os.minor(number)}") if os.major(number) else ""
    if name:
        return name
    mount = _mount_under(kernel, there)
    return kernel.name_of_node(mount.source) if mount else ""


def stands_on(kernel: Kernel, path: str) -> tuple[set[str], set[str]]:
    """What a path is stored on, all the way down: the names of devices, and the files behind loop devices."""
    devices: set[str] = set()
    files: set[str] = set()
    waiting = [device_of_path(kernel, path)]
    members = kernel.btrfs_members()
    while waiting:
        name = waiting.pop()
        if not name or name in devices:
            continue
        devices.add(name)
        waiting += [kernel.parent(name), *kernel.slaves(name)]
        waiting += [other for group in members if name in group for other in group]
        backing = kernel.backing_file(name)
        if backing.startswith("/dev/"):
            waiting.append(kernel.name_of_node(backing))
        elif backing:
            files.add(backing)
            waiting.append(device_of_path(kernel, backing))
    return devices, files
