"""Stopped or killed anywhere: it says in what state things are, and the same command again ends in the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rescue.model.progress import Finished
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue, content
from tests.engine.cli.conftest import DISK_SIZE
from tests.engine.devices.loops import attached, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", _SIGNALS)
def test_a_backup_that_is_cancelled(rescue: Rescue, disk: Path, image: Path, dest: Path, number: signal.Signals) -> None:
    command = rescue.start("backup", disk, dest, "--name", "x")
    result = rescue.cancelled(command, 0, 40 * MIB, number)
    assert result.code == 130
    assert "Cancelled." in result.err
    assert f"{disk} was not changed" in result.err
    assert list(dest.iterdir()) == []
    rescue.ok("backup", disk, dest, "--name", "x")
    assert content(dest / "x.img.zst") == content(image)


@pytest.mark.parametrize("number", _SIGNALS)
def test_a_restore_that_is_cancelled(rescue: Rescue, image: Path, tmp_path: Path, number: signal.Signals) -> None:
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    command = rescue.start("restore", image, target, "--yes")
    result = rescue.cancelled(command, 1, 40 * MIB, number)
    assert result.code == 130
    # On a busy machine it may have come to its table before it could be stopped, and says so.
    written = "was written completely, but it is not proved" in result.err
    assert written or "only partly written" in result.err
    assert "Run the same command again" in result.err
    run(["sfdisk", "--dump", str(target)], ok=(0,) if written else (1,))
    rescue.ok("restore", image, target, "--yes")
    assert digest(target) == content(image)


def test_a_signal_in_the_first_moment_is_not_lost(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    """The worker is still starting: the signal waits for it, and nothing is written."""
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    command = rescue.start("restore", image, target, "--yes")
    job = rescue.job()
    os.kill(rescue.pid(job), signal.SIGTERM)
    result = rescue.finish(command)
    assert result.code == 130, result
    assert result.err.startswith("rescue: Cancelled.\nNothing was written") or "partly written" in result.err


def _kill_at_random(rescue: Rescue, command: subprocess.Popen[str], chance: random.Random, longest: float) -> bool:
    """SIGKILL the job after a random time; whether it was still running."""
    job = rescue.job()
    pid = rescue.pid(job)
    time.sleep(chance.uniform(0.15, longest))
    alive = job.alive()
    if alive:
        os.kill(pid, signal.SIGKILL)
    result = rescue.finish(command)
    if result.code == 0:
        return False
    assert result.code == 1, result
    assert "its process was killed" in result.err
    events = job.events()
    assert isinstance(events[-1], Finished)
    assert events[-1].state == "failed"
    return True


_TIMES = [6, pytest.param(100, marks=pytest.mark.long)]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", _TIMES)
def test_a_restore_that_is_killed_again_and_again(rescue: Rescue, image: Path, tmp_path: Path, times: int) -> None:
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    chance = random.Random(times)
    killed = 0
    for _ in range(times):
        command = rescue.start("restore", image, target, "--yes")
        killed += _kill_at_random(rescue, command, chance, 2.0)
        rescue.forget()
    assert killed
    rescue.ok("restore", image, target, "--yes")
    assert digest(target) == content(image)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", _TIMES)
def test_a_backup_that_is_killed_again_and_again(rescue: Rescue, disk: Path, image: Path, dest: Path, times: int) -> None:
    chance = random.Random(times)
    killed = 0
    for _ in range(times):
        command = rescue.start("backup", disk, dest, "--name", "x")
        killed += _kill_at_random(rescue, command, chance, 1.5)
        rescue.forget()
        for left in dest.glob("x.img.zst"):  # killed while it was being checked: complete all the same
            assert content(left) == content(image)
            left.unlink()
    assert killed
    before = digest(disk)
    rescue.ok("backup", disk, dest, "--name", "x")
    assert sorted(p.name for p in dest.iterdir()) == ["x.img.zst", "x.img.zst.proof.json"]
    assert content(dest / "x.img.zst") == content(image)
    assert digest(disk) == before


def test_the_target_is_unplugged(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    """What is behind the device goes away while it is written to."""
    backing = sparse(tmp_path / "backing.raw", DISK_SIZE)
    point = tmp_path / "stick"
    point.touch()
    server = subprocess.Popen(
        # 25 MB a second, so that it is in the middle of writing.
        ["nbdfuse", str(point), "--command", "nbdkit", "-s", "--filter=rate", "file", str(backing), "rate=200M"]
    )
    try:
        deadline = time.monotonic() + 20
        while point.stat().st_size != DISK_SIZE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with attached(point) as device:
            command = rescue.start("restore", image, device, "--yes")
            rescue.wait_for_bytes(1, 20 * MIB)
            server.kill()
            unplugged = time.monotonic()
            result = rescue.finish(command)
            assert time.monotonic() - unplugged < 20
    finally:
        server.kill()
        server.wait()
        run(["umount", "--lazy", str(point)], ok=(0, 32))
    assert result.code == 1
    assert f"{device} does not take data any more" in result.err
    assert f"{device} is only partly written" in result.err
