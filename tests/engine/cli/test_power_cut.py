"""The power is cut: everything is killed, and of what was not flushed any part is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rescue.jobs.job import FolderJob
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue, content, digest
from tests.engine.cli.conftest import DATA_SIZE, DISK_SIZE, WIDE_USED
from tests.engine.cli.power import VolatileDisk, mounted_volatile

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
    assert lost
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
    assert lost
    with disk.powered() as device:
        rescue.ok("restore", image, device, "--yes")
        run(["blockdev", "--flushbufs", device])
    assert digest(disk.backing) == expected
