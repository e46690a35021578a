"""What goes wrong is said in a sentence, with the right exit code, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.services import BackupRequest, RestoreRequest
from rescue.services.local import LocalMachine
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue, content
from tests.engine.cli.conftest import DATA_SIZE, DATA_START, DISK_SIZE
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A disk with something on it that must survive every refusal."""
    path = sparse(tmp_path / "target.raw", DISK_SIZE)
    with path.open("r+b") as file:
        for offset in (0, 100 * MIB, DISK_SIZE - MIB):
            file.seek(offset)
            file.write(os.urandom(MIB))
    return path


@contextmanager
def memory(point: Path, options: str) -> Iterator[Path]:
    """A small file system in memory."""
    point.mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)])
    try:
        yield point
    finally:
        run(["umount", str(point)])


@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4"])
def test_the_store_runs_full(rescue: Rescue, disk: Path, tmp_path: Path, filesystem: str) -> None:
    point = tmp_path / "small"
    if filesystem == "tmpfs":
        with memory(point, "size=24m") as dest:
            _runs_full(rescue, disk, dest)
    else:
        backing = sparse(tmp_path / "small.ext4", 32 * MIB)
        run(["mkfs.ext4", "-q", "-F", str(backing)])
        with attached(backing) as device, mounted(device, point) as dest:
            _runs_full(rescue, disk, dest)


def _runs_full(rescue: Rescue, disk: Path, dest: Path) -> None:
    before = sorted(dest.iterdir())
    start = time.monotonic()
    result = rescue("backup", disk, dest)
    assert result.code == 1
    assert f"{dest} is full" in result.err
    assert "It left no incomplete image" in result.err
    assert sorted(dest.iterdir()) == before
    assert time.monotonic() - start < 30


def test_one_sector_too_small(rescue: Rescue, image: Path, target: Path) -> None:
    os.truncate(target, DISK_SIZE - 512)
    before = digest(target)
    result = rescue("restore", image, target, "--yes", "--fit", "same")
    assert result.code == 3
    assert "is 512 bytes too small" in result.err
    assert digest(target) == before
    # Behind the last partition there is room: without being asked for the same, it fits.
    rescue.ok("restore", image, target, "--yes")


def test_one_sector_too_small_a_device(rescue: Rescue, image: Path, target: Path) -> None:
    before = digest(target)
    with attached(target, "--sizelimit", str(DISK_SIZE - 512)) as device:
        result = rescue("restore", image, device, "--yes", "--fit", "same")
    assert result.code == 3
    assert "is 512 bytes too small" in result.err
    assert digest(target) == before


def test_a_device_with_other_sectors(rescue: Rescue, image: Path, target: Path) -> None:
    before = digest(target)
    with attached(target, "--sector-size", "4096") as device:
        result = rescue("restore", image, device, "--yes")
    assert result.code == 3
    assert "sectors of 4096 bytes" in result.err
    assert digest(target) == before


def test_the_source_cannot_be_read_in_the_middle(rescue: Rescue, disk: Path, dest: Path, tmp_path: Path) -> None:
    bad = DATA_START + 100 * MIB
    point = tmp_path / "failing.raw"
    point.touch()
    script = tmp_path / "plugin.sh"
    script.write_text(
        f"""case "$1" in
        get_size) echo {DISK_SIZE} ;;
        thread_model) echo parallel ;;
        pread) if [ "$4" -le {bad} ] && [ $(($4 + $3)) -gt {bad} ]; then echo EIO Input/output error >&2; exit 1; fi
               dd iflag=skip_bytes,count_bytes bs=1M skip=$4 count=$3 if={disk} 2>/dev/null ;;
        *) exit 2 ;; esac
        """
    )
    script.chmod(0o755)
    server = subprocess.Popen(["nbdfuse", "-r", str(point), "--command", "nbdkit", "-s", "sh", str(script)])
    try:
        deadline = time.monotonic() + 20
        while point.stat().st_size != DISK_SIZE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        result = rescue("backup", point, dest)
    finally:
        run(["umount", str(point)])
        server.wait(20)
    assert result.code == 1
    assert "partition 3" in result.err.lower()
    assert "cannot be read at byte" in result.err
    offset = int(result.err.split("cannot be read at byte ")[1].split(",")[0])
    assert bad - 16 * MIB <= offset <= bad
    assert list(dest.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.3, 0.7, 0.97, 0.99999])
