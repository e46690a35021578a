"""A day's changes: as much as it says, the same every time, nothing outside of the folder, links left alone."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from bench.day2 import DAY, Day, pass_day
from bench.disk import BenchDisk
from rescue.errors import RescueError
from rescue.units import KIB, MIB

SMALL = Day(
    version=1, upgraded=0.3, created=0.1, saved=0.05, appended=0.05, paged=0.02, deleted=0.05, hot=64 * KIB, rewritten=16 * KIB
)


def fill(folder: Path, *, debian: bool = False) -> int:
    """A few files of every sort; how many bytes."""
    rng = random.Random(5)
    sizes = {"txt": [40 * KIB] * 20, "jpg": [300 * KIB] * 10, "log": [200 * KIB] * 4, "db": [2 * MIB] * 3, "so": [1 * MIB] * 6}
    for suffix, each in sizes.items():
        for number, size in enumerate(each):
            path = folder / f"{number % 2:02d}" / f"{number:03d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(size))
    if debian:
        listing = folder / "var/lib/dpkg/info/thing.list"
        listing.parent.mkdir(parents=True)
        listing.write_text("/.\n/usr\n/usr/bin\n/usr/bin/thing\n/usr/bin/away\n/etc/passwd\n")
        (folder / "usr/bin").mkdir(parents=True)
        (folder / "usr/bin/thing").write_bytes(rng.randbytes(3 * MIB))
        (folder / "usr/bin/away").symlink_to(folder.parent / "outside")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_one_seed_gives_one_day_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        used = fill(tmp_path / name)
        pass_day(tmp_path / name, used, seed, SMALL)
    first, again, other = (digests(tmp_path / name) for name in ("a", "b", "c"))
    assert first == again
    assert first != other


def test_everything_that_a_day_brings_happens(tmp_path: Path) -> None:
    used = fill(tmp_path)
    before, sizes = digests(tmp_path), {path: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    pass_day(tmp_path, used, 1, SMALL)
    after = digests(tmp_path)
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    suffixes = {Path(name).suffix for name in changed}
    assert suffixes >= {".so", ".db", ".log"}  # upgraded, rewritten in place, grown
    assert suffixes & {".txt", ".jpg"}  # saved again
    assert before.keys() - after.keys()  # deleted
    new = [tmp_path / name for name in after.keys() - before.keys()]
    assert sum(path.stat().st_size for path in new) == int(used * SMALL.created)
    grown = {path.suffix for path, size in sizes.items() if path.exists() and path.stat().st_size > size}
    assert grown == {".log"}
    assert sum(path.stat().st_size - sizes[path] for path in sizes if path.suffix == ".log" and path.exists()) > 0


def test_pages_change_in_place_and_near_each_other(tmp_path: Path) -> None:
    used = fill(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.db")}
    pass_day(tmp_path, used, 3, SMALL)
    pages = 0
    for path, old in before.items():
        new = path.read_bytes()
        assert len(new) == len(old)
        pages += sum(old[at : at + 4096] != new[at : at + 4096] for at in range(0, len(old), 4096))
    assert 0 < pages * 4096 <= used * SMALL.paged + SMALL.rewritten


def test_a_package_is_upgraded_but_never_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"not ours")
    root = tmp_path / "root"
    used = fill(root, debian=True)
    old = (root / "usr/bin/thing").stat().st_ino
    pass_day(root, used, 1, SMALL)
    assert (root / "usr/bin/thing").stat().st_ino != old
    assert (root / "usr/bin/away").is_symlink()
    assert outside.read_bytes() == b"not ours"


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(RescueError, match="no photos"):
        pass_day(tmp_path, 1 * MIB, 1, SMALL)


def test_the_key_follows_the_day_the_recipe_and_the_disk_itself() -> None:
    one, other = BenchDisk("one", 1, ()), BenchDisk("other", 1, ())
    keys = {DAY.key(one, 1), DAY.key(one, 2), DAY.key(other, 1), SMALL.key(one, 1)}
    assert len(keys) == 4
    assert DAY.key(one, 1) == DAY.key(BenchDisk("one", 1, ()), 1)
    assert 0.027 < DAY.changed < 0.033
