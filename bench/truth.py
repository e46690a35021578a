"""Is what was restored really the disk? By bytes of what is in use, and, trusting no used map, by the files themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from blake3 import blake3

from bench.chunks import stretches_with_places
from bench.disk import BenchPartition
from bench.limits import data_ranges
from bench.loop import loop_device, mounted
from bench.make_disk import MOUNT_OPTIONS
from rescue.engine.reading import read_extents
from rescue.engine.regions import FRAME_SIZE
from rescue.errors import DamagedError
from rescue.system.blockfile import FileSource
from rescue.units import MIB


def same_bytes(disk: Path, restored: Path, *, blank: bool) -> None:
    """Compare all that is in use on ``disk``; with ``blank`` everything else of ``restored`` has to be zeros.

    Raises DamagedError at the first place that differs.
    """
    wanted, found = memoryview(bytearray(FRAME_SIZE)), memoryview(bytearray(FRAME_SIZE))
    end = 0
    with FileSource(disk) as source, FileSource(restored) as target:
        if source.size != target.size:
            raise DamagedError(f"{restored} has {target.size} bytes, {disk} has {source.size}.")
        for stretch in stretches_with_places(disk):
            if not stretch.extents:
                continue
            length = stretch.end - stretch.start
            read_extents(source, stretch.start, stretch.end, stretch.extents, wanted)
            if blank:
                _zeros(restored, end, stretch.start)
                target.pread_into(found[:length], stretch.start)
            else:
                read_extents(target, stretch.start, stretch.end, stretch.extents, found)
            if wanted[:length] != found[:length]:
                raise DamagedError(f"{restored} differs from {disk} between bytes {stretch.start} and {stretch.end}.")
            end = stretch.end
    if blank:
        _zeros(restored, end, restored.stat().st_size)


def _zeros(path: Path, start: int, end: int) -> None:
    """Raise DamagedError unless a range of a file is all zeros. Holes are not read."""
    with path.open("rb") as file:
        for position, stop in data_ranges(path, start, end):
            for offset in range(position, stop, MIB):
                data = os.pread(file.fileno(), min(MIB, stop - offset), offset)
                if data.count(0) != len(data):
                    raise DamagedError(f"{path} holds something near byte {offset}, where nothing is in use on the disk.")


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent, name) for name in sorted([*folders, *names]))


def _tree(disk: Path, partition: BenchPartition) -> dict[str, str]:
    """Every name on a partition with what is behind it: a hash, the place where a link leads, or the kind of thing."""
    kind, _ = MOUNT_OPTIONS[partition.fs]
    found: dict[str, str] = {}
    with (
        loop_device(disk, partition.start, partition.size, read_only=True) as node,
        TemporaryDirectory() as point,
        mounted(node, Path(point), kind, "ro") as where,
    ):
        for path in _walk(where):
            name = str(path.relative_to(where))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                with path.open("rb") as file:
                    digest = blake3()
                    while block := file.read(MIB):
                        digest.update(block)
                found[name] = digest.hexdigest()
            else:
                found[name] = f"{path.lstat().st_mode:o}"
    return found


def same_files(partition: BenchPartition, disk: Path, restored: Path, there: BenchPartition | None = None) -> None:
    """Mount a partition of both, one after the other, and compare every file. Raises DamagedError.

    ``there``: where it is on ``restored``, if elsewhere. Not for FAT, which the kernel may not know.
    """
    wanted, found = _tree(disk, partition), _tree(restored, there or partition)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise DamagedError(f"Partition {partition.number} ({partition.fs}): {name} is not restored as it was.")
