"""Why a disk must not be written to: it runs the system, holds the image, is mounted, held or read-only."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rescue.devices.kernel import Kernel
from rescue.devices.usage import Node, is_mount_of, kernel_name, mounts_of, nodes, same_file, stands_on
from rescue.model.disk import Disk, Protection
from rescue.system.joined import files_of

# live-boot(7) keeps the medium mounted here (in old versions at the last), unless the system was copied to memory.
LIVE_POINTS: Final = frozenset({"/run/live/medium", "/run/live/findiso", "/run/live/fromiso", "/lib/live/mount/medium"})
SYSTEM_POINTS: Final = frozenset({"/", "/boot", "/boot/efi", "/usr", "/var"})


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def runs_from(disk: Disk, kernel: Kernel | None = None) -> bool:
    """Whether the running system comes from this disk: the live medium, or the disk of an installed system."""
    points = {mounted.point for mounted in mounts_of(disk, kernel)}
    return bool(points & (LIVE_POINTS | SYSTEM_POINTS))


def _system(points: set[str]) -> Iterator[Protection]:
    if points & LIVE_POINTS:
        yield Protection(
            "the rescue system runs from it",
            "Choose another disk, or start the rescue system with “run from memory” in its boot menu and pull out the medium.",
        )
    elif points & SYSTEM_POINTS:
        yield Protection("the running system is on it", "Start this machine from the rescue medium to change this disk.")


def _mounted(points: set[str]) -> Iterator[Protection]:
    named = sorted(point for point in points - LIVE_POINTS - SYSTEM_POINTS if point)
    if named:
        yield Protection(f"mounted at {_joined(named)}", f"Unmount it (umount {shlex.join(named)}) and try again.")
    if "" in points:
        yield Protection("part of a mounted btrfs file system", "Unmount that file system and try again.")


def _swap(kernel: Kernel, disk: Disk, found: list[Node]) -> Iterator[Protection]:
    names = {node.name for node in found}
    for swap in kernel.swaps():
        if kernel.name_of_node(swap) in names or (disk.is_file and same_file(swap, disk.path)):
            yield Protection(f"in use as swap ({swap})", f"Turn it off (swapoff {swap}) and try again.")


def _only_looks(kernel: Kernel, node: Node) -> bool:
    """Whether a loop device only reads and goes with its last user, as those of a program that looks at the disk at this moment.

    This one does so for file systems that partclone has to read, also while it lists the disks. What is mounted from such a
    device, or stands on it, protects the disk by itself.
    """
    return kernel.number(node.name, "ro") == 1 and kernel.number(node.name, "loop/autoclear") == 1


def _held(kernel: Kernel, node: Node) -> Protection | None:
    """Who holds the device below ``node``, when ``node`` is a holder."""
    name = kernel.attribute(node.name, "dm/name")
    kind = kernel.attribute(node.name, "dm/uuid").split("-", 1)[0]
    if kernel.backing_file(node.name):
        if _only_looks(kernel, node):
            return None
        return Protection(f"attached to /dev/{node.name}", f"Detach it (losetup --detach /dev/{node.name}) and try again.")
    if node.name.startswith("md"):
        return Protection(f"part of the RAID array /dev/{node.name}", f"Stop it (mdadm --stop /dev/{node.name}) and try again.")
    if kind == "LVM":
        # device-mapper doubles the dashes inside of the names that it joins with one.
        group = name.replace("--", "\0").split("-", 1)[0].replace("\0", "-")
        return Protection(
            f"in use by the LVM volume {name}", f"Deactivate its group (vgchange --activate n {group}) and try again."
        )
    if kind == "CRYPT":
        return Protection(f"unlocked as the encrypted volume {name}", f"Close it (cryptsetup close {name}) and try again.")
    if name:
        return Protection(f"in use by the device-mapper volume {name}", f"Remove it (dmsetup remove {name}) and try again.")
    if node.below and not kernel.parent(node.name):
        return Protection(f"in use by /dev/{node.name}", f"Stop /dev/{node.name} and try again.")
    return None


def _holds_image(kernel: Kernel, disk: Disk, image: str) -> Protection | None:
    """Whether the image (any part of it), or the folder where it is to be, is on the disk."""
    files = [str(file) for file in files_of(image)] or [image]
    return next((reason for file in files if (reason := _holds_file(kernel, disk, file, image))), None)


def _holds_file(kernel: Kernel, disk: Disk, file: str, image: str) -> Protection | None:
    name = kernel_name(disk)
    own_file = disk.path if disk.is_file else kernel.backing_file(name)
    if os.path.exists(file) and own_file and same_file(file, own_file):
        return Protection("it is the image itself", "Choose another target.")
    if name and kernel.name_of_node(os.path.realpath(file)) == name:
        return Protection("it is the image itself", "Choose another target.")
    devices, files = stands_on(kernel, file)
    if (name and name in devices) or (disk.is_file and any(same_file(other, disk.path) for other in files)):
        return Protection(f"it holds the image {image}", "Choose another disk, or copy the image elsewhere first.")
    return None


def _programs_with(path: str) -> list[str]:
    """The programs that have a device open, as "name (process 123)"."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) == path for fd in (folder / "fd").iterdir()):
                found.append(f"{(folder / 'comm').read_text().strip()} (process {folder.name})")
        except OSError:
            continue  # it ended, or belongs to somebody else
    return found


def _busy(disk: Disk) -> Protection | None:
    """Whether the kernel refuses an exclusive open of a device, for a reason that nothing above has named."""
    try:
        os.close(os.open(disk.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            programs = _programs_with(disk.path)
            by = _joined(programs) if programs else "another program or by the system"
            return Protection(f"in use by {by}", "End that and try again.")
        if error.errno in (errno.EACCES, errno.EPERM):
            return Protection("this user may not open it", "Run the program as root.")
        return Protection(f"it cannot be opened ({error.strerror})", "Check the cable and the disk.")
    return None


def protections(disk: Disk, images: Sequence[str] = (), kernel: Kernel | None = None) -> tuple[Protection, ...]:
    """Every reason why a disk must not be written to; empty when it may be.

    ``images`` are paths of images, or of folders for them, that must survive: the disk that holds one is protected.
    Without ``kernel`` (tests give one) this machine's is asked, and a device is opened exclusively to be sure.
    """
    real = kernel is None
    kernel = kernel or Kernel()
    found = nodes(kernel, disk)
    points = {mounted.point for mounted in mounts_of(disk, kernel)}
    reasons = [*_system(points)]
    reasons += [reason for image in images if (reason := _holds_image(kernel, disk, image))]
    reasons += _mounted(points)
    reasons += _swap(kernel, disk, found)
    mounts = kernel.mounts()
    for node in found:
        # A loop device under a mount that is named already would only repeat it, but it has to be detached all the same.
        reason = _held(kernel, node) if node.below else None
        if reason and not (points & LIVE_POINTS and any(is_mount_of(kernel, m, node.name) for m in mounts)):
            reasons.append(reason)
    if disk.read_only:
        reasons.append(Protection("read-only", "If it has a switch against writing, move it and plug the disk in again."))
    if real and not reasons and not disk.is_file and (busy := _busy(disk)):
        reasons.append(busy)
    return tuple(dict.fromkeys(reasons))
