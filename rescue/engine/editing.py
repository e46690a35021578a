"""Writing another partition table, making a file system in a partition, giving one another size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rescue.devices.kernel import Kernel
from rescue.devices.table import read_layout
from rescue.devices.write_table import table_writes
from rescue.engine.grow import grow
from rescue.engine.hidden_sectors import set_hidden_sectors
from rescue.engine.resizing import (
    EXT,
    flush,
    require_sound,
    resize_ext,
    resize_ntfs,
    resize_swap,
    settle_ext,
    shrink_btrfs,
)
from rescue.errors import DamagedError, RefusedError
from rescue.filesystems.beginnings import beginning
from rescue.filesystems.identify import identify
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.operation import FileSystem
from rescue.model.source import SliceSource
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSink, FileSource, is_block_device
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB, human_size

_MKFS_SECONDS: Final = 3600.0
_BORDER: Final = 1 * MIB


def writes_of(before: Layout, after: Layout, first_sector: bytes) -> list[tuple[int, bytes]]:
    """What makes ``after`` of ``before``, in order of writing: ``(offset, data)``. Raises RefusedError.

    The first sector says which kind of table counts: before it is written the old one does, afterwards the new one. What only
    the old table used is zeroed after that, so that nobody takes it for one.
    """
    writes = table_writes(after, first_sector if after.label == before.label else b"")
    kept = ExtentMap(sorted((offset, offset + len(data)) for offset, data in writes))
    kept = kept.union(ExtentMap(sorted((p.start, p.end) for p in after.data_partitions)))
    stale = [(e.start, bytes(e.length)) for e in ExtentMap(before.table).difference(kept)]
    late: list[tuple[int, bytes]] = []
    if (before.label, after.label) == ("dos", "gpt"):
        # Logical partitions may be linked where the primary GPT comes. Until it is there, the backup GPT at the end counts.
        old = ExtentMap(before.table)
        late = [(offset, data) for offset, data in writes if offset and any(old.overlapping(offset, offset + len(data)))]
    return [*(write for write in writes if write not in late), *late, *stale]


def set_table(path: str, before: Layout, after: Layout) -> None:
    """Write the table and read it back. Raises RefusedError (in use), TargetWriteError, DamagedError."""
    with FileSink(path, direct=True) as sink, FileSource(path, direct=True) as source:
        writes = writes_of(before, after, source.pread(after.sector_size, 0))
        for offset, data in writes:
            if offset == 0:
                sink.flush()
            sink.pwrite(data, offset)
            if offset == 0:
                sink.flush()
        sink.flush()
        source.drop_cache()
        found = read_layout(source, after.sector_size)
        if [(p.number, p.start, p.end, p.type) for p in found.partitions] != [
            (p.number, p.start, p.end, p.type) for p in after.partitions
        ] or found.problems:
            raise DamagedError(
                f"{path} does not give back the partition table that was written to it.",
                "The disk or its cable is faulty. Put the old table back with: rescue partition --undo",
            )
        if is_block_device(path) and not sink.reread_table() and _goes_by_another(path, after):
            raise RefusedError(
                f"The partition table of {path} is written, but the system still goes by the old one.",
                "Restart this computer before the disk is used.",
            )


def _goes_by_another(path: str, after: Layout) -> bool:
    """Whether the kernel has partitions of a disk that are not those of its table. Some devices have none in any case."""
    kernel = Kernel()
    name = kernel.name_of_node(path)
    known = {(kernel.number(part, "start") * 512, kernel.number(part, "size") * 512) for part in kernel.partitions(name) if name}
    return not known <= {(p.start, p.size) for p in after.data_partitions}


def mkfs_command(filesystem: FileSystem, label: str, node: str, start: int, sector_size: int) -> list[str]:
    """The program that makes a file system on the device ``node``, which begins at byte ``start`` of its disk."""
    named = {"vfat": "-n", "f2fs": "-l"}.get(filesystem, "-L")
    labelled = [named, label] if label else []
    match filesystem:
        case "ext2" | "ext3" | "ext4":
            return [f"mkfs.{filesystem}", "-q", "-F", *labelled, node]
        case "xfs" | "btrfs" | "f2fs":
            return [f"mkfs.{filesystem}", "-q", "-f", *labelled, node]
        case "ntfs":
            place = ["--sector-size", str(sector_size), "--partition-start", str(start // sector_size)]
            return ["mkfs.ntfs", "--quick", "--force", "--quiet", *place, "-H", "255", "-S", "63", *labelled, node]
        case "vfat":
            return ["mkfs.vfat", "-S", str(sector_size), "-h", str(start // sector_size), *labelled, node]
        case "exfat":
            return ["mkfs.exfat", *labelled, node]
        case "swap":
            return ["mkswap", "--force", *labelled, node]


def format_volume(path: str, start: int, end: int, sector_size: int, filesystem: FileSystem, label: str) -> None:
    """Make a file system, and see that it is there. Raises ProgramError, TargetWriteError, RefusedError, DamagedError."""
    with FileSink(path, direct=True) as sink:
        # What is left of another file system may lie where the new one writes nothing.
        sink.zero(start, min(start + _BORDER, end))
        sink.zero(max(end - _BORDER, start), end)
        sink.flush()
    with loop_device(path, offset=start, size=end - start, writable=True, sector_size=sector_size) as node:
        run(mkfs_command(filesystem, label, node, start, sector_size), timeout=_MKFS_SECONDS)
        flush(node)
    found = identify(path, start, end - start)
    if found.type != filesystem or (label and found.label.casefold() != label.casefold()):
        raise DamagedError(
            f"The new {filesystem} on {path} is not found again.", "The disk or its cable is faulty. Do not use the disk."
        )
    with FileSink(path, direct=True) as sink, FileSource(path) as source:
        set_hidden_sectors(source, sink, start, end, sector_size, found)
        sink.flush()


def filled_by_own_account(path: str, start: int, end: int) -> int:
    """The bytes that what begins at ``start`` of a disk or file takes as its own first bytes say; 0 where they do not.

    Raises SourceReadError.
    """
    with FileSource(path) as source:
        found = beginning(SliceSource(source, start, end))
    return found.size if found and not found.before else 0


def resize_volume(path: str, start: int, old_end: int, new_end: int, identity: Identity, check: Callable[[], None]) -> str:
    """Give the file system at ``start`` the bytes up to ``new_end``; a sentence on what was done.

    There is no other copy of it: a program that has begun to write on it is not ended by ``check``, but waited for.

    Raises DamagedError (its own check finds it damaged), ProgramError (it does not get that small, among others).
    """
    size = new_end - start
    if new_end >= old_end or 0 < filled_by_own_account(path, start, old_end) <= size:
        return grow(path, start, new_end, identity, check=check, in_place=True)
    with loop_device(path, offset=start, size=old_end - start, writable=True) as node:
        match identity.type:
            case kind if kind in EXT:
                settle_ext(node, check)
                resize_ext(node, size, check, in_place=True)
                require_sound(identity, node)
            case "ntfs":
                require_sound(identity, node)
                resize_ntfs(node, size, check, in_place=True)
                require_sound(identity, node)
            case "btrfs":
                require_sound(identity, node)
                shrink_btrfs(node, size, check)
                require_sound(identity, node)
            case "swap":
                resize_swap(node, size)
            case _:
                raise RefusedError(f"{identity.type or 'What is in it'} cannot be made smaller.", "Leave its size as it is.")
        flush(node)
    return f"{identity.type} has {human_size(size)} now."
