"""Disk onto disk, no image between: every file system, killed and again, full, unplugged, failing, and the proof."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.devices.table import read_layout
from rescue.engine.survey import map_disk
from rescue.model.clone import CloneDisk
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.plan import Plan
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.conftest import DATA_SIZE, DATA_START, DISK_SIZE
from tests.engine.cli.failing import failing_disk
from tests.engine.devices.loops import attached, mounted, sparse
from tests.engine.filesystems import test_btrfs, test_ext, test_fat, test_ntfs, test_xfs
from tests.engine.filesystems.oracle import Case, noise_file, sparse_file
from tests.hashes import digest

pytestmark = pytest.mark.engine

_CASES = (test_fat._CASES[0], test_ext._CASES[0], test_xfs._CASES[0], test_btrfs._CASES[0], test_ntfs._CASES[0])
_SWAP = 16 * MIB
_FREE = 80 * MIB  # behind the last partition: too wide to be kept as zeros


@dataclass(frozen=True)
class Laid:
    """A disk file, what is to be kept of it, and where its file systems are with their files."""

    path: Path
    kept: ExtentMap
    volumes: tuple[tuple[Case, int, dict[str, str]], ...]
    swap: int  # where it starts


def _kept(path: Path) -> ExtentMap:
    """What is in use of a disk."""
    with FileSource(path) as source:
        layout = read_layout(source, 512)
        kept = layout.gaps
        for volume, extents in map_disk(Disk(str(path), source.size, is_file=True), source, layout):
            assert not volume.whole_because, volume
            kept = kept.union(extents)
        return kept


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    """A GPT disk with FAT, ext4, xfs, btrfs, NTFS and swap, old noise in all that is free. Nobody writes to it."""
    folder = tmp_path_factory.mktemp("clone")
    position, starts, lines = MIB, [], ["label: gpt"]
    for case in _CASES:
        starts.append(position)
        lines.append(f"start={position // 512}, size={case.size // 512}, type={'U' if case is _CASES[0] else 'L'}")
        position += case.size + MIB
    lines.append(f"start={position // 512}, size={_SWAP // 512}, type=S")
    swap, size = position, position + _SWAP + _FREE
    path = noise_file(folder / "disk.raw", size + 4096)  # other noise than that of targets
    os.truncate(path, size)
    with path.open("r+b") as file:
        for offset in range(swap + _SWAP, size, MIB):
            file.seek(offset)
            file.write(bytes(MIB))
    run(["wipefs", "--all", str(path)])
    run(["sfdisk", "--quiet", str(path)], stdin="\n".join(lines).encode())
    volumes = []
    for number, (case, start) in enumerate(zip(_CASES, starts, strict=True)):
        single = noise_file(folder / f"volume-{number}", case.size)
        case.make(single)
        case.populate(single)
        tree = case.read_back(single)
        run(["dd", f"if={single}", f"of={path}", "bs=1M", f"seek={start}B", "conv=notrunc", "status=none"], timeout=120)
        single.unlink()
        volumes.append((case, start, tree))
    with attached(path, "--offset", str(swap), "--sizelimit", str(_SWAP)) as device:
        run(["mkswap", "-q", "-L", "swap", device])
    return Laid(path, _kept(path), tuple(volumes), swap)


def _holds(one: Path, other: Path, extents: ExtentMap) -> bool:
    """Whether two files hold the same there."""
    with one.open("rb") as ours, other.open("rb") as theirs:
        for start, end in extents:
            for offset in range(start, end, 4 * MIB):
                length = min(4 * MIB, end - offset)
                ours.seek(offset)
                theirs.seek(offset)
                if ours.read(length) != theirs.read(length):
                    return False
    return True


def _prove_volumes(laid: Laid, target: Path, folder: Path) -> None:
    for number, (case, start, tree) in enumerate(laid.volumes):
        single = sparse_file(folder / f"cloned-{number}", case.size)
        run(["dd", f"if={target}", f"of={single}", "bs=1M", f"skip={start}B", f"count={case.size}B", "status=none"], timeout=120)
        case.check(single)
        assert case.read_back(single) == tree
        single.unlink()
    with attached(target, "--offset", str(laid.swap), "--sizelimit", str(_SWAP), "--read-only") as device:
        assert "swap" in run(["blkid", "--probe", device]).text


def _step(plan: Plan) -> CloneDisk:
    return next(step for step in plan.steps if isinstance(step, CloneDisk))


@pytest.mark.parametrize("bigger", [0, 77 * MIB + 512])
def test_every_file_system_onto_noise(rescue: Rescue, laid: Laid, tmp_path: Path, bigger: int) -> None:
    before = digest(laid.path)
    size = laid.path.stat().st_size
    target = noise_file(tmp_path / "target.raw", size + bigger)
    reference = noise_file(tmp_path / "reference.raw", size + bigger)
    said = json.loads(rescue.ok("clone", laid.path, target, "--yes", "--json").out)
    assert said["facts"]["read_back"] is True
    assert said["facts"]["same_bytes"] == 0
    assert said["facts"]["written_bytes"] < laid.kept.total + 64 * MIB
    assert f"{laid.path} is cloned onto {target}." in said["message"]
    assert digest(laid.path) == before
    assert _step(rescue.job().plan).delta is None

    # On a bigger disk the tables differ; zeros in a wide stretch outside of partitions are nothing.
    assert _holds(laid.path, target, laid.kept.clip(MIB if bigger else 0, laid.swap + _SWAP))
    # What is not in use was not touched, but for the rest of the chunks, and the borders.
    places = [*((start, start + case.size) for case, start, _ in laid.volumes), (laid.swap, laid.swap + _SWAP)]
    borders = ExtentMap((edge - MIB, edge + MIB) for start, end in places for edge in (start + MIB, end))
    near = ExtentMap((max(start - 512 * KIB, 0), end + 512 * KIB) for start, end in laid.kept.clip(0, laid.swap + _SWAP))
    touched = near.union(borders).union(
        ExtentMap([(0, 2 * MIB), (size - 2 * MIB, size), (size + bigger - 2 * MIB, size + bigger)])
    )
    free = touched.complement(size + bigger)
    assert free.clip(0, laid.swap).total > 100 * MIB
    assert free.clip(laid.swap + _SWAP, size).total > _FREE // 2  # zeros there are nothing: the noise stays
    assert _holds(reference, target, free)
    reference.unlink()

    _prove_volumes(laid, target, tmp_path)
    assert "No problems found" in run(["sgdisk", "--verify", str(target)]).text
    dumped = [run(["sfdisk", "--dump", str(path)]).text.replace(str(path), "") for path in (laid.path, target)]
    lines = [[line for line in text.splitlines() if "last-lba" not in line] for text in dumped]
    assert lines[0] == lines[1]
    assert sum("uuid=" in line for line in lines[1]) == len(_CASES) + 1
    target.unlink()


def test_again_writes_only_what_differs(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.raw"
    first = json.loads(rescue.ok("clone", disk, target, "--json").out)
    assert first["facts"]["written_bytes"] > 300 * MIB
    other = tmp_path / "other.raw"
    run(["cp", "--sparse=always", str(disk), str(other)])
    with other.open("r+b") as file:
        file.seek(DATA_START + 100 * MIB + 5)
        file.write(b"changed")
    second = json.loads(rescue.ok("clone", other, target, "--yes", "--json").out)
    assert _holds(other, target, _used(other))
    # The borders of the partitions, which are wiped first, and one chunk.
    assert second["facts"]["written_bytes"] < 10 * MIB
    assert second["facts"]["same_bytes"] > 300 * MIB
    third = json.loads(rescue.ok("clone", other, target, "--yes", "--no-delta", "--json").out)
    assert third["facts"]["same_bytes"] == 0
    assert third["facts"]["written_bytes"] > 300 * MIB


def _used(path: Path) -> ExtentMap:
    with FileSource(path) as source:
        layout = read_layout(source, 512)
        kept = layout.gaps
        for _, extents in map_disk(Disk(str(path), source.size, is_file=True), source, layout):
            kept = kept.union(extents)
        return kept


def test_onto_a_block_device_and_from_one(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    backing = sparse(tmp_path / "target.raw", DISK_SIZE)
    with attached(disk, "--read-only") as source, attached(backing) as target:
        rescue.ok("clone", source, target, "--yes")
    assert _holds(disk, backing, _used(disk))


def test_a_disk_with_an_mbr_and_logical_partitions(rescue: Rescue, tmp_path: Path) -> None:
    source = noise_file(tmp_path / "source.raw", 40 * MIB)
    script = (
        "label: dos\nstart=63, size=20480, type=83\nstart=20608, size=40960, type=5\n"
        "start=20671, size=8192, type=83\nstart=30000, size=8192, type=c\n"
    )
    run(["wipefs", "--all", str(source)])
    run(["sfdisk", "--quiet", str(source)], stdin=script.encode())
    target = noise_file(tmp_path / "target.raw", 47 * MIB)
    rescue.ok("clone", source, target, "--yes")
    dumped = [run(["sfdisk", "--dump", str(path)]).text.replace(str(path), "") for path in (source, target)]
    assert dumped[0] == dumped[1]
    assert dumped[0].count("start=") == 4
    # Nothing on it is known to be free.
    assert _holds(source, target, ExtentMap([(0, 40 * MIB)]))


def test_sectors_of_4096_bytes_onto_a_bigger_disk(rescue: Rescue, tmp_path: Path) -> None:
    source, target = sparse(tmp_path / "source.raw", 60 * MIB), noise_file(tmp_path / "target.raw", 67 * MIB)
    with attached(source, "--sector-size", "4096") as device:
        run(
            ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", device], stdin=b"label: gpt\nstart=256, size=12000, type=L\n"
        )
    run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", f"offset={MIB}", str(source), "46m"])
    rescue.ok("clone", source, target, "--yes")
    with attached(target, "--sector-size", "4096") as device:
        assert "No problems found" in run(["sgdisk", "--verify", device]).text
    with attached(target, "--offset", str(MIB), "--sizelimit", str(46 * MIB), "--read-only") as device:
        run(["e2fsck", "-fn", device])


@pytest.mark.parametrize("bigger", [0, 5 * MIB])
def test_a_table_of_which_one_copy_is_damaged(rescue: Rescue, disk: Path, tmp_path: Path, bigger: int) -> None:
    source, target = tmp_path / "source.raw", noise_file(tmp_path / "target.raw", DISK_SIZE + bigger)
    run(["cp", "--sparse=always", str(disk), str(source)])
    with source.open("r+b") as file:
        file.seek(512 + 60)
        file.write(b"damage")
    said = rescue.ok("clone", source, target, "--yes", "--dry-run")
    assert "damaged; its backup was used" in " ".join(said.out.split())
    rescue.ok("clone", source, target, "--yes")
    assert _holds(source, target, _used(source).clip(MIB, DATA_START + DATA_SIZE))
    if bigger:
        assert "No problems found" in run(["sgdisk", "--verify", str(target)]).text


@pytest.mark.parametrize("case", [_CASES[1], _CASES[0]], ids=lambda case: case.name)
def test_a_file_system_on_the_whole_disk(rescue: Rescue, tmp_path: Path, case: Case) -> None:
    source, target = sparse_file(tmp_path / "source.raw", case.size), noise_file(tmp_path / "target.raw", case.size + 3 * MIB)
    case.make(source)
    case.populate(source)
    tree = case.read_back(source)
    rescue.ok("clone", source, target, "--yes")
    os.truncate(target, case.size)
    case.check(target)
    assert case.read_back(target) == tree


def test_a_dry_run_leaves_nothing(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    said = rescue.ok("clone", disk, tmp_path / "new.raw", "--dry-run")
    assert "the same identifiers" in said.out
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_stored_on_the_source_is_no_target(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.raw"
    run(["cp", "--sparse=always", str(disk), str(source)])
    with (
        attached(source, "--offset", str(34816 * 512), "--sizelimit", str(98 * MIB)) as device,
        mounted(device, tmp_path / "point") as point,
    ):
        target = sparse(point / "target.raw", DISK_SIZE)
        for name in (target, point / "new.raw"):
            result = rescue("clone", source, name, "--yes")
            assert result.code == 3
            assert f"is stored on {source}" in result.err
        assert target.stat().st_blocks == 0
        assert not (point / "new.raw").exists()
        # Mounted, it can be copied all the same; but what is in use of it cannot be known.
        said = rescue.ok("clone", source, tmp_path / "new.raw", "--dry-run")
        assert "every byte is kept" in " ".join(said.out.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_cancelled(rescue: Rescue, disk: Path, tmp_path: Path, number: signal.Signals) -> None:
    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    command = rescue.start("clone", disk, target, "--yes")
    result = rescue.cancelled(command, 1, 40 * MIB, number)
    assert result.code == 130
    # On a busy machine it may have come to its table before it could be stopped, and says so.
    written = "was written completely, but it is not proved" in result.err
    assert written or "only partly written" in result.err
    assert written or "to clone it completely" in result.err
    assert f"{disk} was not changed" in result.err
    run(["sfdisk", "--dump", str(target)], ok=(0,) if written else (1,))
    rescue.ok("clone", disk, target, "--yes")
    assert _holds(disk, target, _used(disk))


def test_one_that_is_killed_again_and_again(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    target = noise_file(tmp_path / "target.raw", DISK_SIZE)
    chance = random.Random(4)
    killed = 0
    for _ in range(4):
        command = rescue.start("clone", disk, target, "--yes")
        job = rescue.wait_until(1)
        time.sleep(chance.random() * 0.4)
        if job.alive():
            os.kill(rescue.pid(job), signal.SIGKILL)
            killed += 1
        result = rescue.finish(command)
        if result.code:
            assert "killed" in result.err
            assert "Run the same command again" in result.err
        rescue.forget()
    assert killed
    before = digest(disk)
    rescue.ok("clone", disk, target, "--yes")
    whole = noise_file(tmp_path / "whole.raw", DISK_SIZE)
    rescue.ok("clone", disk, whole, "--yes")
    assert digest(target) == digest(whole)
    assert digest(disk) == before


def test_the_target_is_unplugged(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    """What is behind the device goes away while it is written to."""
    backing = sparse(tmp_path / "backing.raw", DISK_SIZE)
    point = tmp_path / "stick"
    point.touch()
    server = subprocess.Popen(
        ["nbdfuse", str(point), "--command", "nbdkit", "-s", "--filter=rate", "file", str(backing), "rate=200M"]
    )
    try:
        deadline = time.monotonic() + 20
        while point.stat().st_size != DISK_SIZE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with attached(point) as device:
            command = rescue.start("clone", disk, device, "--yes")
            rescue.wait_for_bytes(1, 20 * MIB)
            server.kill()
            result = rescue.finish(command)
    finally:
        server.kill()
        server.wait()
        run(["umount", "--lazy", str(point)], ok=(0, 32))
    assert result.code == 1
    assert f"{device} does not take data any more" in result.err
    assert f"{device} is only partly written" in result.err


def test_the_target_is_full(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)])
    try:
        target = sparse(folder / "target.raw", DISK_SIZE)
        result = rescue("clone", disk, target, "--yes")
        assert result.code == 1
        assert f"{target} is full" in result.err
        assert "only partly written" in result.err
        run(["sfdisk", "--dump", str(target)], ok=(1,))
    finally:
        run(["umount", str(folder)])


def test_a_source_that_cannot_be_read(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    bad = DATA_START + 100 * MIB
    source, target = tmp_path / "failing.raw", sparse(tmp_path / "target.raw", DISK_SIZE)
    with failing_disk(disk, source, ExtentMap([(bad, bad + 4096)])):
        result = rescue("clone", source, target, "--yes")
    assert result.code == 1
    said = re.search(rf"{source} cannot be read at byte (\d+), which is byte (\d+) of partition 3 ", result.err)
    assert said is not None, result.err
    # FUSE tells where the read began, and not how far it came.
    assert bad - 8 * MIB <= int(said[1]) <= bad
    assert int(said[1]) - int(said[2]) == DATA_START
    assert "rescue backup --salvage" in result.err
    assert f"{source} was not changed" in result.err
    run(["sfdisk", "--dump", str(target)], ok=(1,))


_FLIP = """#!/usr/bin/env python3
import os
API_VERSION = 2
_fd = -1
def config(key, value):
    global _fd
    _fd = os.open(value, os.O_RDWR)
