"""The comparison that says whether a restore is right: it has to see a single byte, in use or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import truth
from bench.archives import Repository
from bench.limits import data_ranges
from bench.stage import read_and_hash
from bench.truth import same_bytes
from rescue.engine.regions import Region, Stretch
from rescue.errors import DamagedError, RescueError
from rescue.images.format import RowKind
from rescue.model.extents import Extent, ExtentMap
from rescue.units import KIB, MIB

SIZE = 4 * MIB
USED = (Extent(64 * KIB, 96 * KIB), Extent(128 * KIB, 192 * KIB))


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A disk with two extents in use and dirt around them, and what a right restore onto a blank file gives."""
    region = Region(0, SIZE, "all", ExtentMap(USED), RowKind.ZERO)
    stretches = [Stretch(0, MIB, region, USED), Stretch(MIB, SIZE, region, ())]
    monkeypatch.setattr(truth, "stretches_with_places", lambda _: stretches)
    disk, restored = tmp_path / "disk", tmp_path / "restored"
    disk.write_bytes(b"\xaa" * SIZE)
    with restored.open("wb") as file:
        for extent in USED:
            file.seek(extent.start)
            file.write(b"\xaa" * (extent.end - extent.start))
        file.truncate(SIZE)
    return disk, restored


def poke(path: Path, offset: int, byte: bytes = b"\x01") -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(byte)


def test_a_right_restore_passes(disks: tuple[Path, Path]) -> None:
    same_bytes(*disks, blank=True)
    same_bytes(*disks, blank=False)


@pytest.mark.parametrize("blank", [True, False])
@pytest.mark.parametrize("offset", [64 * KIB, 96 * KIB - 1, 192 * KIB - 1])
def test_one_wrong_byte_in_use_is_seen(disks: tuple[Path, Path], offset: int, *, blank: bool) -> None:
    poke(disks[1], offset)
    with pytest.raises(DamagedError, match="differs"):
        same_bytes(*disks, blank=blank)


@pytest.mark.parametrize("offset", [0, 96 * KIB, 128 * KIB - 1, MIB, SIZE - 1])
def test_a_byte_that_is_not_in_use_matters_only_on_a_blank_target(disks: tuple[Path, Path], offset: int) -> None:
    poke(disks[1], offset)
    same_bytes(*disks, blank=False)
    with pytest.raises(DamagedError):
        same_bytes(*disks, blank=True)


def test_another_size_is_seen(disks: tuple[Path, Path]) -> None:
    with disks[1].open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DamagedError, match="bytes"):
        same_bytes(*disks, blank=True)


def test_ranges_of_data_end_where_they_are_told_to(tmp_path: Path) -> None:
    path = tmp_path / "full"
    path.write_bytes(b"x" * SIZE)
    assert data_ranges(path) == [(0, SIZE)]
    assert data_ranges(path, 10, 20) == [(10, 20)]
    assert data_ranges(path, 20, 20) == []


def test_the_floor_reads_everything_once(disks: tuple[Path, Path]) -> None:
    region = Region(0, SIZE, "all", ExtentMap(USED), RowKind.ZERO)
    assert read_and_hash(disks[0], [Stretch(0, MIB, region, USED)]).seconds > 0


class FakeArchiver:
    """Keeps disks as files; ``spoils`` makes it write into what it kept before."""

    def __init__(self, *, spoils: bool = False) -> None:
        self.spoils = spoils

    def create(self, root: Path) -> None:
        (root / "repo").mkdir()

    def back_up(self, root: Path, disk: Path, name: str) -> None:
        if self.spoils and name == "day2":
            with (root / "repo" / "day1").open("ab") as file:
                file.write(b"more")
        (root / "repo" / name).write_bytes(disk.read_bytes())
        (root / "cache" / "seen").write_text(name)

    def compare(self, root: Path, disk: Path, name: str) -> None:
        if (root / "repo" / name).read_bytes() != disk.read_bytes():
            raise DamagedError("not the same")


def test_a_repository_is_that_of_day_1_again_before_each_round(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1" * 1000)
    two.write_bytes(b"2" * 300)
    archiver, repository = FakeArchiver(), Repository(tmp_path / "repository")
    repository.fill(archiver, one)
    for _ in range(2):
        repository.reset()
        work = tmp_path / "repository" / "work"
        assert [path.name for path in (work / "repo").iterdir()] == ["day1"]
        assert (work / "cache" / "seen").read_text() == "day1"
        assert repository.second(archiver, two).size == 300
        repository.compare(archiver, two)
    with pytest.raises(DamagedError):
        repository.compare(archiver, one)


def test_an_archiver_that_changes_what_was_kept_is_found_out(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"1")
    archiver, repository = FakeArchiver(spoils=True), Repository(tmp_path / "repository")
    repository.fill(archiver, disk)
    repository.reset()
    repository.second(archiver, disk)
    with pytest.raises(RescueError, match="was changed"):
        repository.reset()
