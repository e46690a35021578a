"""What bytes that nobody knows cost, by volume and file. Values and their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from rescue.model.text import shown
from rescue.units import human_size

_TOLD: Final = 20  # names in a text for people


class VolumeDamage(msgspec.Struct, frozen=True):
    """What is lost of one volume, in bytes. ``partition`` is 0 for a file system on the whole disk, -1 for what is in no volume.

    ``files`` are paths from the volume's root, those that end in "/" folders of which nothing below is known; ``unnamed`` more
    are not in it. ``metadata`` are structures of the file system, ``free`` belongs to nothing, ``unknown`` could not be told.
    """

    partition: int
    bad_bytes: int
    files: tuple[str, ...] = ()
    unnamed: int = 0
    file_bytes: int = 0
    metadata: int = 0
    free: int = 0
    unknown: int = 0
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        if self.partition < 0:
            return "The space outside of partitions"
        return f"Partition {self.partition}" if self.partition else "The file system"

    @property
    def words(self) -> str:
        """What is lost, as a sentence: ``Partition 2 lacks 12.0 KiB: 8.0 KiB of 2 files, 4.0 KiB of its structures.``"""
        count = len(self.files) + self.unnamed
        parts = [
            (self.file_bytes, f"of {count} file{'' if count == 1 else 's'}"),
            (self.metadata, "of the file system's structures"),
            (self.free, "of free space"),
            (self.unknown, "that cannot be told to be of any file"),
        ]
        costs = ", ".join(f"{human_size(size)} {what}" for size, what in parts if size)
        return f"{self.name} lacks {human_size(self.bad_bytes)}{f': {costs}' if costs else ''}."


def damage_lines(damage: Sequence[VolumeDamage], limit: int = _TOLD) -> list[str]:
    """All of it for people: a sentence for each volume, below it its files, and its notes. At most ``limit`` files each."""
    lines = []
    for volume in damage:
        lines.append(volume.words)
        lines += [f"  {shown(name)}" for name in volume.files[:limit]]
        more = max(len(volume.files) - limit, 0) + volume.unnamed
        if more:
            lines.append(f"  and {more} more")
        lines += [f"  {shown(note)}" for note in volume.notes]
    return lines
