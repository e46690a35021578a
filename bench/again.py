"""The contest of second backups: day 1 is there already, and day 2 is to be added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench import ours, peers
from bench.archives import Archiver, Borg, Repository, Restic
from bench.bench import empty, settle
from bench.contest import Contest, Line, faster, lighter, share
from bench.day2 import DAY_2
from bench.disk import DISK
from bench.stage import Stage, read_and_hash, used_stretches
from bench.truth import same_bytes, same_files
from bench.turns import Contender, Sample, alternate
from rescue.errors import RescueError
from rescue.planning.names import OTHER_SUFFIX

GOAL = 8.0
_FIXED = "fixed,4194304"
_TEXT = """
Day 1 is backed up already; about 3 % of the content has changed since (`bench/day2.py`). All read from a warm cache.

- *Rescue* is `rescue backup DISK DEST --kind incremental --no-verify`, the full image of day 1 beside it.
- *restic* and *borg* back up the raw disk, with their defaults but for what is named. Before each round their repository is
  that of day 1 again (hard links; their caches copied). restic gets the disk {way}, which was the faster way here (a raw
  device can only be given to it through standard input); compression is "auto", packs are of its default size. borg's
  repository is not encrypted.
- *Clonezilla* has no second backup: its pipeline saves everything again.
- *Reading and hashing* is that of all bytes in use, from the page cache, by one thread a core, and nothing else.
- Checked once: Rescue's image of day 2 is restored and compared with the disk byte for byte (what is not in use: zeros), and all
  files of ext4, NTFS, xfs and btrfs by their hashes; what restic and borg give back is compared byte for byte;
  Clonezilla's images by `partclone.chkimg`.
"""


class _Archive:
    """A repository and who fills it; made when first needed, and shared by borg's two compressions."""

    def __init__(self, folder: Path) -> None:
        self._repository = Repository(folder)
        self._filled = False

    def prepare(self, archiver: Archiver) -> None:
        """The state after day 1, and day 2 in the cache."""
        if not self._filled:
            settle(DISK)
            self._repository.fill(archiver, DISK)
            self._filled = True
        self._repository.reset()
        settle(DAY_2)

    def contender(self, name: str, archiver: Archiver) -> Contender:
        """This archiver's turn on this repository."""
        return Contender(
            name,
            lambda: self.prepare(archiver),
            lambda: self._repository.second(archiver, DAY_2),
            lambda: self._repository.compare(archiver, DAY_2),
        )


class _FasterRestic:
    """restic in the way that is the faster one here; tried once, when first needed."""

    def __init__(self, archive: _Archive, say: Callable[[str], None]) -> None:
        self._archive = archive
        self._say = say
        self._best: Contender | None = None
        self.way = "(not known: it failed)"

    def _chosen(self) -> Contender:
        if self._best is None:
            ways = {"through standard input": Restic(stdin=True), "as a file": Restic(stdin=False)}
            found: list[tuple[float, str, Contender]] = []
            for way, archiver in ways.items():
                contender = self._archive.contender("restic", archiver)
                contender.prepare()
                seconds = contender.work().seconds
                self._say(f"restic, the disk given {way}: {seconds:.1f} s")
                found.append((seconds, way, contender))
            _, self.way, self._best = min(found, key=lambda one: one[0])
        return self._best

    def contender(self) -> Contender:
        """restic's turn."""
        return Contender(
            "restic",
            lambda: self._chosen().prepare(),
            lambda: self._chosen().work(),
            lambda: self._chosen().check(),
        )


class _Ours:
    """Our turn: an incremental image beside the full one."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def _prepare(self) -> None:
        image = self._stage.image()
        for path in image.parent.iterdir():
            if path.name.startswith("day2."):
                path.unlink()
        settle(DAY_2)

    def _work(self) -> Sample:
        result = ours.incremental(DAY_2, self._stage.image().parent, "day2")
        return Sample(result.seconds, result.size)

    def _check(self) -> None:
        stage = self._stage
        image = stage.image().parent / f"day2{OTHER_SUFFIX}"
        if not image.exists():
            raise RescueError(f"There is no {image.name} in {image.parent} after the incremental backup.")
        stage.blank_target()
        ours.restore(image, stage.target, proof=False)
        same_bytes(DAY_2, stage.target, blank=True)
        for partition in stage.day_2.partitions:
            if partition.fs != "fat32":
                same_files(partition, DAY_2, stage.target)
        stage.target.unlink()

    def contender(self) -> Contender:
        """This program's turn."""
        return Contender("Rescue, incremental", self._prepare, self._work, self._check)


def _clonezilla(stage: Stage) -> Contender:
    folder = stage.folder / "clonezilla-day2"

    def prepare() -> None:
        empty(folder)
        settle(DAY_2)

    def work() -> Sample:
        result = peers.backup(stage.day_2, DAY_2, folder)
        return Sample(result.seconds, result.size)

    def check() -> None:
        peers.check(stage.day_2, folder)

    return Contender("Clonezilla, all of it again", prepare, work, check)


def _floor() -> Contender:
    stretches = used_stretches(DAY_2)
    return Contender(
        "reading and hashing alone",
        lambda: settle(DAY_2),
        lambda: read_and_hash(DAY_2, stretches),
        lambda: None,
    )


def contest(stage: Stage, say: Callable[[str], None]) -> Contest:
    """Measure it."""
    restic = _FasterRestic(_Archive(stage.folder / "restic"), say)
    buzhash, fixed = _Archive(stage.folder / "borg-buzhash"), _Archive(stage.folder / "borg-fixed")
    contenders = [
        _Ours(stage).contender(),
        restic.contender(),
        buzhash.contender("borg, buzhash, zstd 3", Borg("zstd,3")),
        buzhash.contender("borg, buzhash, lz4", Borg("lz4")),
        fixed.contender("borg, fixed 4 MiB, zstd 3", Borg("zstd,3", _FIXED)),
        fixed.contender("borg, fixed 4 MiB, lz4", Borg("lz4", _FIXED)),
        _clonezilla(stage),
        _floor(),
    ]
    rows = alternate(contenders, stage.rounds, say)
    stage.remove("restic", "borg-buzhash", "borg-fixed", "clonezilla-day2")
    mine, others, floor = rows[0], rows[1:-1], rows[-1]
    lines = [
        *(Line(f"Rescue as fast as {row.name}", mine, row, faster(GOAL)) for row in others[:-1]),
        Line(f"Rescue as fast as {others[-1].name}", mine, others[-1], faster(None)),
        Line("bytes added, Rescue : restic", mine, others[0], lighter),
        Line("reading and hashing alone, share of Rescue's time", mine, floor, share),
    ]
    return Contest("The second backup", rows, lines, _TEXT.format(way=restic.way))
