"""``rescue mount``, ``umount`` and ``export`` as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.conftest import DATA_START
from tests.engine.devices.loops import sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


@pytest.fixture
def point(tmp_path: Path, rescue: Rescue) -> Iterator[Path]:
    """A folder to mount in; whatever a test leaves there is ended."""
    folder = tmp_path / "mö unt"
    yield folder
    if folder.exists():
        rescue("umount", folder)
    assert str(folder) not in run(["findmnt", "--list", "--noheadings", "--output", "TARGET"], ok=(0, 1)).text
    assert not folder.exists()


def test_partitions_appear_and_go(rescue: Rescue, image: Path, point: Path) -> None:
    before = digest(image)
    told = json.loads(rescue.ok("mount", image, point, "--json").out)
    by_number = {volume["partition"]: volume for volume in told["volumes"]}
    assert by_number[2]["folder"] == str(point / "2")
    assert len(list((point / "2").glob("file-*"))) == 40
    with pytest.raises(OSError, match="Read-only"):
        (point / "2" / "new").write_text("x")
    assert "no file system" in by_number[3]["problem"]
    assert not (point / "3").exists()
    assert "is unmounted" in rescue.ok("umount", point).out
    assert digest(image) == before
    process = Path(f"/proc/{told['process']}/stat")
    assert not process.exists() or process.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_is_written_is_thrown_away(rescue: Rescue, image: Path, point: Path) -> None:
    before = digest(image)
    for _ in range(2):
        rescue.ok("mount", image, point, "--writable", "--partition", "2")
        assert [path.name for path in point.iterdir()] == ["2"]
        assert not (point / "2" / "new").exists()
        (point / "2" / "new").write_bytes(os.urandom(3 * MIB))
        run(["sync", "-f", str(point / "2")])
        rescue.ok("umount", point)
    assert digest(image) == before


@pytest.mark.parametrize("filesystem", ["xfs", "btrfs", "ntfs"])
def test_each_kind_can_be_written_over(filesystem: str, rescue: Rescue, point: Path, dest: Path, tmp_path: Path) -> None:
    disk = sparse(tmp_path / "disk.raw", 330 * MIB)
    options = {"ntfs": ["--fast", "--force", "--quiet"]}.get(filesystem, [])
    run([f"mkfs.{filesystem}", *options, str(disk)])
    rescue.ok("backup", disk, dest, "--name", "a")
    before = digest(dest / "a.img.zst")
    rescue.ok("mount", dest / "a.img.zst", point, "--writable")
    (point / "0" / "new").write_bytes(b"x" * MIB)
    assert (point / "0" / "new").stat().st_size == MIB
    rescue.ok("umount", point)
    assert digest(dest / "a.img.zst") == before


def test_what_is_in_use_stays(rescue: Rescue, image: Path, point: Path) -> None:
    rescue.ok("mount", image, point, "--partition", "2")
    with (point / "2" / "file-1").open("rb") as opened:
        result = rescue("umount", point)
        assert result.code == 3
        assert f"{point}/2 is in use" in result.err
        assert opened.read(1)
    rescue.ok("umount", point)


def test_a_process_that_was_killed_leaves_nothing_that_umount_does_not_remove(rescue: Rescue, image: Path, point: Path) -> None:
    before = run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]).text.splitlines()
    told = json.loads(rescue.ok("mount", image, point, "--json").out)
    assert run(["losetup", "--list", "--noheadings", "--output", "NAME"]).text
    os.kill(told["process"], signal.SIGKILL)
    rescue.ok("umount", point)
    after = run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]).text.splitlines()
    assert not [line for line in after if "(deleted)" in line and line not in before]
    shutil.rmtree(point, ignore_errors=True)


def test_refusals(rescue: Rescue, image: Path, point: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    assert rescue("mount", image, full).code == 3
    assert (full / "file").exists()
    assert rescue("mount", image, point, "--partition", "9").code == 2
    assert rescue("mount", tmp_path / "nothing.img.zst", point).code == 2
    result = rescue("mount", image, point, "--partition", "3")
    assert result.code == 1
    assert "Partition 3 is not mounted" in result.err
    assert rescue("umount", point).code == 3


@pytest.mark.parametrize("suffix", ["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"])
def test_export_in_every_format(suffix: str, rescue: Rescue, disk: Path, image: Path, tmp_path: Path) -> None:
    target = tmp_path / f"laptop.{suffix}"
    told = json.loads(rescue.ok("export", image, target, "--json").out)
    assert told["facts"]["format"] == suffix
    raw = tmp_path / "back.raw"
    name = {"vhd": "vpc"}.get(suffix, suffix)
    run(["qemu-img", "convert", "-f", name, "-O", "raw", str(target), str(raw)], timeout=120)
    assert raw.stat().st_size == disk.stat().st_size
    with raw.open("rb") as ours, disk.open("rb") as theirs:
        for file in (ours, theirs):
            file.seek(DATA_START)
        assert ours.read(300 * MIB) == theirs.read(300 * MIB)
    run(["e2fsck", "-fn", f"{raw}?offset={34816 * 512}"])
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "jobs") == ["back.raw", target.name]


def test_an_export_overwrites_nothing(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    (tmp_path / "a.qcow2").write_bytes(b"mine")
    result = rescue("export", image, tmp_path / "a.qcow2")
    assert result.code == 3
    assert (tmp_path / "a.qcow2").read_bytes() == b"mine"
    assert rescue("export", image, tmp_path / "a.doc").code == 2


def test_an_export_to_a_full_medium(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    small = sparse(tmp_path / "small", 64 * MIB)
    run(["mkfs.ext4", "-q", str(small)])
    folder = tmp_path / "medium"
    folder.mkdir()
    run(["mount", "-o", "loop", str(small), str(folder)])
    try:
        result = rescue("export", image, folder / "a.raw")
        assert result.code == 1
        assert "is full" in result.err
        assert [path.name for path in folder.iterdir()] == ["lost+found"]
    finally:
        run(["umount", str(folder)])


def test_an_export_of_a_damaged_image(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.img.zst"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    result = rescue("export", damaged, tmp_path / "a.qcow2")
    assert result.code == 4
    assert "is damaged" in result.err
    assert not (tmp_path / "a.qcow2").exists()
    assert not (tmp_path / "a.qcow2.partial").exists()


def test_a_backup_is_proved_and_says_so(rescue: Rescue, disk: Path, dest: Path) -> None:
    rescue.ok("backup", disk, dest, "--name", "a", "--no-verify")
    assert "unchecked" in rescue.ok("list", dest).out
    rescue.ok("verify", dest / "a.img.zst")
    assert "verified 20" in rescue.ok("info", dest / "a.img.zst").out
    told = json.loads(rescue.ok("verify", "--mount", dest / "a.img.zst", "--json").out)
    assert told["facts"]["checked_volumes"] == 2
    assert told["facts"]["files_read"] == 40
    assert "  proved  " in rescue.ok("list", dest).out
    content = bytearray((dest / "a.img.zst").read_bytes())
    content[len(content) // 2] ^= 1
    (dest / "a.img.zst").write_bytes(content)
    assert rescue("verify", dest / "a.img.zst").code == 4
    assert "FAILED" in rescue.ok("list", dest).out
