"""A machine as data: the parts of /sys, /proc and /dev that the program reads, laid out under a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rescue.devices.kernel import Kernel

MACHINES = Path(__file__).parents[2] / "data" / "machines"


class Machine:
    """Lays out a recorded machine; ``kernel`` then reads it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder.resolve()
        self.kernel = Kernel(self.folder)
        value: dict[str, Any] = json.loads((MACHINES / f"{name}.json").read_text())
        self.udev: dict[str, dict[str, str]] = value["udev"]
        for path, attributes in value["devices"].items():
            self._device(path, attributes)
        self.write("proc/self/mountinfo", "".join(f"{line}\n" for line in value["mountinfo"]))
        self.write("proc/swaps", "".join(f"{line}\n" for line in value["swaps"]))
        for path, target in value.get("links", {}).items():
            self.link(path, target)

    def write(self, path: str, text: str) -> None:
        """A file with this text."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def link(self, path: str, target: str) -> None:
        """A symbolic link, as /sys and /dev have them."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def _device(self, path: str, attributes: dict[str, str]) -> None:
        where = self.folder / "sys" / path
        where.mkdir(parents=True, exist_ok=True)
        for name, text in attributes.items():
            self.write(f"sys/{path}/{name}", f"{text}\n")
        self.link(f"sys/class/block/{where.name}", str(where))
        self.link(f"sys/dev/block/{attributes['dev']}", str(where))
        if "partition" not in attributes:
            self.link(f"sys/block/{where.name}", str(where))
