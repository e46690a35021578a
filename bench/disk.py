"""What is known about the generated disk: where it lies, its partitions, and how much of each is in use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
DISK = CACHE / "disk.img"
DESCRIPTION = CACHE / "disk.json"


@dataclass(frozen=True, slots=True)
class BenchPartition:
    """A partition of the generated disk. ``start``, ``size`` and ``used`` in bytes; ``fs`` as partclone names it."""

    number: int
    start: int
    size: int
    fs: str
    used: int


@dataclass(frozen=True, slots=True)
class BenchDisk:
    """The generated disk; ``key`` names the recipe that it was made from."""

    key: str
    size: int
    partitions: tuple[BenchPartition, ...]

    @property
    def used(self) -> int:
        """Bytes in use in all file systems."""
        return sum(partition.used for partition in self.partitions)


def load(path: Path = DESCRIPTION) -> BenchDisk | None:
    """The description beside the disk; None when there is no disk yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=BenchDisk)
    except FileNotFoundError:
        return None


def save(disk: BenchDisk, path: Path = DESCRIPTION) -> None:
    """Write the description beside the disk."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(disk), indent=1) + b"\n")
