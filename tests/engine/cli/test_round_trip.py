"""Backup, verify, restore: the whole path, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rescue.system.run import run
from tests.engine.cli.command import Rescue, content
from tests.engine.cli.conftest import DATA_SIZE, DATA_START, DISK_SIZE
from tests.engine.devices.loops import attached, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


def test_there_and_back(rescue: Rescue, disk: Path, dest: Path, tmp_path: Path) -> None:
    before = digest(disk)
    said = rescue.ok("backup", disk, dest, "--comment", "before", "--json")
    verdict = json.loads(said.out)
    (image,) = dest.glob("*.img.zst")
    assert sorted(path.name for path in dest.iterdir()) == [image.name, f"{image.name}.proof.json"]
    assert verdict["state"] == "succeeded"
    assert verdict["facts"]["verified"] is True
    assert verdict["facts"]["image"] == str(image)
    assert verdict["facts"]["stored_size"] == image.stat().st_size
    assert digest(disk) == before
    assert image.stat().st_mode & 0o777 == 0o600

    info = json.loads(rescue.ok("info", image, "--json").out)
    assert (info["comment"], info["disk"]["size"]) == ("before", DISK_SIZE)
    assert [v["type"] for v in info["content"]["volumes"]] == ["vfat", "ext4", ""]
    (listed,) = json.loads(rescue.ok("list", dest, "--json").out)
    assert listed["uuid"] == info["uuid"]
    rescue.ok("verify", image)

    target = tmp_path / "restored.raw"
    said = rescue.ok("restore", image, target, "--json")
    assert json.loads(said.out)["facts"]["read_back"] is True
    assert digest(target) == content(image)
    original = run(["sfdisk", "--dump", str(disk)]).text.replace(str(disk), "DISK")
    assert run(["sfdisk", "--dump", str(target)]).text.replace(str(target), "DISK") == original
    with attached(target, "--offset", str(34816 * 512), "--sizelimit", str(98 << 20)) as device:
        run(["e2fsck", "-fn", device])
    with disk.open("rb") as one, target.open("rb") as two:
        for file in (one, two):
            file.seek(DATA_START)
        assert one.read(DATA_SIZE) == two.read(DATA_SIZE)


def test_onto_noise_and_onto_a_larger_disk(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    target = tmp_path / "noise.raw"
    with target.open("wb") as file:
        for _ in range(DISK_SIZE // (1 << 20) + 3):
            file.write(os.urandom(1 << 20))
    rescue.ok("restore", image, target, "--yes")
    assert run(["sgdisk", "--verify", str(target)]).text.count("No problems found") == 1
    with attached(target, "--offset", str(34816 * 512), "--sizelimit", str(98 << 20)) as device:
        run(["e2fsck", "-fn", device])


def test_onto_a_block_device(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    backing = sparse(tmp_path / "target.raw", DISK_SIZE)
    with attached(backing) as device:
        rescue.ok("restore", image, device, "--yes")
    assert digest(backing) == content(image)


def test_progress_is_json_lines_that_only_grow(rescue: Rescue, image: Path) -> None:
    said = rescue.ok("verify", image, "--progress", "json")
    lines = [json.loads(line) for line in said.err.splitlines()]
    assert lines[-1]["done"] == lines[-1]["total"] > 0
    done = [line["done"] for line in lines]
    assert done == sorted(done)


def test_a_dry_run_leaves_nothing(rescue: Rescue, disk: Path, image: Path, dest: Path, tmp_path: Path) -> None:
    rescue.ok("backup", disk, dest, "--dry-run")
    rescue.ok("restore", image, tmp_path / "new.raw", "--dry-run")
    assert list(dest.iterdir()) == []
    assert not (tmp_path / "new.raw").exists()
    assert not rescue.jobs.exists()


def test_the_reader_of_our_output_may_go(rescue: Rescue, image: Path) -> None:
    process = rescue.start("info", image)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    error = process.stderr.read()
    process.wait()
    assert error == ""


def test_a_job_outlives_its_command(rescue: Rescue, disk: Path, dest: Path) -> None:
    process = rescue.start("backup", disk, dest, "--name", "x")
    job = rescue.wait_for_bytes(0, 1)
    process.kill()
    process.communicate()
    finished = job.wait(120)
    assert finished is not None
    assert finished.state == "succeeded"
    assert (dest / "x.img.zst").exists()


def test_the_typed_confirmation_on_a_terminal(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    for typed, code in (("nope", 3), (".raw", 0)):
        script = ["script", "--quiet", "--return", "--command", f"python -m rescue restore {image} {target}", "/dev/null"]
        done = subprocess.run(
            script,
            input=f"{typed}\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "RESCUE_JOBS": str(rescue.jobs), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        assert done.returncode == code, done.stdout
    assert digest(target) == content(image)
