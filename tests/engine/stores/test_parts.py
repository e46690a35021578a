"""Images in parts, through the command: killed, on a full disk, mixed up, truncated; and back onto a disk."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rescue.errors import RefusedError
from rescue.images.proofs import remove_proof
from rescue.services.library import list_images
from rescue.stores.folder import FolderStore
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue, content
from tests.engine.cli.conftest import DISK_SIZE, dest, disk, image, rescue
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

__all__ = ["dest", "disk", "image", "rescue"]  # fixtures of the tests of the command line

pytestmark = pytest.mark.engine

PART = 20 * MIB


@pytest.fixture(scope="module")
def parts(image: Path, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of the disk, cut by a backup; the path of the whole, which is not there. Nobody writes to it."""
    folder = tmp_path_factory.mktemp("parts")
    Rescue(folder / "jobs").ok("backup", disk, folder, "--name", "x", "--kind", "full", "--split", "20M")
    return folder / "x.img.zst"


def _copy(parts: Path, folder: Path) -> Path:
    for file in parts.parent.glob("x.img.zst.[0-9]*"):
        shutil.copy(file, folder)
    return folder / parts.name


def _images(store: FolderStore) -> list[str]:
    """The objects that are no record of a proof."""
    return [name for name in store.names() if not name.endswith(".proof.json")]


def _joined(parts: Path, target: Path) -> Path:
    with target.open("wb") as file:
        subprocess.run(["sh", "-c", 'cat "$0".[0-9]*', str(parts)], stdout=file, check=True)
    return target


def test_cat_gives_an_image_that_stock_tools_read(parts: Path, image: Path, tmp_path: Path) -> None:
    sizes = [file.stat().st_size for file in sorted(parts.parent.glob("x.img.zst.[0-9]*"))]
    assert len(sizes) > 5
    assert set(sizes[:-1]) == {PART}
    assert 0 < sizes[-1] <= PART
    assert content(_joined(parts, tmp_path / "joined.img.zst")) == content(image)


