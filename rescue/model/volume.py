"""Volume: something that holds a file system, and what was found on it."""

from __future__ import annotations

import msgspec

from rescue.model.extents import ExtentMap


class Identity(msgspec.Struct, frozen=True):
    """What libblkid says is on a volume. ``type`` is its word: "ext4", "ntfs", "vfat", "swap", "crypto_LUKS", or ""."""

    type: str = ""
    usage: str = ""  # "filesystem", "crypto", "raid", "other", ""
    label: str = ""
    uuid: str = ""
    version: str = ""


class UsedMap(msgspec.Struct, frozen=True):
    """The bytes of a volume that an image must keep, relative to the volume's start.

    ``whole_because`` is empty when the map comes from the file system's own structures; else it is the reason, as a
    sentence for people, why every byte is kept: "Its journal was not replayed (it was not cleanly unmounted)."
    """

    extents: ExtentMap
    whole_because: str = ""

    @staticmethod
    def whole(size: int, because: str) -> UsedMap:
        """Every byte of a volume of ``size`` bytes, and why."""
        return UsedMap(ExtentMap([(0, size)]), because)


class Nested(msgspec.Struct, frozen=True):
    """A volume inside of another one: a logical volume of a group, what an encrypted volume or an array holds.

    ``name`` is "vg0/root" for a logical volume, "1" for a partition, and "" where a container holds one volume. ``used_bytes``
    are its own that are kept; of a container, all that are kept of the disk for it. ``size`` in bytes.
    """

    name: str
    size: int
    identity: Identity
    used_bytes: int
    whole_because: str = ""
    system: str = ""
    inside: tuple[Nested, ...] = ()


class Volume(msgspec.Struct, frozen=True):
    """A surveyed volume: the bytes ``[start, end)`` of its disk. ``partition`` is 0 for a file system on the whole disk."""

    partition: int
    start: int
    end: int
    identity: Identity
    used_bytes: int
    whole_because: str = ""
    system: str = ""  # the operating system found on it, "Debian GNU/Linux 13", or ""
    inside: tuple[Nested, ...] = ()  # of a container that could be looked into

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start
