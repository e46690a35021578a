"""Whole disks surveyed: tables, volumes, used bytes, systems, protections."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.devices.open import resolve
from rescue.devices.table import read_layout
from rescue.engine.survey import map_disk, survey_disk
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nVERSION_ID="13"\nID=debian\n'


def write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def ext4(path: Path, offset: int, size: str, tree: Path | None = None, *options: str) -> None:
    """An ext4 of ``size`` at ``offset`` of a file, holding the files of ``tree``."""
    source = ["-d", str(tree)] if tree else []
    run(["mkfs.ext4", "-q", "-F", "-L", "wurzel", *source, *options, "-E", f"offset={offset}", str(path), size])


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """A tree with /usr/lib/os-release and its link in /etc."""
    tree = tmp_path / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "etc").mkdir()
    (tree / "usr/lib/os-release").write_text(OS_RELEASE)
    (tree / "etc/os-release").symlink_to("../usr/lib/os-release")
    return tree


def test_a_disk_with_a_system(tmp_path: Path, debian: Path) -> None:
    path = sparse(tmp_path / "disk", 128 * MIB)
    script = b"label: gpt\nsize=20480, type=U\nsize=131072\nsize=40960\nname=rest\n"
    run(["sfdisk", "--quiet", str(path)], stdin=script)
    run(["mkfs.fat", "-F", "16", "-n", "EFI", "--offset", "2048", str(path), "10240"])
    ext4(path, 11 * MIB, "64M", debian)
    before = digest(path)
    survey = survey_disk(resolve(str(path)))
    assert digest(path) == before
    assert (survey.unreadable, survey.protections, survey.is_rescue_medium) == ("", (), False)
    assert survey.layout.label == "gpt"
    esp, root, empty, rest = survey.volumes
    assert [v.partition for v in survey.volumes] == [1, 2, 3, 4]
    assert (esp.identity.type, esp.identity.label, esp.system) == ("vfat", "EFI", "")
    assert (root.identity.type, root.identity.label, root.system) == ("ext4", "wurzel", "Debian GNU/Linux 13")
    assert (root.start, root.end) == (11 * MIB, 75 * MIB)
    assert 0 < esp.used_bytes < MIB
    assert 0 < root.used_bytes < 20 * MIB
    assert root.whole_because == esp.whole_because == ""
    for unknown in (empty, rest):
        assert (unknown.identity.type, unknown.used_bytes) == ("", unknown.size)
        assert unknown.whole_because
    assert survey.fingerprint.table_hash


def test_the_maps_are_where_the_volumes_are(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk", 64 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=b"label: dos\nstart=2048, size=40960\n")
    ext4(path, MIB, "20M")
    disk = resolve(str(path))
    with FileSource(path) as source:
        ((volume, extents),) = map_disk(disk, source, read_layout(source, 512))
    assert extents.total == volume.used_bytes
    assert not extents.difference(ExtentMap([(MIB, 21 * MIB)]))
    assert MIB + 1024 in extents  # the superblock


def test_an_old_os_release_is_read_where_it_was(tmp_path: Path, debian: Path) -> None:
    (debian / "etc/os-release").unlink()
    (debian / "usr/lib/os-release").rename(debian / "etc/os-release")
    path = sparse(tmp_path / "whole", 32 * MIB)
    ext4(path, 0, "32M", debian)
    (volume,) = survey_disk(resolve(str(path))).volumes
    assert (volume.partition, volume.start, volume.end, volume.system) == (0, 0, 32 * MIB, "Debian GNU/Linux 13")
    assert volume.whole_because == ""


@pytest.mark.parametrize("table", ["none", "dos"])
def test_a_file_system_on_the_whole_disk(tmp_path: Path, table: str) -> None:
    """With and without an empty table in its boot block, as a boot loader may leave it."""
    path = sparse(tmp_path / "whole", 32 * MIB)
    ext4(path, 0, "32M")
    if table == "dos":
        write_at(path, 440, b"\x01\x02\x03\x04")
        write_at(path, 510, b"\x55\xaa")
    survey = survey_disk(resolve(str(path)))
    assert survey.layout.label == table
    (volume,) = survey.volumes
    assert (volume.identity.type, volume.end) == ("ext4", 32 * MIB)
    assert 0 < volume.used_bytes < 16 * MIB
    with FileSource(path) as source:
        ((_, extents),) = map_disk(survey.disk, source, survey.layout)
    assert 0 in extents


def test_blank_and_unknown_disks(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk", 16 * MIB)
    blank = survey_disk(resolve(str(path)))
    assert (blank.layout.label, blank.volumes, blank.unreadable) == ("none", (), "")
    write_at(path, 5000, b"something")
    (unknown,) = survey_disk(resolve(str(path))).volumes
    assert (unknown.identity.type, unknown.used_bytes) == ("", 16 * MIB)
    assert unknown.whole_because


def test_a_damaged_table_means_whole_although_a_file_system_is_found(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk", 32 * MIB)
    ext4(path, 0, "32M")
    # Two entries that overlap, in the boot block of the file system.
    entry = b"\0\0\0\0\x83\0\0\0" + (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    write_at(path, 446, entry * 2)
    write_at(path, 510, b"\x55\xaa")
    survey = survey_disk(resolve(str(path)))
    (volume,) = survey.volumes
    assert volume.used_bytes == 32 * MIB
    assert "overlap" in volume.whole_because
    assert "overlap" in survey.layout.problems[0]


def test_a_mounted_volume_is_whole_and_its_disk_protected(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk", 64 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=b"label: gpt\nsize=40960\nsize=40960\n")
    for start in (1, 21):
        ext4(path, start * MIB, "20M")
    with attached(path, "--offset", str(MIB), "--sizelimit", str(20 * MIB)) as device, mounted(device, tmp_path / "mnt") as point:
        survey = survey_disk(resolve(str(path)), images=[str(point / "new.img.zst")])
        first, second = survey.volumes
        assert "mounted" in first.whole_because
        assert second.whole_because == ""
        assert second.used_bytes < first.used_bytes == 20 * MIB
        assert [p.reason.split(" ")[0] for p in survey.protections] == ["it", "mounted", "attached"]


def test_a_disk_that_went_away_is_a_sentence(tmp_path: Path) -> None:
    gone = Disk(path=str(tmp_path / "gone"), size=MIB, is_file=True)
    survey = survey_disk(gone)
    assert "Cannot open" in survey.unreadable
    assert survey.volumes == ()
