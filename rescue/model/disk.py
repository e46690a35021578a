"""Disk: one whole block device, or a file that holds a raw disk, seen at one moment."""

from __future__ import annotations

import msgspec


class Disk(msgspec.Struct, frozen=True):
    """A disk as the machine described it when it was surveyed. Sizes in bytes.

    ``path`` is how the system names it now (it may change at the next boot); ``serial``, ``wwn`` and ``size`` are who it is.
    """

    path: str
    size: int
    logical_sector_size: int = 512
    physical_sector_size: int = 512
    model: str = ""
    serial: str = ""
    wwn: str = ""
    transport: str = ""  # "nvme", "sata", "usb", "virtio", "mmc", "file", … or ""
    rotational: bool = False
    removable: bool = False
    read_only: bool = False
    diskseq: int = 0  # /sys/block/*/diskseq: counts up each time a device of this name appears; 0 when unknown
    is_file: bool = False
    beside: tuple[str, ...] = ()  # paths of other disks that are read as well, because parts of what is on it are there

    @property
    def title(self) -> str:
        """How the disk is named to people: model, or the file's path."""
        return self.path if self.is_file or not self.model else f"{self.path} ({self.model})"

    @property
    def is_flash(self) -> bool:
        """Whether it is a medium that keeps spare blocks which nobody can address."""
        return not self.rotational and not self.is_file

    @property
    def who(self) -> str:
        """What tells this disk from others wherever it is plugged in, as words: model, serial number or file name, size."""
        name = self.path.rstrip("/").rsplit("/", 1)[-1]
        words = (self.model, f"serial {self.serial}" if self.serial else "" if self.wwn else name, self.wwn, f"{self.size} bytes")
        return ", ".join(word for word in words if word)

    @property
    def confirmation(self) -> str:
        """What a person types to allow this disk to be overwritten: the last four characters of its serial, or of its name."""
        name = self.path.rstrip("/").rsplit("/", 1)[-1]
        return (self.serial.strip() or name.removesuffix(".img"))[-4:]


class Fingerprint(msgspec.Struct, frozen=True):
    """Which disk a plan was made for, and in what state: compared again right before the first write."""

    path: str
    size: int
    serial: str
    wwn: str
    diskseq: int
    table_hash: str  # BLAKE3 (hex) of the first and the last MiB, where partition tables live


class Protection(msgspec.Struct, frozen=True):
    """Why a disk must not be written to. ``reason`` is a clause for people: "mounted at /mnt/usb"."""

    reason: str
    hint: str = ""
