"""``python -m bench.day2``: the generated disk a day later, about 3 % of its content changed the way use changes it.

Every file system of a copy of the disk is mounted (FAT goes through mtools) and its files are changed as programs change
them: packages are upgraded (every file of theirs written anew beside the old one and renamed over it, a third of them
with the content that it had), documents are saved again, logs and mailboxes grow, pages of databases are rewritten in
place, files appear and disappear. Where the new bytes go, and which inodes, directories, journals and trees change with
them, is up to the file systems. What is changed, and into what, comes from a seed.

How much of each, and how scattered, was not chosen by what suits any one program but so that it is a plausible day and
that deduplicating backups of the raw disk find about as much to do as on the disk that the goals were measured on, lost
since. A first try changed as much in more places (hundreds of small packages rather than a few large ones, many
small photos and logs); it was given up because it cost both of them about half as much again.

    added by the second backup of the raw disk      lost disk    this one         first try
    restic 0.14, its defaults                        220 MB      238 MB   +8 %
      in another repository (it cuts at random)                  268 MB  +22 %      364 MB  +65 %
    borg 1.2.4, buzhash, zstd 3                      389 MB      412 MB   +6 %      567 MB  +46 %

About 248 MB are written to files; 268 MB of the disk differ in blocks of 4 KiB and 297 MB in blocks of 64 KiB. A day
whose changes are more scattered costs programs with large chunks more (docs/chunk-sizes.md).
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from bench.disk import CACHE, DISK, BenchDisk, BenchPartition, load, save
from bench.loop import loop_device, mounted
from bench.make_disk import MOUNT_OPTIONS, fat_used, make_disk, used_bytes
from bench.records import records
from rescue.errors import RescueError
from rescue.system.run import run
from rescue.units import KIB, MIB

DAY_2: Final = CACHE / "day2.img"
DAY_2_DESCRIPTION: Final = CACHE / "day2.json"
_PAGE: Final = 4 * KIB


@dataclass(frozen=True, slots=True)
class Day:
    """How much of what a partition holds one day changes: fractions of its bytes in use, counted as they are written.

    ``hot`` is how many bytes of a database the rewritten pages of one place are spread over, ``rewritten`` how many of
    them are rewritten there. ``version`` changes when the code does.
    """

    version: int
    upgraded: float
    created: float
    saved: float
    appended: float
    paged: float
    deleted: float
    hot: int
    rewritten: int

    @property
    def changed(self) -> float:
        """All that is written, as a fraction."""
        return self.upgraded + self.created + self.saved + self.appended + self.paged

    def key(self, disk: BenchDisk, made: int) -> str:
        """A name for this day on that disk, whose file was finished at ``made`` (nanoseconds)."""
        told = [asdict(self), disk.key, made]
        return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()[:16]


DAY: Final = Day(
    version=1,
    upgraded=0.013,
    created=0.0085,
    saved=0.0015,
    appended=0.004,
    paged=0.0015,
    deleted=0.01,
    hot=1 * MIB,
    rewritten=512 * KIB,
)


class _Day:
    """One file system's day. ``folder`` is where it is mounted, ``used`` how many bytes of it are in use."""

    def __init__(self, day: Day, folder: Path, used: int, seed: int) -> None:
        self._day = day
        self._folder = folder
        self._used = used
        self._rng = random.Random(seed)
        self._files = list(_files(folder))

    def pass_by(self) -> None:
        """Make all the changes."""
        self._upgrade(self._share(self._day.upgraded))
        self._rewrite_pages(self._share(self._day.paged))
        self._save_again(self._share(self._day.saved))
        self._append(self._share(self._day.appended))
        self._delete(self._share(self._day.deleted))
        self._create(self._share(self._day.created))

    def _share(self, fraction: float) -> int:
        return int(self._used * fraction)

    def _named(self, *suffixes: str) -> list[Path]:
        """The files whose names end so and that are still there, in random order."""
        found = [path for path in self._files if path.suffix in suffixes and path.is_file()]
        self._rng.shuffle(found)
        return found

    def _packages(self) -> list[list[Path]]:
        """What is upgraded together: the files of Debian packages, or else the large programs of one folder."""
        known = set(self._files)
        groups: list[list[Path]] = []
        for listing in sorted((self._folder / "var/lib/dpkg/info").glob("*.list")):
            named = (self._folder / line.lstrip("/") for line in listing.read_text().splitlines())
            groups.append([path for path in named if path in known])
        if not groups:
            folders: dict[Path, list[Path]] = {}
            for path in self._files:
                if path.suffix == ".so" and path.stat().st_size >= MIB:
                    folders.setdefault(path.parent, []).append(path)
            groups = list(folders.values())
        self._rng.shuffle(groups)
        return groups

    def _upgrade(self, amount: int) -> None:
        # A few large packages rather than hundreds of small ones: browsers and kernels are upgraded far more often.
        least = amount // 3
        for package in self._packages():
            size = sum(path.stat().st_size for path in package)
            if not least <= size <= amount:
                continue
            amount -= size
            for path in package:
                self._replace(path, same=self._rng.random() < 1 / 3)

    def _save_again(self, amount: int) -> None:
        for path in self._named(".txt", ".jpg"):
            if amount <= 0:
                return
            if path.stat().st_size <= 8 * MIB:
                amount -= self._replace(path, same=False)

    def _replace(self, path: Path, *, same: bool) -> int:
        """Write a new version of a file beside it and rename it over it; its size."""
        content = bytearray(path.read_bytes())
        if not same:
            # A changed address, date or word every few KiB: as compressible as before, but no longer the same.
            for start in range(0, len(content), 4 * KIB):
                length = min(16, len(content) - start)
                at = start + self._rng.randrange(min(4 * KIB, len(content) - start) - length + 1)
                content[at : at + length] = self._rng.randbytes(length)
        mode = path.stat().st_mode & 0o7777
        new = path.with_name(path.name + ".new")
        new.write_bytes(content)
        new.chmod(mode)
        new.replace(path)
        return len(content)

    def _append(self, amount: int) -> None:
        for path in self._named(".log"):
            if amount <= 0:
                return
            size = min(self._rng.randint(1 * MIB, 8 * MIB), amount)
            with path.open("ab") as file:
                for block in records(size, MIB, self._rng):
                    file.write(block)
            amount -= size

    def _rewrite_pages(self, amount: int) -> None:
        databases = [path for path in self._named(".db") if path.stat().st_size > 2 * self._day.hot]
        busy = databases[: max(len(databases) // 3, 1)]
        while busy and amount > 0:
            with self._rng.choice(busy).open("r+b") as file:
                pages = file.seek(0, os.SEEK_END) // _PAGE
                hot = self._day.hot // _PAGE
                first = self._rng.randrange(pages - hot)
                for page in sorted(self._rng.sample(range(first, first + hot), self._day.rewritten // _PAGE)):
                    payload = self._rng.randbytes(self._rng.randint(256, 2048))
                    file.seek(page * _PAGE)
                    file.write((page.to_bytes(8, "little") + payload).ljust(_PAGE, b"\0"))
                    amount -= _PAGE

    def _delete(self, amount: int) -> None:
        for path in self._named(".jpg", ".txt", ".log", ".so"):
            if amount <= 0:
                return
            # Libraries of the system itself stay: programs would miss them.
            if path.is_relative_to(self._folder / "usr") or path.stat().st_size > amount:
                continue
            amount -= path.stat().st_size
            path.unlink()

    def _create(self, amount: int) -> None:
        homes = sorted({path.parent for path in self._named(".jpg")})
        if not homes:
            raise RescueError(f"{self._folder} holds no photos, so there is no place where new ones belong.")
        folder = self._rng.choice(homes)
        for number in range(10_000):
            if amount <= 0:
                return
            size = min(int(6 * MIB * self._rng.lognormvariate(0.0, 0.8)), amount)
            with (folder / f"new-{number:04d}.jpg").open("wb") as file:
                for start in range(0, size, MIB):
                    file.write(self._rng.randbytes(min(MIB, size - start)))
            amount -= size


def _files(folder: Path) -> Iterator[Path]:
    """The regular files below a folder, always in the same order, no link followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path


def pass_day(folder: Path, used: int, seed: int, day: Day = DAY) -> None:
    """Change the files below ``folder``, which hold ``used`` bytes. Raises RescueError when it holds nothing to go by."""
    _Day(day, folder, used, seed).pass_by()


def _states(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """By relative path: what differs once a file was replaced or written to."""
    stats = ((path, path.stat()) for path in _files(folder))
    return {path.relative_to(folder): (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats}


def _change_fat(disk: Path, partition: BenchPartition, day: Day) -> int:
    """A day on a FAT volume: changed in a folder, and what differs copied by mtools. Bytes in use afterwards."""
    volume = f"{disk}@@{partition.start}"
    with TemporaryDirectory(dir=disk.parent) as scratch:
        folder = Path(scratch)
        run(["mcopy", "-s", "-m", "-Q", "-i", volume, "::/EFI", str(folder)], timeout=600)
        before = _states(folder)
        pass_day(folder, partition.used, partition.number, day)
        after = _states(folder)
        for path in sorted(before.keys() - after.keys()):
            run(["mdel", "-i", volume, f"::/{path}"])
        for path in sorted(after):
            if before.get(path) != after[path]:
                run(["mcopy", "-o", "-i", volume, str(folder / path), f"::/{path}"])
        return fat_used(folder)


def _change(disk: Path, partition: BenchPartition, day: Day) -> int:
    """A day on one partition; bytes in use afterwards."""
    if partition.fs == "fat32":
        return _change_fat(disk, partition, day)
    kind, options = MOUNT_OPTIONS[partition.fs]
    with (
        loop_device(disk, partition.start, partition.size) as node,
        TemporaryDirectory(dir=disk.parent) as scratch,
        mounted(node, Path(scratch), kind, options) as where,
    ):
        pass_day(where, partition.used, partition.number, day)
        return used_bytes(where)


def make_day_2(disk: BenchDisk, day: Day = DAY, folder: Path = CACHE) -> BenchDisk:
    """Let a day pass on a copy of the disk, unless that copy is there. Raises RescueError when a tool fails."""
    source, image, description = (folder / path.name for path in (DISK, DAY_2, DAY_2_DESCRIPTION))
    key = day.key(disk, source.stat().st_mtime_ns)
    known = load(description)
    if known and known.key == key and image.exists():
        return known
    description.unlink(missing_ok=True)
    image.unlink(missing_ok=True)
    partial = image.with_suffix(".partial")
    # Not --sparse=always: what the free space holds is part of the disk.
    run(["cp", "--reflink=auto", "--sparse=auto", str(source), str(partial)], timeout=900)
    partitions: list[BenchPartition] = []
    for part in disk.partitions:
        print(f"{time.strftime('%H:%M:%S')} day 2, partition {part.number}: {part.fs}", file=sys.stderr, flush=True)
        partitions.append(BenchPartition(part.number, part.start, part.size, part.fs, _change(partial, part, day)))
    os.sync()
    made = BenchDisk(key, disk.size, tuple(partitions))
    partial.rename(image)
    save(made, description)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the disk of day 2 and print its description."""
    try:
        make_day_2(make_disk())
    except RescueError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(DAY_2_DESCRIPTION.read_text(), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
