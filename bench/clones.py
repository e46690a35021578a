"""The contest of clones: the disk onto another one, by this program and by what people use for it today."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench import ours
from bench.bench import settle
from bench.contest import Contest, Line, denser, faster
from bench.disk import DISK
from bench.loop import loop_device
from bench.stage import Stage
from bench.truth import same_bytes, same_files
from bench.turns import Contender, Sample, alternate
from rescue.errors import DamagedError
from rescue.system.run import run

GOAL = 0.9
_TIMEOUT = 1800.0
_TEXT = """
The disk is cloned onto a file of its size, all of whose blocks are allocated, new each time; the source is in the cache. Each is
over when what it wrote is on the disk: `dd bs=4M conv=notrunc,fsync`; `ddrescue --force` with its mapfile and
`partclone.<fs> -b`, partition by partition through loop devices, and then `fsync`; `rescue clone` with and without its proof.
`dd` and `ddrescue` copy every byte of the disk, the others what is in use: that is *copied*, and rates are of it. Checked once:
our clone has all bytes in use and nothing else, those of `dd` and `ddrescue` are equal to the disk, and every file on the file
systems that partclone copied is what it was.
"""


def contest(stage: Stage, say: Callable[[str], None]) -> Contest:
    """Measure it."""
    whole = stage.disk.size
    used = stage.disk.used

    def prepare() -> None:
        stage.folder.mkdir(parents=True, exist_ok=True)
        stage.blank_target()
        settle(DISK)

    def clone(*, proof: bool) -> Sample:
        return Sample(ours.clone(DISK, stage.target, proof=proof).seconds, used)

    def dd() -> Sample:
        return _timed(whole, [["dd", f"if={DISK}", f"of={stage.target}", "bs=4M", "conv=notrunc,fsync", "status=none"]])

    def ddrescue() -> Sample:
        with TemporaryDirectory(dir=stage.folder) as folder:
            command = ["ddrescue", "--force", "--quiet", str(DISK), str(stage.target), str(Path(folder) / "map")]
            return _timed(whole, [command], flush=stage.target)

    def partclone() -> Sample:
        seconds = 0.0
        with TemporaryDirectory(dir=stage.folder) as folder:
            for partition in stage.disk.partitions:
                with (
                    loop_device(DISK, partition.start, partition.size, read_only=True) as source,
                    loop_device(stage.target, partition.start, partition.size) as target,
                ):
                    log = str(Path(folder) / "partclone.log")
                    command = [f"partclone.{partition.fs}", "-b", "-z", "10485760", "-L", log, "-s", source, "-o", target]
                    seconds += _timed(0, [command], flush=stage.target).seconds
        return Sample(seconds, used)

    def equal() -> None:
        if run(["cmp", "--quiet", str(DISK), str(stage.target)], timeout=_TIMEOUT, ok=(0, 1)).code:
            raise DamagedError(f"{stage.target} is not equal to {DISK}.")

    def in_use() -> None:
        same_bytes(DISK, stage.target, blank=True)

    def files() -> None:
        for partition in stage.disk.partitions:
            if partition.fs != "fat32":  # the kernel may have no driver
                same_files(partition, DISK, stage.target)

    rows = alternate(
        [
            Contender("rescue clone", prepare, lambda: clone(proof=True), in_use),
            Contender("dd", prepare, dd, equal),
            Contender("rescue clone --no-verify", prepare, lambda: clone(proof=False), in_use),
            Contender("ddrescue", prepare, ddrescue, equal),
            Contender("partclone -b", prepare, partclone, files),
        ],
        stage.rounds,
        say,
    )
    stage.target.unlink(missing_ok=True)
    proved, by_dd, plain, by_ddrescue, by_partclone = rows
    lines = [
        Line("bytes a second, without proof, against dd", plain, by_dd, denser(GOAL)),
        Line("bytes a second, with proof, against dd", proved, by_dd, denser(None)),
        Line("as fast as dd", plain, by_dd, faster(None)),
        Line("as fast as dd, with proof", proved, by_dd, faster(None)),
        Line("as fast as ddrescue", plain, by_ddrescue, faster(None)),
        Line("as fast as partclone", plain, by_partclone, faster(None)),
    ]
    return Contest("Cloning a disk", rows, lines, _TEXT, sizes="copied")


def _timed(size: int, commands: list[list[str]], flush: Path | None = None) -> Sample:
    """Run the programs one after the other; then what they wrote into the file ``flush`` goes to the disk."""
    began = perf_counter()
    for command in commands:
        run(command, timeout=_TIMEOUT)
    if flush:
        with flush.open("r+b") as file:
            os.fsync(file.fileno())
    return Sample(perf_counter() - began, size)
