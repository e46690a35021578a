"""The contest of single files: out of our image, and out of Clonezilla's, which has to restore the partition first."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench import ours, peers
from bench.bench import empty, settle
from bench.contest import Contest, Line, faster
from bench.disk import DISK, BenchPartition
from bench.loop import loop_device, mounted
from bench.make_disk import MOUNT_OPTIONS
from bench.stage import Stage
from bench.turns import Contender, Sample, alternate
from rescue.errors import DamagedError, RescueError
from rescue.units import MIB

_SIZE = 8 * MIB
_TEXT = """
One photo of about 8 MiB out of the image of day 1, from each file system: `rescue extract IMAGE 2:/PATH DEST`, against
restoring that partition with Clonezilla's pipeline onto a new file, mounting it and copying. Both files are compared with
the one on the disk. Images are in the cache.
"""


class _Wanted:
    """The file to get: chosen on the disk, where a copy of it is made to compare with."""

    def __init__(self, stage: Stage, partition: BenchPartition) -> None:
        self.partition = partition
        self.out = stage.folder / f"out-{partition.number}"
        self.reference = stage.folder / f"reference-{partition.number}"
        self._stage = stage
        kind, _ = MOUNT_OPTIONS[partition.fs]
        with (
            loop_device(DISK, partition.start, partition.size, read_only=True) as node,
            TemporaryDirectory() as point,
            mounted(node, Path(point), kind, "ro") as where,
        ):
            photos = sorted(path for path in where.rglob("*.jpg") if path.is_file() and not path.is_symlink())
            if not photos:
                raise RescueError(f"Partition {partition.number} ({partition.fs}) of the generated disk holds no photo.")
            chosen = min(photos, key=lambda path: abs(path.stat().st_size - _SIZE))
            self.path = f"/{chosen.relative_to(where)}"
            self.reference.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(chosen, self.reference)

    def ours(self) -> Contender:
        """This program's turn."""
        return Contender(f"Rescue, {self.partition.fs}", lambda: self._empty(self._stage.image()), self._extract, self._check)

    def clonezilla(self) -> Contender:
        """Clonezilla's turn."""

        def prepare() -> None:
            self._empty(*self._stage.peer_images().iterdir())

        return Contender(f"Clonezilla, {self.partition.fs}", prepare, self._restore_and_copy, self._check)

    def _empty(self, *inputs: Path) -> None:
        empty(self.out)
        settle(*inputs)

    def _extract(self) -> Sample:
        return Sample(ours.extract(self._stage.image(), self.partition.number, self.path, self.out).seconds)

    def _restore_and_copy(self) -> Sample:
        partition, images = self.partition, self._stage.peer_images()
        kind, _ = MOUNT_OPTIONS[partition.fs]
        scratch = self._stage.folder / "partition.img"
        scratch.unlink(missing_ok=True)
        scratch.touch()
        os.truncate(scratch, partition.start + partition.size)
        began = perf_counter()
        peers.restore_partition(partition, images, scratch)
        with (
            loop_device(scratch, partition.start, partition.size, read_only=True) as node,
            TemporaryDirectory() as point,
            mounted(node, Path(point), kind, "ro") as where,
        ):
            shutil.copy(where / self.path.lstrip("/"), self.out)
        seconds = perf_counter() - began
        scratch.unlink()
        return Sample(seconds)

    def _check(self) -> None:
        found = [path for path in self.out.rglob("*") if path.is_file()]
        if len(found) != 1 or not filecmp.cmp(found[0], self.reference, shallow=False):
            raise DamagedError(f"What came out of partition {self.partition.number} is not {self.path} as it is on the disk.")


def contest(stage: Stage, say: Callable[[str], None]) -> Contest:
    """Measure it."""
    contenders: list[Contender] = []
    for partition in stage.disk.partitions:
        if partition.fs == "fat32":  # too small to tell anything, and Clonezilla's side could not mount it everywhere
            continue
        wanted = _Wanted(stage, partition)
        contenders += [wanted.ours(), wanted.clonezilla()]
    rows = alternate(contenders, stage.rounds, say)
    lines = [
        Line(f"{mine.name} as fast as Clonezilla", mine, theirs, faster(None))
        for mine, theirs in zip(rows[::2], rows[1::2], strict=True)
    ]
    return Contest("One file out of an image", rows, lines, _TEXT)
