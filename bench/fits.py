"""What time depends on: a disk half as full, and a disk that is smaller than the one that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import ours, peers
from bench.bench import settle
from bench.contest import Contest, Line, denser, faster
from bench.disk import DISK, BenchDisk, BenchPartition
from bench.loop import loop_device, mounted
from bench.make_disk import MOUNT_OPTIONS, SECTOR, used_bytes
from bench.stage import Stage
from bench.truth import same_bytes, same_files
from bench.turns import Contender, Sample, alternate
from rescue.devices.table import read_layout
from rescue.errors import ProgramError, RescueError
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import GIB

SMALLER = 11 * GIB
PROPORTION = 0.8
_TIMEOUT = 1800.0
_TEXT = """
`rescue clone` with its proof onto a file all of whose blocks were written before. *Half as full* is a copy of the disk on
which every second file was deleted: its bytes are still there, and a program that copies whole disks copies them. *Onto 11
GiB*: the disk of 12 GiB onto a smaller one, with ext4, NTFS and btrfs made smaller over an overlay in memory and xfs made
anew and filled by its files where they have to give way. Checked once each: all bytes in use, or every file on ext4, NTFS,
xfs and btrfs. Clonezilla does not do the latter: `partclone.ext4 -r` of its own image onto that smaller partition has to end
with an error here, or this section is not written. The usual advice is GParted first, which changes the source and has no way
for xfs.
"""


def contest(stage: Stage, say: Callable[[str], None]) -> Contest:
    """Measure it."""
    halved = stage.folder / "halved.img"

    def full() -> None:
        stage.blank_target(written=True)
        settle(DISK)

    def half() -> None:
        stage.blank_target(written=True)
        settle(halved)

    def smaller() -> None:
        stage.blank_target(SMALLER, written=True)
        settle(DISK)

    stage.folder.mkdir(parents=True, exist_ok=True)
    less = _halved(stage.disk, halved)
    rows = alternate(
        [
            Contender(
                "rescue clone",
                full,
                lambda: Sample(ours.clone(DISK, stage.target, proof=True).seconds, stage.disk.used),
                lambda: same_bytes(DISK, stage.target, blank=True),
            ),
            Contender(
                "rescue clone, half as full",
                half,
                lambda: Sample(ours.clone(halved, stage.target, proof=True).seconds, less),
                lambda: same_bytes(halved, stage.target, blank=True),
            ),
            Contender(
                "rescue clone, onto 11 GiB",
                smaller,
                lambda: Sample(ours.clone(DISK, stage.target, proof=True).seconds, stage.disk.used),
                lambda: _same_and_only_ours(stage),
            ),
        ],
        stage.rounds,
        say,
    )
    stage.target.unlink(missing_ok=True)
    halved.unlink(missing_ok=True)
    stage.remove("clonezilla-day1")
    by_full, by_half, fitted = rows
    lines = [
        Line("bytes a second of a disk half as full, against the full one", by_half, by_full, denser(PROPORTION)),
        Line("as fast with half of it", by_half, by_full, faster(None)),
        Line("as fast onto a smaller disk", fitted, by_full, faster(None)),
    ]
    return Contest("A disk half as full, and a smaller one", rows, lines, _TEXT, sizes="in use")


def _halved(disk: BenchDisk, path: Path) -> int:
    """A copy of the disk without every second file; the bytes in use on it."""
    run(["cp", "--reflink=auto", "--sparse=auto", str(DISK), str(path)], timeout=_TIMEOUT)
    used = 0
    for partition in disk.partitions:
        if partition.fs == "fat32":  # the kernel may have no driver
            used += partition.used
            continue
        kind, options = MOUNT_OPTIONS[partition.fs]
        with (
            loop_device(path, partition.start, partition.size) as node,
            TemporaryDirectory() as point,
            mounted(node, Path(point), kind, options) as where,
        ):
            files = sorted(file for file in where.rglob("*") if file.is_file() and not file.is_symlink())
            for file in files[::2]:
                file.unlink()
            used += used_bytes(where)
    return used


def _same_and_only_ours(stage: Stage) -> None:
    """Every file came along, and Clonezilla's program refuses to do the same. Raises RescueError."""
    with FileSource(stage.target) as source:
        there = {p.number: p for p in read_layout(source, SECTOR).data_partitions}
    for old in stage.disk.partitions:
        new = there[old.number]
        if old.fs != "fat32":
            same_files(old, DISK, stage.target, BenchPartition(old.number, new.start, new.size, old.fs, old.used))
    (ext4,) = (partition for partition in stage.disk.partitions if partition.fs == "ext4")
    size = there[ext4.number].size
    if size >= ext4.size:
        raise RescueError("The ext4 did not have to become smaller: this section is out of date.")
    images = stage.peer_images()
    with TemporaryDirectory(dir=stage.folder) as folder:
        scratch = Path(folder) / "smaller.img"
        with scratch.open("wb") as file:
            file.truncate(size)
        try:
            peers.restore_partition(BenchPartition(ext4.number, 0, size, ext4.fs, ext4.used), images, scratch)
        except ProgramError:
            return
    raise RescueError("partclone restored an image onto a smaller partition: this section is out of date.")
