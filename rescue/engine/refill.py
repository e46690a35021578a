"""File systems that no tool makes smaller: made anew with the same UUID, label and features, and filled by files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from rescue.engine import exfat_content, exfat_refill, fat_content, fat_refill, ntfs_refill
from rescue.engine.minimum import minimum_size
from rescue.engine.overlay import MEMORY, volume_overlay
from rescue.engine.refill_compare import require_equal
from rescue.engine.refill_flags import copy_marks
from rescue.engine.refill_make import ext_has_room, make_ext, make_f2fs, make_xfs, tune_ext
from rescue.engine.refill_room import allocate
from rescue.engine.refill_times import put_right
from rescue.engine.resizing import EXT, Check, mounted_here, nothing, onto_medium, require_sound, work
from rescue.errors import DamagedError, FormatError, ProgramError, RefusedError, UnsupportedError, UsageError
from rescue.filesystems.ntfs_mft import read_geometry
from rescue.images.nbd.session import Blocks
from rescue.model.source import Sink, SliceSource, Source
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.loop import loop_device
from rescue.system.mounts import in_private_mounts
from rescue.system.run import have
from rescue.units import human_size

_OPTIONS: Final[dict[str, tuple[str, ...]]] = {"xfs": ("nouuid",)}
# Room that xfs takes ahead of what is written would fill the holes of files with many pieces.
_WRITING: Final[dict[str, tuple[str, ...]]] = {"xfs": ("allocsize=4k",)}
# What boot loaders keep in the file system's own first bytes: NTFS' boot sector has its facts in front of the code.
_BOOT_CODE: Final = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), ((0, 1024),)),
    "ntfs": ((0x54, 0x1FE), (0x200, 0x2000)),
}
# Owners, times to the nanosecond, hard links, ACLs, extended attributes, holes; what is mounted below is not part of it.
_COPY: Final = (
    "rsync",
    "--archive",
    "--modify-window=-1",
    "--hard-links",
    "--acls",
    "--xattrs",
    "--numeric-ids",
    "--one-file-system",
)
# The main process is the one that writes: when it is ended, the other one has nobody to write to.
_DUMP: Final = 'exec xfsrestore -v silent -J - "$2" < <(exec xfsdump -v silent -J -l 0 - "$1")'


def refill(
    blocks: Blocks,
    start: int,
    end: int,
    identity: Identity,
    target: str,
    target_start: int,
    target_end: int,
    *,
    sector_size: int = 0,
    folder: Path = MEMORY,
    check: Check = nothing,
) -> str:
    """Make the volume ``[start, end)`` of a disk or image anew at ``[target_start, target_end)`` of a disk or file ``target``.

    ``sector_size``: what the target's sectors have, in bytes, when they are others than the source's. The copy is read back
    and compared file by file. Gives a sentence for the journal. ``folder`` takes what mounting the old one writes (a log that
    is replayed). ``check`` is called often, and what it raises ends the work. Raises before the first write UsageError,
    RefusedError when it does not fit, UnsupportedError (this system has no driver for it, or it has a feature that a copy
    would lose), DamagedError, FormatError; later SourceReadError, TargetWriteError, ProgramError, DamagedError when the copy
    is not equal. Needs root but for FAT and exFAT.
    """
    size = target_end - target_start
    if size <= 0 or target_start % 512 or target_end % 512:
        raise UsageError(f"{target_start} to {target_end} are no bytes that a partition can have.")
    volume = SliceSource(blocks, start, end)
    match identity.type:
        case "vfat":
            fill = partial(fat_refill.refill, sector=sector_size)
            return _by_entries(volume, fill, fat_content.require_same, target, target_start, size, check)
        case "exfat":
            fill = partial(exfat_refill.refill, sector=sector_size)
            return _by_entries(volume, fill, exfat_content.require_same, target, target_start, size, check)
        case _:
            make = making(volume, identity, size, sector_size)
    least = minimum_size(blocks, start, end, identity, folder=folder)
    if least.how == "fixed" and least.because:
        raise DamagedError(f"The {identity.type} volume cannot be made anew. {least.because}")
    # A larger one always has room, whatever the estimate for smaller ones adds to be on the safe side.
    if size < min(least.bytes, end - start):
        raise RefusedError(
            f"The {identity.type} file system cannot be smaller than {least.bytes} bytes ({human_size(least.bytes)}); "
            f"{size} bytes ({human_size(size)}) were asked for.",
            "Give it more room.",
        )
    with volume_overlay(blocks, start, end, folder=folder) as overlay, overlay.explaining():
        in_private_mounts(lambda: _by_files(overlay.path, identity, make, target, target_start, size, sector_size, check))
    if not sector_size:
        _keep_boot_code(volume, identity, target, target_start, target_end)
    return f"{identity.type} made anew with {human_size(size)} and filled by files, which were compared."


def _keep_boot_code(volume: Source, identity: Identity, target: str, start: int, end: int) -> None:
    writes = [(low, volume.pread(high - low, low)) for low, high in _BOOT_CODE.get(identity.type, ())]
    with FileSource(target) as source, FileSink(target) as sink:
        for place, data in writes:
            sink.pwrite(data, start + place)
        if identity.type == "ntfs":
            geometry = read_geometry(SliceSource(source, start, end))
            copy = (geometry.sectors * geometry.sector_size, source.pread(geometry.sector_size, start))
            sink.pwrite(copy[1], start + copy[0])  # behind its last sector
            writes.append(copy)
        sink.flush()
        source.drop_cache()
        if any(source.pread(len(data), start + place) != data for place, data in writes):
            raise DamagedError(f"{target} does not give back what was written to it.", "The disk or its cable is faulty.")


def making(volume: Source, identity: Identity, size: int, sector_size: int = 0) -> list[str]:
    """The command, without the device, that makes it anew with ``size`` bytes. NTFS: its first word.

    Raises UnsupportedError: this system has no program for it, or it has a feature that a copy would lose. FormatError.
    """
    match identity.type:
        case "xfs":
            make = make_xfs(volume, size, sector_size)
        case "ext2" | "ext3" | "ext4":
            make = make_ext(volume, identity.type, size, sector_size)
        case "f2fs":
            make = make_f2fs(volume)
        case "ntfs":
            make = list(ntfs_refill.PROGRAMS)
        case _:
            raise UnsupportedError(f"{identity.type or 'Unknown content'} cannot be made anew and filled by files.")
    needed = {"xfs": ("xfsdump", "xfsrestore"), "ntfs": ntfs_refill.PROGRAMS}.get(identity.type, ("rsync",))
    for program in (make[0], *needed):
        if not have(program):
            raise UnsupportedError(f"{program} is not installed.")
    return make


def anew_instead(volume: Source, identity: Identity, size: int, error: ProgramError) -> str:
    """What to say of a volume that its own program did not get as small as ``size`` bytes, and that is made anew instead.

    Raises ``error``, which that program ended with, when it cannot be.
    """
    try:
        making(volume, identity, size)
        if identity.type == "ntfs":
            has_room = ntfs_refill.least_size(volume) <= size
        else:
            has_room = ext_has_room(volume, identity.type, size)
    except (UnsupportedError, FormatError, ProgramError):
        has_room = False
    if not has_room:
        raise error
    return f"{error.message} It is made anew, with the same UUID, and filled by its files instead."


def _by_entries(
    volume: Source,
    fill: Callable[[Source, Sink, int, int, Check], str],
    compare: Callable[[Source, Source, Check], None],
    target: str,
    start: int,
    size: int,
    check: Check,
) -> str:
    with FileSink(target) as sink:
        said = fill(volume, sink, start, size, check)
    with FileSource(target) as written:
        written.drop_cache()
        compare(volume, SliceSource(written, start, start + size), check)
    return f"{said} The copy was compared."


def _by_files(
    path: str, identity: Identity, make: list[str], target: str, start: int, size: int, sector_size: int, check: Check
) -> None:
    kind, options = identity.type, _OPTIONS.get(identity.type, ())
    if kind == "ntfs":
        ntfs_refill.refill(path, identity, target, start, size, sector_size, check)
        return
    with mounted_here(path, kind, ["ro", *options]) as old, loop_device(target, offset=start, size=size, writable=True) as node:
        work([*make, node], check)
        if kind in EXT:
            with FileSource(path) as source:
                work([*tune_ext(source), node], check)
        with mounted_here(node, kind, ["rw", *options, *_WRITING.get(kind, ())]) as new:
            if kind == "xfs":
                work(["bash", "-c", _DUMP, "bash", str(old), str(new)], check)
                allocate(old, new, check)
                put_right(old, new, check)
            else:
                work([*_COPY, "--sparse", "--quiet", f"{old}/", f"{new}/"], check)
                allocate(old, new, check)
                copy_marks(old, new, check)
        onto_medium(node, target)
        with mounted_here(node, kind, ["ro", *options]) as new:
            require_equal(old, new, check)
        require_sound(identity, node)
