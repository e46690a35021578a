"""The power is cut: everything is killed, and of what was not flushed any part is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.jobs.job import FolderJob, list_jobs
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue, content
from tests.engine.cli.conftest import DATA_SIZE, DISK_SIZE, WIDE_USED
from tests.engine.cli.power import VolatileDisk, mounted_volatile
from tests.engine.devices.loops import sparse
from tests.hashes import digest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(5400)]

_TIMES = [4, pytest.param(100, marks=pytest.mark.long)]


def _kill(command: subprocess.Popen[str], job: FolderJob, pid: int) -> None:
    if job.alive():
        os.kill(pid, signal.SIGKILL)
    command.kill()


def _went_on(job: FolderJob) -> bool:
    journal = job.folder / "events.jsonl"
    return journal.exists() and "Going on at" in journal.read_text()


@pytest.mark.parametrize("times", _TIMES)
def test_a_backup(rescue: Rescue, wide_disk: Path, wide_image: Path, tmp_path: Path, times: int) -> None:
    """The store is valid each time; what has its name is whole; the same command goes on and ends in the same bytes."""
    chance = random.Random(times)
    disk = VolatileDisk(tmp_path / "power", 400 * MIB)
    expected = content(wide_image)
    run(["mkfs.ext4", "-q", "-F", str(disk.backing)])
    backup = ("backup", wide_disk, tmp_path / "store", "--name", "x", "--no-verify")
    went_on = whole = lost = 0
    for _ in range(times):
        with disk.powered() as device, mounted_volatile(device, tmp_path / "store"):
            command = rescue.start(*backup)
            job = rescue.wait_until(chance.randrange(WIDE_USED))
            if chance.random() < 0.5:
                # As the kernel does it every few seconds; this backup takes one or two.
                run(["sync", "--file-system", str(tmp_path / "store")])
            _kill(command, job, rescue.pid(job))
            disk.cut()
            output = command.communicate()
            went_on += _went_on(job)
            assert "Traceback" not in output[1]
            deadline = time.monotonic() + 30
            while job.alive():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        lost += disk.lose(chance)[1]
        rescue.forget()
        run(["e2fsck", "-p", str(disk.backing)], ok=(0, 1))
        with disk.powered() as device, mounted_volatile(device, tmp_path / "store") as store:
            rescue.ok("list", store)
            for image in store.glob("x.img.zst"):
                assert content(image) == expected
                rescue.ok("verify", image)
                whole += 1
                for file in store.glob("x.*"):
                    file.unlink()
            run(["sync", "-f", str(store)])
        disk.lose(chance)
        rescue.forget()
    assert lost or times < 20
    assert went_on or times < 20
    with disk.powered() as device, mounted_volatile(device, tmp_path / "store") as store:
        rescue.ok(*backup)
        rescue.ok("verify", store / "x.img.zst")
        assert content(store / "x.img.zst") == expected
        assert [path.name for path in store.glob("*.partial")] == []


@pytest.mark.parametrize("times", _TIMES)
def test_a_restore(rescue: Rescue, image: Path, tmp_path: Path, times: int) -> None:
    """A disk with a partition table is a whole one, each time; the same command again ends in the same bytes."""
    chance = random.Random(times)
    disk = VolatileDisk(tmp_path / "power", DISK_SIZE)
    expected = content(image)
    lost = 0
    for _ in range(times):
        with disk.powered() as device:
            command = rescue.start("restore", image, device, "--yes", "--no-verify")
            job = rescue.wait_until(chance.randrange(DATA_SIZE))
            _kill(command, job, rescue.pid(job))
            disk.cut()
            command.communicate()
            deadline = time.monotonic() + 30
            while job.alive():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        lost += disk.lose(chance)[1]
        rescue.forget()
        if run(["sfdisk", "--dump", str(disk.backing)], ok=(0, 1)).code == 0:
            assert digest(disk.backing) == expected
    assert lost or times < 20
    with disk.powered() as device:
        rescue.ok("restore", image, device, "--yes")
        run(["blockdev", "--flushbufs", device])
    assert digest(disk.backing) == expected


def _power_is_cut(
    rescue: Rescue, disk: VolatileDisk, point: Path, arguments: tuple[str | Path, ...], moment: Callable[[], FolderJob]
) -> bool:
    """Run a command in a store on the disk and cut the power at a moment; whether it had not ended by then."""
    with disk.powered() as device, mounted_volatile(device, point):
        command = rescue.start(*arguments)
        while not list_jobs(rescue.jobs) and command.poll() is None:
            time.sleep(0.005)
        assert list_jobs(rescue.jobs), command.communicate()
        job = moment()
        running = job.alive()
        _kill(command, job, rescue.pid(job))
        disk.cut()
        assert "Traceback" not in command.communicate()[1]
        rescue.forget()
    return running


def _store_on(disk: VolatileDisk, files: Path, point: Path) -> None:
    """An ext4 on the disk with these files, all on the medium."""
    run(["mkfs.ext4", "-q", "-F", str(disk.backing)])
    with disk.powered() as device, mounted_volatile(device, point) as store:
        run(["cp", "-a", f"{files}/.", str(store)])
        run(["sync", "-f", str(store)])
        run(["umount", str(point)])


@pytest.mark.parametrize("times", _TIMES)
def test_a_consolidation(rescue: Rescue, wide_disk: Path, wide_image: Path, tmp_path: Path, times: int) -> None:
    """The chain stays as it is; what has its name is whole; the same command goes on, and what it makes is the same disk."""
    chance = random.Random(times)
    files = tmp_path / "files"
    files.mkdir()
    run(["cp", "--reflink=auto", str(wide_image), str(files)])
    changed = tmp_path / "changed.raw"
    run(["cp", "--reflink=auto", "--sparse=always", str(wide_disk), str(changed)])
    new = tmp_path / "new"
    new.write_bytes(os.urandom(3 * MIB))
    run(["debugfs", "-w", "-f", "/dev/stdin", f"{changed}?offset={MIB}"], stdin=f"rm file-1\nwrite {new} new\n".encode())
    rescue.ok("backup", changed, files, "--name", "two", "--no-verify")
    rescue.forget()
    before = {path.name: digest(path) for path in files.iterdir()}
    target = sparse(tmp_path / "target.raw", 6 * GIB)
    rescue.ok("restore", files / "two.rimg", target, "--yes", "--no-verify")
    rescue.forget()
    expected = digest(target)
    disk, point = VolatileDisk(tmp_path / "power", 1000 * MIB), tmp_path / "store"
    _store_on(disk, files, point)
    command = ("consolidate", point / "two.rimg", point, "--name", "whole")
    cut = lost = whole = 0
    for _ in range(times):
        cut += _power_is_cut(rescue, disk, point, command, lambda: rescue.wait_until(chance.randrange(WIDE_USED)))
        lost += disk.lose(chance)[1]
        run(["e2fsck", "-p", str(disk.backing)], ok=(0, 1))
        with disk.powered() as device, mounted_volatile(device, point):
            assert {name: digest(point / name) for name in before} == before
            rescue.ok("list", point)
            for image in point.glob("whole.img.zst"):  # it had ended, or was being checked
                assert content(image) == expected
                whole += 1
                for file in point.glob("whole.*"):
                    file.unlink()
            run(["sync", "-f", str(point)])
        disk.lose(chance)
    assert cut
    assert lost or times < 20
    with disk.powered() as device, mounted_volatile(device, point):
        for file in point.glob("whole.img.zst"):
            file.unlink()
        rescue.ok(*command)
        assert content(point / "whole.img.zst") == expected
        assert not list(point.glob("*.partial"))


@pytest.mark.parametrize("times", _TIMES)
def test_a_prune(rescue: Rescue, tmp_path: Path, times: int) -> None:
    """Each image is whole or gone, none that another needs has gone, and the same command ends with what was to stay."""
    chance = random.Random(times)
    source, files = sparse(tmp_path / "source.raw", 24 * MIB), tmp_path / "files"
    files.mkdir()
    run(["mkfs.ext4", "-q", "-F", str(source)])
    for day in range(5):
        new = tmp_path / f"new-{day}"
        new.write_bytes(random.Random(day).randbytes(700_000))
        run(["debugfs", "-w", "-f", "/dev/stdin", str(source)], stdin=f"write {new} new-{day}\n".encode())
        kind = "full" if day in (0, 3) else "incremental"
        rescue.ok(
            "backup", source, files, "--name", f"d{day}", "--kind", kind, "--no-verify", *(["--split", "1M"] if day == 1 else [])
        )
        rescue.forget()
        time.sleep(1)  # images know when they were made to the second
    prune = ("prune", tmp_path / "store", "--keep-last", "1", "--yes")
    disk, point = VolatileDisk(tmp_path / "power", 64 * MIB), tmp_path / "store"
    cut = gone = 0

    def amid_removals() -> FolderJob:
        """When some number of files have gone, and a moment later."""
        job = rescue.job()
        rescue.pid(job)
        enough = len(os.listdir(point)) - chance.randrange(5)
        deadline = time.monotonic() + 60
        while len(os.listdir(point)) > enough and job.alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        return job

    for number in range(10 * times):
        if number >= times and cut:
            break  # on a busy machine a prune may be over each time before it is looked at
        _store_on(disk, files, point)
        for _ in range(2):
            cut += _power_is_cut(rescue, disk, point, prune, amid_removals)
            disk.lose(chance)
            run(["e2fsck", "-p", str(disk.backing)], ok=(0, 1))
            with disk.powered() as device, mounted_volatile(device, point):
                checked = rescue.ok("verify", point)
                rescue.forget()
                left = checked.out.count(": whole\n")
                gone += 5 - left
            disk.lose(chance)
            if left == 2:
                break  # nothing is left to do
        with disk.powered() as device, mounted_volatile(device, point):
            rescue.ok(*prune)
            rescue.forget()
            assert {path.name.split(".")[0] for path in point.glob("d*")} == {"d3", "d4"}
            rescue.ok("verify", point)
            rescue.forget()
    # What the file system had not given to the disk yet is lost each time; of what the disk had, there may be nothing to lose.
    assert cut
    assert gone
