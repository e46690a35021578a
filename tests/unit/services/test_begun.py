"""Which interrupted backups are of this disk, and which are not to be touched."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from rescue.devices.fingerprint import fingerprint
from rescue.images.secrets import Secrets
from rescue.model.disk import Disk
from rescue.model.source import BytesSource
from rescue.model.survey import DiskSurvey
from rescue.records import replace
from rescue.services.begun import interrupted
from rescue.services.library import list_images
from rescue.stores.folder import FolderStore
from rescue.units import KIB, MIB
from tests.unit.images.disks import SmallDisk
from tests.unit.jobs.attempts import DISK, Attempt, altered, dense_disk, small_segments

__all__ = ["small_segments"]
pytestmark = pytest.mark.usefixtures("small_segments")

SECRETS = Secrets(passphrase="correct horse")


def survey(disk: SmallDisk, path: Path) -> DiskSurvey:
    path.write_bytes(disk.content)
    described = Disk(str(path), len(disk.content), is_file=True)
    volumes = tuple(volume for volume, _ in disk.volumes)
    return DiskSurvey(described, disk.layout, volumes, fingerprint(described, BytesSource(disk.content)))


def test_mine_others_locked_and_worthless(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    Attempt(store, DISK, name="mine.img.zst").interrupted(4 * MIB)
    Attempt(store, DISK, SECRETS, name="locked.rimg").interrupted(4 * MIB)
    Attempt(store, altered(DISK, 440), name="other.img.zst").interrupted(4 * MIB)
    Attempt(store, dense_disk(3, 13 * MIB), name="larger.img.zst").interrupted(4 * MIB)
    Attempt(store, DISK, name="short.img.zst").interrupted(100 * KIB)
    (store / "noise.img.zst.partial").write_bytes(b"RSCUSEGM" * 10_000)
    this = survey(DISK, tmp_path / "disk")
    without = interrupted(FolderStore(store), this)
    assert [image.name for image in without.begun] == ["mine.img.zst"]
    assert {"locked.rimg", "larger.img.zst", "other.img.zst"} <= without.others
    assert not without.others & {"mine.img.zst", "short.img.zst", "noise.img.zst"}
    opened = interrupted(FolderStore(store), this, SECRETS)
    assert {(image.name, image.encrypted) for image in opened.begun} == {("mine.img.zst", False), ("locked.rimg", True)}


def test_many_things_that_look_like_segments_cost_no_more_than_the_file(tmp_path: Path) -> None:
    """Each says that it is as long as it may be: were all of them read, it would take hours."""
    Attempt(tmp_path, DISK).interrupted(3 * MIB)
    partial = tmp_path / "x.img.zst.partial"
    head = partial.read_bytes()[:136]
    piece = b"\x5b\x2a\x4d\x18" + (8 * MIB).to_bytes(4, "little") + b"RSCUSEGM"
    partial.write_bytes(head + piece * (12 * MIB // len(piece)))
    found = interrupted(FolderStore(tmp_path), survey(DISK, tmp_path / "disk"))
    assert found == ((), frozenset())


def test_what_was_gone_on_with_is_as_old_as_what_it_holds(tmp_path: Path) -> None:
    """It was begun days ago, and the disk is that of today."""
    began = Attempt(tmp_path, DISK)
    began.interrupted(4 * MIB)
    later = began.created + datetime.timedelta(days=4)
    assert any("Going on at" in said for said in replace(began, created=later).run().messages)
    (found,) = list_images(FolderStore(tmp_path))
    assert found.created == later.strftime("%Y-%m-%dT%H:%M:%SZ")
    # Nor is one that was not interrupted younger than it is.
    replace(began, name="y.img.zst").run()
    assert {image.created for image in list_images(FolderStore(tmp_path))} == {
        moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (began.created, later)
    }
