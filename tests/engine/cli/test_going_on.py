"""The same command again goes on: a backup from its last whole segment, a restore by what the target holds already."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue, content
from tests.engine.cli.conftest import DATA_SIZE, DISK_SIZE, WIDE_USED
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(5400)]

_TIMES = [6, pytest.param(100, marks=pytest.mark.long)]


def _killed(rescue: Rescue, after: int, *arguments: str | Path) -> str:
    """Run a command and kill its job after some bytes; what its journal says."""
    command = rescue.start(*arguments)
    job = rescue.wait_until(after)
    if job.alive():
        os.kill(rescue.pid(job), signal.SIGKILL)
    rescue.finish(command)
    journal = job.folder / "events.jsonl"
    told = journal.read_text() if journal.exists() else ""
    rescue.forget()
    return told


@pytest.mark.parametrize("times", _TIMES)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_backup_that_is_killed(
    rescue: Rescue, wide_disk: Path, wide_image: Path, dest: Path, tmp_path: Path, times: int, encrypted: bool
) -> None:
    """Without a name: it finds by itself what it has to go on with."""
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery")
    options = ("--encrypt", "--passphrase-file", secret) if encrypted else ()
    backup = ("backup", wide_disk, dest, "--level", "1", "--kind", "full", "--no-verify", *options)
    opening = options[1:]
    chance = random.Random(times)
    went_on = tries = 0
    # On a busy machine a kill may come too late, again and again.
    while tries < times or (not went_on and tries < 10 * times):
        tries += 1
        went_on += "Going on at" in _killed(rescue, chance.randrange(WIDE_USED), *backup)
        assert len(list(dest.iterdir())) <= 1
        for image in dest.iterdir():
            if not image.name.endswith(".partial"):
                rescue.ok("verify", image, *opening)
                image.unlink()
    assert went_on
    rescue.ok(*backup)
    (image,) = [path for path in dest.iterdir() if path.suffix in (".zst", ".rimg")]
    target = sparse(tmp_path / "target.raw", 6 * GIB)
    rescue.ok("restore", image, target, "--yes", *opening)
    reference = sparse(tmp_path / "reference.raw", 6 * GIB)
    rescue.ok("restore", wide_image, reference, "--yes")
    assert digest(target) == digest(reference)
    if not encrypted:
        assert content(image) == content(wide_image)


def test_a_store_that_ran_full_is_enlarged(rescue: Rescue, wide_disk: Path, wide_image: Path, tmp_path: Path) -> None:
    expected = content(wide_image)
    backing = sparse(tmp_path / "store.raw", 96 * MIB)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", str(backing)])
    backup = ("backup", wide_disk, tmp_path / "store", "--name", "x", "--no-verify")
    with attached(backing) as device, mounted(device, tmp_path / "store"):
        result = rescue(*backup)
        assert result.code == 1
        assert "is full" in result.err
        assert "run the same command again to go on with it" in result.err
    os.truncate(backing, 400 * MIB)
    run(["e2fsck", "-f", "-p", str(backing)], ok=(0, 1))
    run(["resize2fs", str(backing)])
    with attached(backing) as device, mounted(device, tmp_path / "store") as store:
        kept = (store / "x.img.zst.partial").stat().st_ino
        rescue.ok(*backup)
        assert (store / "x.img.zst").stat().st_ino == kept
        assert content(store / "x.img.zst") == expected
        rescue.ok("verify", store / "x.img.zst")


def test_a_backup_that_is_cancelled_keeps_its_segments(rescue: Rescue, wide_disk: Path, wide_image: Path, dest: Path) -> None:
    command = rescue.start("backup", wide_disk, dest, "--name", "x", "--no-verify")
    result = rescue.cancelled(command, 0, 60 * MIB)
    assert result.code == 130
    assert "run the same command again to go on with it" in result.err
    assert [path.name for path in dest.iterdir()] == ["x.img.zst.partial"]
    again = rescue.ok("backup", wide_disk, dest, "--name", "x", "--no-verify", "--progress", "json")
    assert "Going on at" in again.err
    assert content(dest / "x.img.zst") == content(wide_image)


def test_a_consolidation_goes_on(rescue: Rescue, wide_disk: Path, wide_image: Path, dest: Path, tmp_path: Path) -> None:
    """Killed, then run to its end: it is not begun anew, and the disk is the one of the chain."""
    run(["cp", "--reflink=auto", str(wide_image), str(dest)])
    changed = tmp_path / "changed.raw"
    run(["cp", "--reflink=auto", "--sparse=always", str(wide_disk), str(changed)])
    with changed.open("r+b") as file:
        file.seek(3 * MIB)  # in free space of the first partition's first block group: changes nothing that counts
        file.write(b"x")
    rescue.ok("backup", changed, dest, "--name", "two", "--no-verify")
    rescue.forget()
    command = ("consolidate", dest / "two.rimg", dest, "--name", "whole")
    running = rescue.start(*command)
    with rescue.held(0, WIDE_USED // 3) as job:
        os.kill(rescue.pid(job), signal.SIGKILL)
    said = rescue.finish(running)
    assert "run the same command again to go on with it" in said.err
    rescue.forget()
    kept = (dest / "whole.img.zst.partial").stat().st_ino
    # It is no backup of this disk that could be gone on with, though it holds the same.
    planned = rescue.ok("backup", changed, dest, "--kind", "full", "--dry-run").out
    assert "Go on with it" not in planned
    assert "whole.img.zst" not in planned
    again = rescue.ok(*command, "--progress", "json")
    assert "Going on at" in again.err
    assert (dest / "whole.img.zst").stat().st_ino == kept
    assert not list(dest.glob("*.partial"))
    rescue.ok("verify", dest / "whole.img.zst", "--against", changed)


def test_a_restore_goes_on_with_the_rest(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    """Most was written when it was killed: the second run finds it there and writes the rest only."""
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    command = rescue.start("restore", image, target, "--yes")
    job = rescue.wait_for_bytes(1, DATA_SIZE * 2 // 3)
    os.kill(rescue.pid(job), signal.SIGKILL)
    assert rescue.finish(command).code == 1
    rescue.forget()
    again = rescue.ok("restore", image, target, "--yes", "--json")
    facts = json.loads(again.out)["facts"]
    assert facts["same_bytes"] >= DATA_SIZE // 3
    assert DATA_SIZE <= facts["written_bytes"] + facts["same_bytes"] <= facts["read_back_bytes"]
    assert facts["read_back"] is True
    assert digest(target) == content(image)


@pytest.mark.parametrize("times", _TIMES)
def test_a_restore_that_is_killed(rescue: Rescue, wide_image: Path, tmp_path: Path, times: int) -> None:
    target = sparse(tmp_path / "target.raw", 6 * GIB)
    chance = random.Random(times)
    for _ in range(times):
        _killed(rescue, chance.randrange(WIDE_USED), "restore", wide_image, target, "--yes", "--no-verify")
    again = rescue.ok("restore", wide_image, target, "--yes", "--json")
    assert json.loads(again.out)["facts"]["same_bytes"] > 0
    rescue.ok("verify", wide_image, "--against", target)
    assert digest(target) == content(wide_image)
