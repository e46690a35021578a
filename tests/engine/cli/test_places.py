"""File systems for images are mounted on demand, quietly, and taken down again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.errors import RescueError
from rescue.model.disk import Disk
from rescue.model.survey import Place
from rescue.services.places import MountedPlace
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


def place_on(device: str, filesystem: str, folder: str = "") -> Place:
    """A place on a whole device."""
    return Place(device, "store", filesystem, 320 * MIB, Disk(device, 320 * MIB), folder)


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """A file for a file system; xfs wants 300 MiB."""
    return sparse(tmp_path / "store.raw", 320 * MIB)


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs"])
def test_reading_changes_nothing_and_writing_writes(backing: Path, filesystem: str) -> None:
    run([f"mkfs.{filesystem}", "-q", str(backing)])
    with attached(backing) as device:
        place = place_on(device, filesystem)
        with MountedPlace(place, writable=True) as folder:
            (folder / "a").write_text("content")
        assert not folder.exists()
        before = digest(backing)
        with MountedPlace(place, writable=False) as folder:
            assert (folder / "a").read_text() == "content"
            options = run(["findmnt", "-no", "OPTIONS", str(folder)]).text
            assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.strip().split(","))
            with pytest.raises(OSError, match="Read-only"):
                (folder / "b").touch()
        assert digest(backing) == before


def test_a_journal_is_not_replayed_for_reading(backing: Path, tmp_path: Path) -> None:
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    dirty = tmp_path / "dirty.raw"
    with attached(backing) as device, mounted(device, tmp_path / "point") as point:
        (point / "a").write_text("content")
        os.sync()
        run(["cp", "--sparse=always", str(backing), str(dirty)])
    before = digest(dirty)
    with attached(dirty) as device, MountedPlace(place_on(device, "ext4"), writable=False) as folder:
        assert folder.is_dir()
    assert digest(dirty) == before


def test_what_is_mounted_already_stays_so(backing: Path, tmp_path: Path) -> None:
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    with attached(backing) as device, mounted(device, tmp_path / "point") as point:
        with MountedPlace(place_on(device, "ext4", str(point)), writable=True) as folder:
            assert folder == point
        assert os.path.ismount(point)
        run(["mount", "-o", "remount,ro", str(point)])
        with (
            pytest.raises(RescueError, match="mounted read-only at"),
            MountedPlace(place_on(device, "ext4", str(point)), writable=True),
        ):
            pass


def test_a_place_that_is_busy_stays_and_is_used_again(backing: Path) -> None:
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    with attached(backing) as device:
        place = place_on(device, "ext4")
        with MountedPlace(place, writable=True) as folder:
            busy = (folder / "a").open("w")
        with busy:
            assert os.path.ismount(folder)
        with MountedPlace(place, writable=True) as again:
            assert again == folder
        assert not os.path.ismount(folder)


def test_what_cannot_be_mounted_is_named(backing: Path) -> None:
    with attached(backing) as device:
        with (
            pytest.raises(RescueError, match="cannot be opened") as error,
            MountedPlace(place_on(device, "ext4"), writable=False),
        ):
            pass
        assert "store on" in error.value.message