def test_plain_cuts_of_a_whole_image_are_opened(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    """Those of split(1), with its numbers from 001."""
    run(["split", "--bytes=31M", "--numeric-suffixes=1", "--suffix-length=3", str(image), f"{tmp_path}/y.img.zst."])
    rescue.ok("verify", tmp_path / "y.img.zst")
    rescue.ok("verify", tmp_path / "y.img.zst.001")


@pytest.mark.parametrize("suffix", ["", ".001"])
def test_restore_from_parts(rescue: Rescue, parts: Path, image: Path, tmp_path: Path, suffix: str) -> None:
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    rescue.ok("restore", f"{parts}{suffix}", target, "--yes")
    assert digest(target) == content(image)


def test_it_is_one_image_everywhere(rescue: Rescue, parts: Path) -> None:
    size = sum(file.stat().st_size for file in parts.parent.glob("x.img.zst.[0-9]*"))
    listed = [entry for entry in list_images(FolderStore(parts.parent)) if "img" in entry.name]
    assert [(i.name, i.path, i.stored_size, i.problem) for i in listed] == [("x.img.zst", str(parts), size, "")]
    assert "x.img.zst" in rescue.ok("list", parts.parent).out
    for suffix in ("", ".001"):
        assert "laptop" in rescue.ok("info", f"{parts}{suffix}").out
        rescue.ok("verify", f"{parts}{suffix}")


def test_a_missing_part_is_said_before_anything_is_written(rescue: Rescue, parts: Path, tmp_path: Path, dest: Path) -> None:
    path = _copy(parts, dest)
    (dest / "x.img.zst.003").unlink()
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    result = rescue("restore", path, target, "--yes")
    assert result.code == 4
    assert "x.img.zst.003 is missing" in result.err
    assert target.stat().st_blocks == 0
    assert "x.img.zst.003 is missing" in rescue("list", dest).out
    assert rescue("verify", path).code == 4
    refused = rescue("backup", target, dest, "--name", "x", "--kind", "full")
    assert refused.code == 3
    assert "exists already" in refused.err


def test_a_part_that_is_truncated(rescue: Rescue, parts: Path, dest: Path) -> None:
    path = _copy(parts, dest)
    os.truncate(dest / "x.img.zst.002", PART - 1)
    result = rescue("verify", path)
    assert result.code == 4
    assert f"x.img.zst.002 is {PART - 1} bytes long" in result.err
    os.truncate(dest / "x.img.zst.002", PART)  # its last byte is zero now
    assert rescue("verify", path).code == 4


def test_the_last_part_is_truncated_or_gone(rescue: Rescue, parts: Path, dest: Path) -> None:
    path = _copy(parts, dest)
    last = max(dest.iterdir())
    os.truncate(last, last.stat().st_size - 1)
    assert rescue("verify", path).code == 4
    last.unlink()
    result = rescue("verify", path)
    assert result.code == 4
    assert "not complete" in result.err


@pytest.mark.parametrize("number", [2, -1])
def test_parts_of_two_images_are_mixed(rescue: Rescue, parts: Path, disk: Path, dest: Path, tmp_path: Path, number: int) -> None:
    other = tmp_path / "other"
    other.mkdir()
    rescue.ok("backup", disk, other, "--name", "x", "--kind", "full", "--split", "20M", "--comment", "another", "--level", "5")
    path = _copy(parts, dest)
    ours, theirs = sorted(dest.iterdir()), sorted(other.glob("x.img.zst.[0-9]*"))
    shutil.copy(theirs[number], ours[number])
    result = rescue("verify", path)
    assert result.code == 4, result
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    assert rescue("restore", path, target, "--yes").code == 4


_TIMES = [8, pytest.param(100, marks=pytest.mark.long)]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", _TIMES)
def test_a_backup_in_parts_that_is_killed_again_and_again(
    rescue: Rescue, disk: Path, image: Path, dest: Path, times: int
) -> None:
    """SIGKILL at random moments; the folder never holds anything that looks complete and is not."""
    chance = random.Random(times)
    killed = 0
    for _ in range(times):
        command = rescue.start("backup", disk, dest, "--name", "x", "--kind", "full", "--split", "7M")
        job = rescue.job()
        pid = rescue.pid(job)
        time.sleep(chance.uniform(0.1, 2.0))
        if job.alive():
            os.kill(pid, 9)
        killed += rescue.finish(command).code != 0
        rescue.forget()
        store = FolderStore(dest)
        assert store.incomplete() == []
        assert set(_images(store)) <= {"x.img.zst"}
        for name in _images(store):  # complete, killed while it was being checked
            with store.exclusive():
                store.remove(name)
            remove_proof(dest / name)
            assert [file for file in dest.iterdir() if not file.name.startswith(".")] == []
    assert killed
    rescue.ok("backup", disk, dest, "--name", "x", "--kind", "full", "--split", "7M")
    remove_proof(dest / "x.img.zst")
    assert all(file.name.removeprefix("x.img.zst.").isdecimal() for file in dest.iterdir() if file.name[0] != ".")
    assert content(_joined(dest / "x.img.zst", dest / "joined")) == content(image)


def test_the_disk_for_the_image_fills_up(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    backing = sparse(tmp_path / "small.img", 100 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    with attached(backing) as device, mounted(device, tmp_path / "mnt") as point:
        free = os.statvfs(point).f_bavail
        result = rescue("backup", disk, point, "--name", "x", "--kind", "full", "--split", "8M")
        assert result.code == 1
        assert f"{point} is full" in result.err
        assert [file.name for file in point.iterdir()] == ["lost+found"]
        assert os.statvfs(point).f_bavail == free


def test_the_disk_of_any_part_is_protected(rescue: Rescue, parts: Path, dest: Path, tmp_path: Path) -> None:
    """One part is elsewhere, behind a link: on the disk that is to be the target."""
    path = _copy(parts, dest)
    backing = sparse(tmp_path / "stick.img", DISK_SIZE)
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    with attached(backing) as device, mounted(device, tmp_path / "mnt") as point:
        shutil.move(dest / "x.img.zst.002", point)
        (dest / "x.img.zst.002").symlink_to(point / "x.img.zst.002")
        rescue.ok("verify", path)
        result = rescue("restore", path, device, "--yes")
        assert result.code == 3
        assert f"it holds the image {path}" in result.err


def test_a_running_backup_is_not_removed_and_holds_what_it_builds_on(rescue: Rescue, disk: Path, dest: Path) -> None:
    """What is being written has no name to remove; what a process holds cannot be removed until it ends, however it ends."""
    store = FolderStore(dest)
    with store.open_for_write("parent.img.zst", MIB) as writer:
        writer.write(os.urandom(3 * MIB))
        writer.commit()
    script = (
        "import sys,time\nfrom rescue.stores.folder import FolderStore\n"
        "with FolderStore(sys.argv[1]).hold('parent.img.zst'):\n print('held',flush=True)\n time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(dest)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RefusedError, match="builds on it"):
            store.remove("parent.img.zst")
        holder.kill()
    command = rescue.start("backup", disk, dest, "--name", "x", "--kind", "full", "--split", "7M")
    rescue.wait_for_bytes(0, 40 * MIB)
    assert store.names() == ["parent.img.zst"]
    assert store.names_being_written() == ["x.img.zst"]
    with store.exclusive():
        store.clear_removed()
        store.remove("parent.img.zst")
    assert rescue.finish(command).code == 0
    assert _images(store) == ["x.img.zst"]
