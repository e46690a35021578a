"""How small a volume can be made, and by what means. Nothing below is written, and no more than structures are read."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal

import msgspec

from rescue.engine import exfat_refill, fat_refill
from rescue.engine.overlay import MEMORY, SourceBlocks, volume_overlay
from rescue.engine.resizing import EXT, nothing, settle_ext
from rescue.engine.xfs_shared import shared_bytes
from rescue.errors import DamagedError, FormatError, ProgramError, UnsupportedError
from rescue.filesystems.ext_superblock import Superblock
from rescue.filesystems.ext_superblock import read_superblock as read_ext
from rescue.filesystems.maps import used_map
from rescue.filesystems.xfs_superblock import read_superblock as read_xfs
from rescue.images.nbd.session import Blocks
from rescue.model.source import SliceSource, Source
from rescue.model.volume import Identity, UsedMap
from rescue.system.blockfile import FileSource, is_block_device
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB, align_up

# "shrink": by its own tool. "refill": made anew and filled by files. "fixed": as it is.
How = Literal["shrink", "refill", "fixed"]

_SWAP: Final = MIB
_XFS_LEAST: Final = 320 * MIB  # mkfs.xfs makes none below 300 MiB
_F2FS_LEAST: Final = 128 * MIB
_BTRFS_SPARE: Final = 384 * MIB
_EXT_SPARE: Final = 8 * MIB
_NTFS_MINIMUM: Final = re.compile(r"You might resize at (\d+) bytes")
_EXT_MINIMUM: Final = re.compile(r"minimum size of the filesystem: (\d+)")
_TOOL_SECONDS: Final = 3600.0


class Minimum(msgspec.Struct, frozen=True):
    """The smallest size in bytes, a multiple of a MiB or the present one, and how it is reached; ``because``: why not smaller."""

    bytes: int
    how: How
    because: str = ""


def minimum_size(blocks: Blocks, start: int, end: int, identity: Identity, *, folder: Path = MEMORY) -> Minimum:
    """How small the volume ``[start, end)`` of a disk can be made. What is damaged or unknown cannot.

    Some tools open it over an overlay, which takes a few MiB in ``folder``. Raises RescueError only for what is wrong with
    this program's surroundings.
    """
    size = end - start
    volume = SliceSource(blocks, start, end)
    try:
        if identity.type == "swap":
            used = used_map(volume, identity, path="", offset=0)
            return Minimum(size, "fixed", used.whole_because) if used.whole_because else Minimum(min(_SWAP, size), "shrink")
        if identity.type in EXT or identity.type == "ntfs":
            with volume_overlay(blocks, start, end, folder=folder) as overlay:
                found = tool_minimum(identity, overlay.path)
            return Minimum(min(found, size), "shrink")
        if identity.type in ("btrfs", "xfs", "vfat", "exfat", "f2fs"):
            return _by_map(blocks, start, end, volume, identity, folder)
    except (DamagedError, FormatError, ProgramError, UnsupportedError) as error:
        return Minimum(size, "fixed", error.message)
    what = f"This program cannot make {identity.type} smaller." if identity.type else "What is on it is not known."
    return Minimum(size, "fixed", what)


def tool_minimum(identity: Identity, path: str) -> int:
    """The smallest size that the file system's own tool names or reaches, and a little more. ``path`` may be written to.

    Raises DamagedError when it is damaged, UnsupportedError when none makes it smaller, FormatError, ProgramError.
    """
    with FileSource(path) as volume:
        if identity.type in EXT:
            if why := read_ext(volume).cannot_shrink:
                raise UnsupportedError(why)
            if read_ext(volume).unclean:
                settle_ext(path, nothing)
            said = run(["resize2fs", "-P", path], timeout=_TOOL_SECONDS).text
            superblock = read_ext(volume)
            return min(_rounded(_number(_EXT_MINIMUM, said, "resize2fs") * superblock.block_size), _ext(superblock))
        if identity.type == "ntfs":
            require_clean(used_map(volume, identity, path=path, offset=0))
            command = ["ntfsresize", "--info", "--force", "--no-progress-bar", path]
            # A full volume is answered by an error, which says what it found as well.
            done = run(command, timeout=_TOOL_SECONDS, ok=(0, 1))
            if not done.code:
                return _rounded(_number(_NTFS_MINIMUM, done.text, "ntfsresize"))
            if "volume is full" in done.text + done.stderr.decode("utf-8", "replace"):
                return volume.size
            raise DamagedError("ntfsresize finds it damaged.", "Check it with Windows (chkdsk /f).")
        used = used_map(volume, identity, path=path, offset=0)
        require_clean(used)
        return _btrfs(used)


def in_place_minimum(path: str, start: int, end: int, identity: Identity) -> int:
    """The smallest size that its own tool gives the ext or NTFS ``[start, end)`` of a disk or file where it is, in bytes.

    0 when it does not tell: of other kinds, of what is damaged, and without root. A disk is looked at over an overlay: a program
    that opens it for writing, be it only to look, makes udev read its table again when it ends.
    """
    if os.geteuid() != 0 or identity.type not in (*EXT, "ntfs"):
        return 0
    try:
        with FileSource(path) as disk, ExitStack() as stack:
            if is_block_device(path):
                node = stack.enter_context(volume_overlay(SourceBlocks(disk), start, end)).path
            else:
                node = stack.enter_context(loop_device(path, offset=start, size=end - start, writable=True))
            if identity.type == "ntfs":
                command = ["ntfsresize", "--info", "--force", "--no-progress-bar", node]
                return _number(_NTFS_MINIMUM, run(command, timeout=_TOOL_SECONDS).text, "ntfsresize")
            superblock = read_ext(SliceSource(disk, start, end))
            if superblock.cannot_shrink:
                return superblock.size
            said = run(["resize2fs", "-P", node], timeout=_TOOL_SECONDS).text
            return _number(_EXT_MINIMUM, said, "resize2fs") * superblock.block_size
    except (FormatError, ProgramError):
        return 0


def require_clean(used: UsedMap) -> None:
    """Raise DamagedError when the map is no map."""
    if used.whole_because:
        raise DamagedError(used.whole_because)


def _by_map(blocks: Blocks, start: int, end: int, volume: Source, identity: Identity, folder: Path) -> Minimum:
    if identity.type == "f2fs":
        # partclone reads it by itself, from a path.
        with volume_overlay(blocks, start, end, folder=folder) as overlay:
            used = used_map(overlay.source, identity, path=overlay.path, offset=0)
    else:
        used = used_map(volume, identity, path="", offset=0)
    require_clean(used)
    size = end - start
    match identity.type:
        case "btrfs":
            return Minimum(min(_btrfs(used), size), "shrink")
        case "vfat":
            return Minimum(min(align_up(fat_refill.smallest(volume), MIB), size), "refill")
        case "exfat":
            return Minimum(min(align_up(exfat_refill.smallest(volume), MIB), size), "refill")
        case "xfs":
            superblock = read_xfs(volume)
            files = used.extents.total - superblock.log_size + shared_bytes(volume)
            return Minimum(min(max(align_up(files + files // 16 + 128 * MIB, MIB), _XFS_LEAST), size), "refill")
        case _:
            total = used.extents.total
            return Minimum(min(max(align_up(total + total // 8 + 64 * MIB, MIB), _F2FS_LEAST), size), "refill")


def _ext(superblock: Superblock) -> int:
    """resize2fs adds up bounds that never meet: its estimate may be twice what is in use, and with -f it gets as small as this.

    What is in use stays, but for the inode tables of groups that go; there must be groups for all inodes. The rest is for
    trees of extents that grow when what they name moves, and for folders, which are copied.
    """
    blocks = superblock.blocks - superblock.free_blocks
    groups = -(-superblock.used_inodes // superblock.group_inodes)
    least = max(blocks + blocks // 32, superblock.first_block + groups * superblock.group_blocks)
    return align_up(least * superblock.block_size + _EXT_SPARE, MIB)


def _btrfs(used: UsedMap) -> int:
    """Metadata is counted twice in the map where there are two copies. Block groups are never quite full."""
    total = used.extents.total
    return align_up(total + total // 6 + _BTRFS_SPARE, MIB)


def _rounded(size: int) -> int:
    """The tools' estimates are exact to a few blocks; one that fails at the end of an hour is worse than one percent."""
    return align_up(size + size // 100 + 2 * MIB, MIB)


def _number(pattern: re.Pattern[str], said: str, program: str) -> int:
    found = pattern.search(said)
    if found is None:
        raise ProgramError(f"{program} did not say how small the volume can be.")
    return int(found[1])