def open(readonly):
    return 1
def get_size(handle):
    return os.fstat(_fd).st_size
def pread(handle, buffer, offset, flags):
    buffer[:] = os.pread(_fd, len(buffer), offset)
def pwrite(handle, buffer, offset, flags):
    data = bytearray(buffer)
    if offset <= PLACE < offset + len(data):
        data[PLACE - offset] ^= 16
    os.pwrite(_fd, data, offset)
def flush(handle, flags):
    os.fsync(_fd)
"""


def test_a_disk_that_writes_a_bit_wrong_is_found_out(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    place = DATA_START + 150 * MIB + 77
    backing, point, plugin = sparse(tmp_path / "backing.raw", DISK_SIZE), tmp_path / "liar", tmp_path / "liar.py"
    plugin.write_text(_FLIP.replace("PLACE", str(place)))
    point.touch()
    with subprocess.Popen(
        ["nbdfuse", str(point), "--command", "nbdkit", "-s", "python", str(plugin), f"file={backing}"]
    ) as server:
        try:
            deadline = time.monotonic() + 20
            while point.stat().st_size != DISK_SIZE:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # Without direct I/O the loop device would be read from the memory of the file below.
            with attached(point, "--direct-io=on") as device:
                result = rescue("clone", disk, device, "--yes")
        finally:
            run(["fusermount3", "-u", "-z", str(point)])
            server.wait()
    assert result.code == 4
    assert f"{device} does not give back what was written to it: partition 3" in result.err
    assert "Do not use the disk" in result.err


def test_what_cannot_be_a_target(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    before = digest(disk)
    linked = tmp_path / "linked.raw"
    linked.symlink_to(disk)
    for same in (disk, linked):
        result = rescue("clone", disk, same, "--yes")
        assert result.code == 3, result
        assert "is the disk that is to be copied" in result.err
    with attached(disk) as device:
        for source, target in ((str(disk), device), (device, str(disk))):
            result = rescue("clone", source, target, "--yes")
            assert result.code == 3, result
            assert "protected" in result.err
    assert digest(disk) == before
    assert not rescue.jobs.exists()


def test_a_target_that_changed_since_the_plan(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    """Between the plan and its job, somebody writes a table to the target."""
    from rescue.jobs.start import start
    from rescue.planning.request import CloneRequest
    from rescue.services.local import LocalMachine

    target = sparse(tmp_path / "target.raw", DISK_SIZE)
    machine = LocalMachine(rescue.jobs)
    plan = machine.plan_clone(machine.survey_one(str(disk)), machine.survey_one(str(target)), CloneRequest())
    run(["sfdisk", "--quiet", str(target)], stdin=b"label: gpt\n")
    before = digest(target)
    finished = start(plan, rescue.jobs).wait(60)
    assert finished is not None
    assert finished.exit_code == 3
    assert "has changed since it was chosen" in finished.message
    assert digest(target) == before


def test_a_source_whose_partitions_changed_since_the_plan(rescue: Rescue, disk: Path, tmp_path: Path) -> None:
    from rescue.jobs.start import start
    from rescue.planning.request import CloneRequest
    from rescue.services.local import LocalMachine

    source, target = tmp_path / "source.raw", noise_file(tmp_path / "target.raw", DISK_SIZE)
    run(["cp", "--sparse=always", str(disk), str(source)])
    machine = LocalMachine(rescue.jobs)
    plan = machine.plan_clone(machine.survey_one(str(source)), machine.survey_one(str(target)), CloneRequest())
    run(["sfdisk", "--quiet", "--delete", str(source), "2"])
    before = digest(target)
    finished = start(plan, rescue.jobs).wait(60)
    assert finished is not None
    assert finished.exit_code == 3
    assert "have changed since it was chosen" in finished.message
    assert digest(target) == before
