"""What the contests of ``bench.second`` share: where things lie, and images of day 1 that are made when first needed."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Final

from blake3 import blake3

from bench import ours, peers
from bench.bench import empty
from bench.chunks import stretches_with_places
from bench.day2 import DAY_2
from bench.disk import DISK, BenchDisk
from bench.limits import data_ranges
from bench.turns import Sample
from rescue.engine.reading import read_extents
from rescue.engine.regions import Stretch
from rescue.system.blockfile import FileSource
from rescue.units import MIB

_ZEROS: Final = bytes(MIB)


class Stage:
    """The disk of both days, a folder for all that a run makes, and how many rounds it has."""

    def __init__(self, disk: BenchDisk, day_2: BenchDisk, folder: Path, rounds: int) -> None:
        self.disk = disk
        self.day_2 = day_2
        self.folder = folder
        self.rounds = rounds
        self._image: Path | None = None
        self._saved = False

    @property
    def target(self) -> Path:
        """The file that is restored onto."""
        return self.folder / "target.img"

    def image(self) -> Path:
        """Our full image of day 1, alone in its folder when it is made."""
        if self._image is None:
            folder = self.folder / "ours"
            empty(folder)
            ours.backup(DISK, folder)
            self._image = ours.image_in(folder)
        return self._image

    def peer_images(self) -> Path:
        """The folder of Clonezilla's images of day 1."""
        folder = self.folder / "clonezilla-day1"
        if not self._saved:
            empty(folder)
            peers.backup(self.disk, DISK, folder)
            self._saved = True
        return folder

    def blank_target(self, size: int = 0, *, written: bool = False) -> None:
        """A new target of the disk's size, or of ``size`` bytes.

        Its blocks are all there: as with a disk, none is allocated during the restore. With ``written`` none of them has to be
        told from one that was never written either, which takes this host's file system longer, the more pieces are written;
        and, as with a disk, nothing of it is in the cache.
        """
        self.target.unlink(missing_ok=True)
        size = size or self.disk.size
        with self.target.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            if written:
                for _ in range(size // MIB):
                    file.write(_ZEROS)
                file.flush()
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def target_of_day_2(self) -> None:
        """A new target that holds what the disk holds on day 2."""
        self.blank_target()
        with DAY_2.open("rb") as source, self.target.open("r+b") as target:
            for start, end in data_ranges(DAY_2):
                for offset in range(start, end, MIB):
                    data = os.pread(source.fileno(), min(MIB, end - offset), offset)
                    os.pwrite(target.fileno(), data, offset)

    def remove(self, *names: str) -> None:
        """Remove folders that a contest made and nothing else needs."""
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything that the run made."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read_and_hash(path: Path, stretches: list[Stretch]) -> Sample:
    """Read all that is in use, from the page cache, and hash it with BLAKE3, on all cores: no backup can be faster."""
    workers = os.cpu_count() or 1

    def work(share: list[Stretch]) -> None:
        buffer = memoryview(bytearray(MIB))
        with FileSource(path) as source:
            for part in (part for stretch in share for part in stretch.parts(MIB)):
                # Hashed while it is still in the processor's cache, as a backup does.
                read_extents(source, part.start, part.end, part.extents, buffer)
                blake3(buffer[: part.end - part.start]).digest()

    with ThreadPoolExecutor(workers) as pool:
        began = perf_counter()
        list(pool.map(work, [stretches[number::workers] for number in range(workers)]))
        return Sample(perf_counter() - began)


def used_stretches(path: Path) -> list[Stretch]:
    """What a backup of a disk file has to read."""
    return [stretch for stretch in stretches_with_places(path) if stretch.extents]
