"""The used maps of FAT12, FAT16 and FAT32 with the geometries that mkfs.fat makes, against both oracles."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.filesystems.fat import used_map
from rescue.model.extents import ExtentMap
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.filesystems.oracle import (
    Case,
    Tree,
    checker,
    describe,
    partclone_map,
    prove,
    read_map,
    restore_onto_noise,
    sparse_file,
)

pytestmark = pytest.mark.engine

# mtools speaks the file names' character set only in a locale that has it.
_LOCALE = {"LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"}


def _make(*options: str) -> Callable[[Path], None]:
    return lambda path: _format(path, *options)


def _format(path: Path, *options: str) -> None:
    run(["mkfs.fat", *options, str(path)])


def _write_files(folder: Path, seed: int, amount: int) -> None:
    """About ``amount`` bytes in files of all sizes, in two folders."""
    chance = random.Random(seed)
    written, number = 0, 0
    while written < amount:
        size = min(chance.choice([0, 1, 500, 3000, 20_000, 150_000]), max(amount // 5, 1))
        below = folder / f"folder {seed} {number % 2}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"a longer näme {number}.dat").write_bytes(chance.randbytes(size))
        written += size + 600
        number += 1


def _populate(amount: int) -> Callable[[Path], None]:
    """Fill by mtools (this needs no driver), delete every second file, fill the holes with others."""

    def populate(path: Path) -> None:
        for seed in (1, 2):
            folder = path.with_name(f"files {seed}")
            _write_files(folder, seed, amount)
            run(["mcopy", "-s", "-Q", "-i", str(path), *map(str, sorted(folder.iterdir())), "::/"], env=_LOCALE)
            if seed == 1:
                gone = sorted(p for p in folder.rglob("*") if p.is_file())[::2]
                names = [f"::/{p.relative_to(folder)}" for p in gone]
                run(["mdel", "-i", str(path), *names], env=_LOCALE)
            shutil.rmtree(folder)

    return populate


def _read_back(path: Path) -> Tree:
    folder = path.with_name("read back")
    folder.mkdir()
    run(["mcopy", "-s", "-Q", "-n", "-i", str(path), "::/*", str(folder)], env=_LOCALE, timeout=120)
    tree = describe(folder)
    shutil.rmtree(folder)
    return tree


def _case(name: str, size: int, *options: str, partclone: str = "fat", exceed: int = 128 * KIB) -> Case:
    amount = min(size // 4, 6 * MIB)
    check = checker("fsck.fat", "-n")
    why = "we keep what is behind the last cluster"
    return Case(
        name, size, _make(*options), _populate(amount), _read_back, check, partclone, may_exceed=exceed, why_exceeding=why
    )


_CASES = [
    _case("FAT12, a floppy", 1440 * KIB, "-F", "12", partclone=""),
    _case("FAT12, 4 MiB", 4 * MIB, "-F", "12", partclone=""),
    _case("FAT12, one table", 3 * MIB, "-F", "12", "-f", "1", partclone=""),
    _case("FAT12, sectors of 2048", 16 * MIB, "-F", "12", "-S", "2048", partclone=""),
    _case("FAT16", 64 * MIB, "-F", "16"),
    _case("FAT16, one sector a cluster", 20 * MIB, "-F", "16", "-s", "1"),
    _case("FAT16, 128 sectors a cluster", 512 * MIB, "-F", "16", "-s", "128"),
    _case("FAT16, few clusters", 9 * MIB, "-F", "16", "-s", "4"),
    _case("FAT16, one table, odd root", 40 * MIB, "-F", "16", "-f", "1", "-r", "336", "-a"),
    _case("FAT16, sectors of 4096", 128 * MIB, "-F", "16", "-S", "4096"),
    _case("FAT32", 300 * MIB, "-F", "32"),
    _case("FAT32, one sector a cluster", 100 * MIB, "-F", "32", "-s", "1"),
    _case("FAT32, one table, nothing aligned", 100 * MIB, "-F", "32", "-f", "1", "-a", "-R", "37", "-h", "63"),
    _case("FAT32, 16 KiB clusters", 1040 * MIB, "-F", "32", "-s", "32"),
    _case("FAT32, sectors of 4096", 400 * MIB, "-F", "32", "-S", "4096"),
    _case("an odd number of sectors", 300 * MIB - 7 * 512, "-F", "32"),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_both_oracles_agree(case: Case, tmp_path: Path) -> None:
    prove(case, tmp_path, used_map)


def test_fat32_with_fewer_clusters_than_the_specification_asks_for(tmp_path: Path) -> None:
    """As on many EFI system partitions. mtools reads these as FAT16, so the check and partclone must do."""
    path = sparse_file(tmp_path / "volume", 36 * MIB)
    _format(path, "-F", "32", "-s", "8", "-n", "EFI")
    used = read_map(path, used_map)
    assert not used.whole_because
    assert partclone_map(path, "fat").difference(used.extents).total == 0
    assert used.extents.total < 1 * MIB
    checker("fsck.fat", "-n")(restore_onto_noise(path, used.extents, tmp_path / "restored"))


def test_partclone_misreads_fat12(tmp_path: Path) -> None:
    """Why FAT12 has no partclone oracle: its map leaves out clusters of a file. When this fails, use it as one."""
    path = sparse_file(tmp_path / "volume", 4 * MIB)
    _format(path, "-F", "12")
    content = random.Random(1).randbytes(200_000)
    (tmp_path / "file").write_bytes(content)
    run(["mcopy", "-i", str(path), str(tmp_path / "file"), "::/"], env=_LOCALE)
    place = path.read_bytes().index(content)
    assert ExtentMap([(place, place + len(content))]).difference(read_map(path, used_map).extents).total == 0
    assert ExtentMap([(place, place + len(content))]).difference(partclone_map(path, "fat")).total > 0
