"""What in a system names file systems and partitions by UUID: fstab, crypttab, GRUB and systemd-boot follow when those change.

No symbolic link is followed, so that nothing outside of the file system can be reached.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from rescue.engine.fat_content import Chain, Folder, read_content
from rescue.engine.resizing import EXT, mounted_here
from rescue.errors import RescueError
from rescue.model.source import SliceSource
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.loop import loop_device
from rescue.system.mounts import in_private_mounts
from rescue.units import GIB, MIB

# Below the root of a system, and below the root of a /boot of its own. A star stands for any name.
_FILES: Final = (
    "etc/fstab",
    "etc/crypttab",
    "etc/default/grub",
    "etc/default/grub.d/*",
    "etc/kernel/cmdline",
    "etc/initramfs-tools/conf.d/resume",
    "boot/grub/grub.cfg",
    "boot/grub/custom.cfg",
    "boot/grub2/grub.cfg",
    "boot/loader/entries/*",
    "grub/grub.cfg",
    "grub/custom.cfg",
    "grub2/grub.cfg",
    "loader/entries/*",
)
_MOUNT: Final = {"xfs": ("nouuid",), "btrfs": ("subvolid=5",)}
_LARGEST: Final = 4 * MIB
_MOST_NAMES: Final = 4096
_SUBVOLUME: Final = 256  # the inode number of the root of each
_LARGEST_FAT: Final = 8 * GIB  # those that hold boot loaders are small
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


def replaced(text: bytes, names: Mapping[str, str]) -> bytes:
    """The same text with other identifiers, each in the capitals that the old one had. Parts of longer ones stay."""
    if not names:
        return text
    by_lower = {old.lower(): new for old, new in names.items()}
    words = b"|".join(re.escape(old.encode()) for old in sorted(by_lower, key=len, reverse=True))
    pattern = re.compile(rb"(?<![\w-])(?:" + words + rb")(?![\w-])", re.IGNORECASE)

    def other(found: re.Match[bytes]) -> bytes:
        new = by_lower[found[0].decode().lower()]
        letters = [c for c in found[0].decode() if c.isalpha()]
        is_upper = bool(letters) and all(c.isupper() for c in letters)
        return (new.upper() if is_upper else new.lower() if letters else new).encode()

    return pattern.sub(other, text)


class Followed(NamedTuple):
    """Files that name the new ones now, and those that nobody may change: in a read-only snapshot, or with the flag for that."""

    changed: list[str]
    left: list[str]


def follow(path: str, start: int, end: int, kind: str, names: Mapping[str, str]) -> Followed:
    """Change ``names`` in the files of one file system ``[start, end)`` of a disk.

    Needs root, and the kernel's driver, but for FAT. Raises UnsupportedError, ProgramError, TargetWriteError, RescueError.
    """
    if kind == "vfat":
        return Followed(_in_fat(path, start, end, names) if end - start <= _LARGEST_FAT else [], [])
    if kind not in (*EXT, "xfs", "btrfs"):
        return Followed([], [])

    def edit() -> Followed:
        with (
            loop_device(path, offset=start, size=end - start, writable=True) as node,
            mounted_here(node, kind, ["rw", "nosuid", "nodev", "noexec", *_MOUNT.get(kind, ())]) as root,
        ):
            return _in_tree(root, kind, names)

    return in_private_mounts(edit)


def _in_tree(root: Path, kind: str, names: Mapping[str, str]) -> Followed:
    followed = Followed([], [])
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    try:
        roots = ["", *(name for name in sorted(os.listdir(top))[:_MOST_NAMES] if kind == "btrfs" and _is_subvolume(top, name))]
        for prefix in roots:
            for pattern in _FILES:
                parts = [*filter(None, [prefix]), *pattern.split("/")]
                for found, is_changed in _edited(top, parts, [], names):
                    (followed.changed if is_changed else followed.left).append("/".join(found))
    except OSError as error:
        raise RescueError(f"The files that name file systems could not be changed: {error.strerror}.") from error
    finally:
        os.close(top)
    return followed


def _is_subvolume(folder: int, name: str) -> bool:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISDIR(found.st_mode) and found.st_ino == _SUBVOLUME


def _edited(folder: int, parts: list[str], way: list[str], names: Mapping[str, str]) -> Iterator[tuple[list[str], bool]]:
    """Change the files that a path leads to; the ways of those that name something, and whether they could be changed."""
    first, rest = parts[0], parts[1:]
    for name in sorted(os.listdir(folder))[:_MOST_NAMES] if first == "*" else [first]:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if rest and stat.S_ISDIR(found.st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=folder)
            try:
                yield from _edited(below, rest, [*way, name], names)
            finally:
                os.close(below)
        elif not rest and stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST:
            is_changed = _edit(folder, name, names)
            if is_changed is not None:
                yield [*way, name], is_changed


def _edit(folder: int, name: str, names: Mapping[str, str]) -> bool | None:
    """Whether a file was changed; None when it names nothing that changes."""
    with os.fdopen(os.open(name, os.O_RDONLY | _FLAGS, dir_fd=folder), "rb") as file:
        old = file.read(_LARGEST)
    new = replaced(old, names)
    if new == old:
        return None
    try:
        fd = os.open(name, os.O_RDWR | _FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EPERM):
            return False
        raise
    with os.fdopen(fd, "r+b") as file:
        file.write(new)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    return True


def _in_fat(path: str, start: int, end: int, names: Mapping[str, str]) -> list[str]:
    """By the bytes of the files: what becomes longer or shorter stays as it is."""
    same = {old: new for old, new in names.items() if len(old) == len(new)}
    changed = []
    with FileSource(path) as source, FileSink(path) as sink:
        volume = SliceSource(source, start, end)
        for name, chain in _boot_files(read_content(volume).root):
            if chain.size > _LARGEST:
                continue
            old = b"".join(volume.pread(high - low, low) for low, high in chain.runs)[: chain.size]
            new = replaced(old, same)
            if new == old:
                continue
            position = 0
            for low, high in chain.runs:
                piece = new[position : position + high - low]
                if piece:
                    sink.pwrite(piece, start + low)
                position += high - low
            changed.append(name)
        sink.flush()
    return changed


def _boot_files(root: Folder) -> Iterator[tuple[str, Chain]]:
    """``EFI/*/*.CFG``, ``loader/entries/*.conf`` and ``cmdline.txt``, by their short names."""
    yield from ((name, chain) for name, chain in _named(root) if name == "CMDLINE.TXT")
    for name, chain in _named(root):
        if name == "EFI" and chain.folder:
            for maker, below in _named(chain.folder):
                if below.folder:
                    yield from ((f"EFI/{maker}/{n}", c) for n, c in _named(below.folder) if n.endswith(".CFG") and not c.folder)
        if name == "LOADER" and chain.folder:
            for entries, below in _named(chain.folder):
                if entries == "ENTRIES" and below.folder:
                    yield from ((f"LOADER/ENTRIES/{n}", c) for n, c in _named(below.folder) if not c.folder)


def _named(folder: Folder) -> Iterator[tuple[str, Chain]]:
    for offset, chain in folder.named.items():
        raw = bytes(folder.entries[offset : offset + 11]).decode("cp850", "replace")
        base, suffix = raw[:8].rstrip(), raw[8:].rstrip()
        yield (f"{base}.{suffix}" if suffix else base).upper(), chain