def test_an_image_that_is_cut_off(rescue: Rescue, image: Path, target: Path, tmp_path: Path, share: float) -> None:
    before = digest(target)
    cut = tmp_path / "cut.img.zst"
    run(["cp", "--reflink=auto", str(image), str(cut)])
    os.truncate(cut, int(image.stat().st_size * share))
    for command in (("verify", cut), ("info", cut), ("restore", cut, target, "--yes")):
        result = rescue(*command)
        assert result.code == (4 if share else 1), result
        assert str(cut) in result.err
    # The target, a raw disk, is in this folder too; which of them is newer is a matter of milliseconds.
    assert any("cut.img.zst" in line for line in rescue.ok("list", tmp_path).out.splitlines()[1:])
    assert digest(target) == before


def test_a_flipped_bit_in_the_data(rescue: Rescue, image: Path, target: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.img.zst"
    run(["cp", str(image), str(damaged)])
    with damaged.open("r+b") as file:
        file.seek(image.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    result = rescue("verify", damaged)
    assert result.code == 4
    assert str(damaged) in result.err
    result = rescue("restore", damaged, target, "--yes")
    assert result.code == 4
    assert "only partly written" in result.err
    _starts_no_computer(target)


def _starts_no_computer(target: Path) -> None:
    """A half-restored disk has no table, at neither end."""
    run(["sfdisk", "--dump", str(target)], ok=(1,))
    with target.open("rb") as file:
        head = file.read(64 * 1024)
        file.seek(-64 * 1024, os.SEEK_END)
        tail = file.read()
    assert not any(head)
    assert b"EFI PART" not in tail


def test_things_that_are_no_image(rescue: Rescue, target: Path, tmp_path: Path) -> None:
    before = digest(target)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + os.urandom(5000))
    clonezilla = tmp_path / "2026-11-22-img"
    clonezilla.mkdir()
    (clonezilla / "clonezilla-img").write_text("This image was saved by Clonezilla")
    (clonezilla / "disk").write_text("sda\n")
    (clonezilla / "sda1.ext4-ptcl-img.zst").write_bytes(os.urandom(100))
    stock = tmp_path / "stock.img.zst"
    run(["zstd", "-q", str(photo), "-o", str(stock)])
    for thing, word in ((photo, "JPEG"), (clonezilla, "Clonezilla"), (stock, "zst"), (tmp_path / "missing", "missing")):
        for command in (("info", thing), ("verify", thing), ("restore", thing, target, "--yes")):
            result = rescue(*command)
            assert result.code in (1, 2), result
            assert word.lower() in result.err.lower(), result
    assert digest(target) == before
    assert "Clonezilla" in rescue.ok("list", tmp_path).out


def test_a_mounted_target(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    backing = sparse(tmp_path / "mounted.raw", DISK_SIZE)
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    with attached(backing) as device, mounted(device, tmp_path / "point") as point:
        (point / "precious").write_text("still here")
        for name in (device, backing):
            result = rescue("restore", image, name, "--yes")
            assert result.code == 3
            assert f"mounted at {point}" in result.err
        assert (point / "precious").read_text() == "still here"


def test_the_target_is_or_holds_the_image(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.img.zst"
    run(["cp", str(image), str(own)])
    before = digest(own)
    assert rescue("restore", own, own, "--yes").code in (2, 3)  # 2: hardly ever as long as a disk could be
    with attached(own) as device:
        result = rescue("restore", own, device, "--yes")
    assert result.code == 3
    assert "it is the image itself" in result.err
    backing = sparse(tmp_path / "store.raw", DISK_SIZE)
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    with attached(backing) as device, mounted(device, tmp_path / "point") as point:
        run(["cp", str(image), str(point)])
        result = rescue("restore", point / image.name, device, "--yes")
        assert result.code == 3
        assert "holds the image" in result.err
        assert digest(point / image.name) == before
    assert digest(own) == before


def test_the_store_is_on_the_source(rescue: Rescue, tmp_path: Path) -> None:
    backing = sparse(tmp_path / "source.raw", 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(backing)])
    with attached(backing) as device, mounted(device, tmp_path / "point") as point:
        for name in (device, backing):
            result = rescue("backup", name, point)
            assert result.code == 3, result
            assert "the disk that is to be backed up" in result.err
        assert [entry.name for entry in point.iterdir()] == ["lost+found"]


def test_stores_that_cannot_be_written_to(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    with memory(tmp_path / "ro", "ro,size=1m") as dest:
        result = rescue("backup", disk, dest)
    assert result.code == 3
    assert "read-only" in result.err
    (tmp_path / "file").touch()
    for store, said in (
        (tmp_path / "missing", "does not exist"),
        (tmp_path / "file", "is not a folder"),
        ("s3:bucket/x", "not supported yet"),
    ):
        result = rescue("backup", disk, store)
        assert result.code == 2
        assert said in result.err
    assert not rescue.jobs.exists()


def test_two_backups_to_one_name_at_once(rescue: Rescue, disk: Path, dest: Path) -> None:
    commands = [rescue.start("backup", disk, dest, "--name", "x") for _ in range(2)]
    first, second = sorted((rescue.finish(command) for command in commands), key=lambda r: r.code)
    assert (first.code, second.code) == (0, 3), (first, second)
    assert "right now" in second.err or "exists already" in second.err
    assert sorted(p.name for p in dest.iterdir()) == ["x.img.zst", "x.img.zst.proof.json"]
    rescue.ok("verify", dest / "x.img.zst")
    result = rescue("backup", disk, dest, "--name", "x", "--kind", "full")
    assert result.code == 3
    assert "exists already" in result.err


def test_two_restores_onto_one_target_at_once(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    first = rescue.start("restore", image, target, "--yes")
    with rescue.held(1, 1):
        second = rescue("restore", image, target, "--yes")
    assert second.code == 3
    assert "is in use" in second.err
    assert rescue.finish(first).code == 0
    assert digest(target) == content(image)


def test_the_target_changed_after_the_plan(rescue: Rescue, image: Path, target: Path) -> None:
    """The plan is made by one program and run by another, as after a long look at the review screen."""
    machine = LocalMachine(rescue.jobs)
    plan = machine.plan_restore(str(image), machine.survey_one(str(target)), RestoreRequest())
    with target.open("r+b") as file:
        file.seek(4000)
        file.write(b"another disk")
    before = digest(target)
    finished = machine.start(plan).wait(60)
    assert finished is not None
    assert (finished.state, finished.exit_code) == ("failed", 3)
    assert "has changed since it was chosen" in finished.message
    assert digest(target) == before

    plan = machine.plan_restore(str(image), machine.survey_one(str(target)), RestoreRequest())
    target.unlink()
    finished = machine.start(plan).wait(60)
    assert finished is not None
    assert finished.exit_code == 3
    assert "not there any more" in finished.message


def test_the_source_is_another_disk_than_at_the_plan(rescue: Rescue, dest: Path, tmp_path: Path) -> None:
    machine = LocalMachine(rescue.jobs)
    one, two = sparse(tmp_path / "one.raw", 8 * MIB), sparse(tmp_path / "two.raw", 8 * MIB)
    with attached(one) as device:
        plan = machine.plan_backup(machine.survey_one(device), str(dest), BackupRequest())
    run(["losetup", device, str(two)])
    try:
        finished = machine.start(plan).wait(60)
    finally:
        run(["losetup", "--detach", device])
    assert finished is not None
    assert (finished.state, finished.exit_code) == ("failed", 3)
    assert "another disk" in finished.message
    assert list(dest.iterdir()) == []


def test_the_target_is_full(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    """A sparse file on a file system that has no room for what is written into it."""
    with memory(tmp_path / "small", "size=64m") as folder:
        result = rescue("restore", image, folder / "new.raw")
        assert result.code == 1
        assert "is full" in result.err
        assert "only partly written" in result.err
        _starts_no_computer(folder / "new.raw")


def test_the_data_partition_is_long_enough_for_these_tests() -> None:
    assert DATA_START + DATA_SIZE < DISK_SIZE - MIB
