"""Volumes in the middle of a disk file, made by their own mkfs and filled, for tests of fitting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from rescue.engine.overlay import SourceBlocks
from rescue.filesystems.identify import identify
from rescue.model.extents import ExtentMap
from rescue.model.source import Source
from rescue.model.volume import Identity
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.loops import attached

START = 3 * MIB
MKFS: dict[str, tuple[str, ...]] = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-L", "some label", "-U", "UUID"),
    "ext4-1k": ("mkfs.ext4", "-q", "-F", "-b", "1024", "-L", "some label", "-U", "UUID"),
    "ext4-old": ("mkfs.ext4", "-q", "-F", "-O", "^64bit,^metadata_csum,^flex_bg", "-U", "UUID"),
    "ext3": ("mkfs.ext3", "-q", "-F", "-U", "UUID"),
    "ext2": ("mkfs.ext2", "-q", "-F", "-U", "UUID"),
    "ext4-128": ("mkfs.ext4", "-q", "-F", "-I", "128", "-U", "UUID"),
    "ext2-untyped": ("mkfs.ext2", "-q", "-F", "-O", "^filetype", "-U", "UUID"),
    "ntfs": ("mkntfs", "-q", "-F", "-Q", "-L", "some label"),
    "btrfs": ("mkfs.btrfs", "-q", "-L", "some label", "-U", "UUID"),
    "btrfs-xxhash": ("mkfs.btrfs", "-q", "--csum", "xxhash", "-U", "UUID"),
    "xfs": ("mkfs.xfs", "-q", "-L", "some label", "-m", "uuid=UUID"),
    "f2fs": ("mkfs.f2fs", "-q", "-l", "some label", "-U", "UUID"),
}


@dataclass(frozen=True, slots=True)
class Disk:
    """A file with one volume in its middle."""

    path: Path
    start: int
    end: int
    identity: Identity

    @contextmanager
    def blocks(self) -> Iterator[SourceBlocks]:
        """The whole disk as what can be exported."""
        with FileSource(self.path) as source:
            yield SourceBlocks(source)


def make(path: Path, kind: str, size: int, *, behind: int = MIB) -> Disk:
    """A volume of ``size`` bytes at START of a new sparse file, with noise before and ``behind`` it."""
    with path.open("wb") as file:
        file.write(os.urandom(START))
        file.truncate(START + size)
        file.seek(START + size)
        file.write(os.urandom(behind))
    with attached(path, "--offset", str(START), "--sizelimit", str(size)) as node:
        # The kernel and mkfs refuse what is there a second time, in another test.
        name = str(uuid4())
        run([word.replace("UUID", name) for word in (*MKFS[kind], node)], timeout=120)
    return Disk(path, START, START + size, identify(str(path), START, size))


@contextmanager
def opened(path: Path | str, start: int, end: int, driver: str, options: str = "rw") -> Iterator[Path]:
    """The volume mounted."""
    folder = Path(f"/tmp/fit-{os.getpid()}-{os.urandom(4).hex()}")
    folder.mkdir()
    try:
        mode = () if "rw" in options else ("--read-only",)
        with attached(path, "--offset", str(start), "--sizelimit", str(end - start), *mode) as node:
            command = ["ntfs-3g", "-o", options] if driver == "ntfs" else ["mount", "-t", driver, "-o", options]
            run([*command, node, str(folder)])
            try:
                yield folder
            finally:
                run(["umount", str(folder)])
    finally:
        folder.rmdir()


def copy_used(source: Source, used: ExtentMap, path: Path, start: int, size: int) -> None:
    """Write nothing but the used bytes of a volume into a new file, whose other bytes are noise or holes."""
    with path.open("wb") as file:
        file.truncate(start + size)
        for low, high in used:
            for place in range(low, high, MIB):
                file.seek(start + place)
                file.write(source.pread(min(MIB, high - place), place))
