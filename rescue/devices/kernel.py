"""How the kernel describes block devices: /sys, /proc/self/mountinfo and /proc/swaps, under a root that tests replace."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_DELETED: Final = " (deleted)"


class Mount(msgspec.Struct, frozen=True):
    """One line of mountinfo. ``device`` is "8:1"; ``source`` what was mounted, "/dev/sda1" for a device."""

    device: str
    point: str
    filesystem: str
    source: str


def _unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo and swaps (a space is ``\\040``)."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


class Kernel(msgspec.Struct, frozen=True):
    """The kernel's description of the machine. Devices go by their names in /sys/class/block: "sda", "sda1", "dm-0"."""

    root: Path = Path("/")

    def folder(self, name: str) -> Path:
        """The device's folder; a ``/`` in a name is a ``!`` there."""
        return self.root / "sys/class/block" / name.replace("/", "!")

    def attribute(self, name: str, path: str) -> str:
        """An attribute of a device, stripped; "" when the device or the attribute is missing or cannot be read."""
        try:
            return (self.folder(name) / path).read_text("utf-8", "replace").strip().strip("\0").strip()
        except OSError:
            return ""

    def number(self, name: str, path: str) -> int:
        """An attribute that is a decimal number; 0 when it is missing or none."""
        text = self.attribute(name, path)
        return int(text) if text.isdecimal() else 0

    def _names(self, folder: Path) -> list[str]:
        try:
            return sorted(entry.replace("!", "/") for entry in os.listdir(folder))
        except OSError:
            return []

    def whole_devices(self) -> list[str]:
        """Every block device that is no partition."""
        return self._names(self.root / "sys/block")

    def partitions(self, name: str) -> list[str]:
        """The partitions of a device, as the kernel knows them."""
        folder = self.folder(name)
        return [entry for entry in self._names(folder) if (folder / entry.replace("/", "!") / "partition").exists()]

    def parent(self, name: str) -> str:
        """The disk of a partition; "" for what is no partition."""
        folder = self.folder(name)
        return folder.resolve().parent.name.replace("!", "/") if (folder / "partition").exists() else ""

    def holders(self, name: str) -> list[str]:
        """The device-mapper and md devices that stand on this one."""
        return self._names(self.folder(name) / "holders")

    def slaves(self, name: str) -> list[str]:
        """The devices that a device-mapper or md device stands on."""
        return self._names(self.folder(name) / "slaves")

    def name_of(self, device: str) -> str:
        """The name of the device with the numbers "8:1"; "" when there is none."""
        link = self.root / "sys/dev/block" / device
        return link.resolve().name.replace("!", "/") if device and link.exists() else ""

    def name_of_node(self, path: str) -> str:
        """The name of a device by any path in /dev ("/dev/mapper/vg-root" is "dm-0"); "" when it is none."""
        if not path.startswith("/dev/"):
            return ""
        real = os.path.realpath(self.root / path.lstrip("/"))
        dev = f"{self.root / 'dev'}/"
        name = real.removeprefix(dev)
        return name if real.startswith(dev) and self.folder(name).exists() else ""

    def backing_file(self, name: str) -> str:
        """The file or device behind a loop device; "" when it is no loop device or is free."""
        return self.attribute(name, "loop/backing_file").removesuffix(_DELETED)

    def loops(self) -> Iterator[tuple[str, str]]:
        """The loop devices in use, with what is behind each."""
        for name in self.whole_devices():
            if name.startswith("loop") and (backing := self.backing_file(name)):
                yield name, backing

    def btrfs_members(self) -> list[list[str]]:
        """The devices of each mounted btrfs file system."""
        folder = self.root / "sys/fs/btrfs"
        members = [self._names(folder / uuid / "devices") for uuid in self._names(folder)]
        return [names for names in members if names]

    def mounts(self) -> list[Mount]:
        """What is mounted in this mount namespace (proc(5), "mountinfo")."""
        found = []
        try:
            lines = (self.root / "proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            return []
        for line in lines:
            left, _, right = line.partition(" - ")
            before, after = left.split(" "), right.split(" ")
            if len(before) >= 5 and len(after) >= 2:
                found.append(Mount(before[2], _unescape(before[4]), after[0], _unescape(after[1])))
        return found

    def swaps(self) -> list[str]:
        """The devices and files in use as swap."""
        try:
            lines = (self.root / "proc/swaps").read_text("utf-8", "surrogateescape").splitlines()[1:]
        except OSError:
            return []
        return [_unescape(line.split()[0]) for line in lines if line.strip()]
