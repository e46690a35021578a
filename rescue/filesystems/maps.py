"""The used map of any volume: its file system's own reader, partclone, or the whole of it and why."""

from __future__ import annotations

from collections.abc import Callable

from rescue.errors import FormatError, ProgramError, SourceReadError
from rescue.filesystems import btrfs, exfat, ext, f2fs, fat, ntfs, partclone, swap, xfs
from rescue.model.source import Source
from rescue.model.volume import Identity, UsedMap
from rescue.system.run import have

_READERS: dict[str, Callable[[Source], UsedMap]] = {
    "ext2": ext.used_map,
    "ext3": ext.used_map,
    "ext4": ext.used_map,
    "ext4dev": ext.used_map,
    "xfs": xfs.used_map,
    "btrfs": btrfs.used_map,
    "ntfs": ntfs.used_map,
    "vfat": fat.used_map,
    "exfat": exfat.used_map,
    "swap": swap.used_map,
}
# libblkid's words for what has a use but no map.
_REASONS = {
    "jbd": "It is the journal of another file system.",
    "swsuspend": swap.HIBERNATED,
    "xfs_external_log": "It is the log of another file system.",
}


def used_map(volume: Source, identity: Identity, *, path: str, offset: int, mounted: bool = False) -> UsedMap:
    """The bytes of a volume that an image must keep, relative to the volume; the whole and why when that is not certain.

    ``path`` and ``offset`` say where the volume lies, for programs that read it themselves ("": nowhere that they
    could). Raises RescueError only for what is wrong with this program's surroundings, never for what is on the volume.
    """
    if mounted:
        return UsedMap.whole(volume.size, "It is mounted, so what is used may change while it is read.")
    try:
        used = _read(volume, identity, path, offset)
    except FormatError as error:
        return UsedMap.whole(volume.size, f"Its structures make no sense: {error.message}")
    except SourceReadError as error:
        return UsedMap.whole(volume.size, f"Its structures cannot be read: {error.message}")
    except ProgramError as error:
        return UsedMap.whole(volume.size, f"Its map cannot be made: {error.message}")
    return UsedMap(used.extents.clip(0, volume.size), used.whole_because)


def _read(volume: Source, identity: Identity, path: str, offset: int) -> UsedMap:
    if reader := _READERS.get(identity.type):
        return reader(volume)
    if identity.type == "f2fs" and path and have("partclone.f2fs"):
        unclean = f2fs.why_unclean(volume)
        if unclean:
            return UsedMap.whole(volume.size, unclean)
        return partclone.used_map("partclone.f2fs", path, offset, volume.size)
    return UsedMap.whole(volume.size, _why_whole(identity))


def _why_whole(identity: Identity) -> str:
    if identity.type in _REASONS:
        return _REASONS[identity.type]
    match identity.usage:
        case "crypto":
            return f"It is encrypted ({identity.type}), so what is used inside cannot be told."
        case "raid":
            return f"It belongs to a set of disks or volumes ({identity.type})."
        case _ if identity.type:
            return f"This program cannot tell what {identity.type} uses."
        case _:
            return "No file system that this program knows was found on it."
