"""Moving partitions with real file systems: killed anywhere, the same command completes it, and its own check finds nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from rescue.filesystems.identify import identify
from rescue.jobs.job import list_jobs
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.test_partition import Disk, assert_files, fill, sound, table_of
from tests.engine.devices.loops import attached, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_SIZE = 600 * MIB


@pytest.fixture
def moved(rescue: Rescue, tmp_path: Path) -> Disk:
    """A blank disk of 1 GiB."""
    return Disk(rescue, sparse(tmp_path / "moved.raw", 1 * GIB))


def _check(disk: Disk, start: int, size: int, kind: str) -> None:
    checks = {"btrfs": ["btrfs", "check"], "xfs": ["xfs_repair", "-n"], "ntfs": ["ntfsfix", "-n"], "vfat": ["fsck.vfat", "-n"]}
    with attached(disk.path, "--offset", str(start), "--sizelimit", str(size)) as node:
        run([*checks.get(kind, ["e2fsck", "-fn"]), node])


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_there_and_back_over_its_own_place(moved: Disk, tmp_path: Path, kind: str) -> None:
    moved.ok("table gpt", f"create start=3MiB size=600MiB fs={kind} name=mine")
    files = fill(moved.path, 3 * MIB, _SIZE, tmp_path / "mnt")
    for start in (1, 2, 250, 10):
        moved.ok(f"move 1 start={start}MiB")
        assert table_of(moved.path) == {1: (start, 600)}
        sound(moved.path)
        _check(moved, start * MIB, _SIZE, kind)
        assert_files(moved.path, start * MIB, _SIZE, tmp_path / "mnt", files)
    refused = moved.rescue("partition", moved.path, "--undo", moved.saved(), "--yes")
    assert refused.code == 3
    assert "would not fit" in refused.err


@pytest.mark.parametrize("kind", ["ntfs", "vfat"])
def test_boot_sectors_say_the_new_place(moved: Disk, kind: str) -> None:
    moved.ok("table gpt", f"create start=100MiB size=300MiB fs={kind}")
    moved.ok("move 1 start=50MiB", "create size=max")
    assert table_of(moved.path)[1] == (50, 300)
    _check(moved, 50 * MIB, 300 * MIB, kind)
    with moved.path.open("rb") as file:
        file.seek(50 * MIB + 28)
        assert int.from_bytes(file.read(4), "little") == 50 * MIB // 512


def _kill_soon(disk: Disk, chance: random.Random, done: int, arguments: list[str]) -> bool:
    """Run, and SIGKILL the job a moment after it has moved so many bytes; whether it was killed."""
    disk.number += 1
    disk.rescue.forget()
    command = disk.rescue.start("partition", disk.path, *arguments, "--yes", "--save", disk.saved())
    while not list_jobs(disk.rescue.jobs) and command.poll() is None:
        time.sleep(0.005)
    if not list_jobs(disk.rescue.jobs):
        # The last kill came when all was done.
        refused = disk.rescue.finish(command)
        assert refused.code == 2, refused
        assert "starts there already" in refused.err, refused
        return False
    job = disk.rescue.wait_until(done)
    pid = disk.rescue.pid(job)
    time.sleep(chance.uniform(0, 0.05))
    if job.alive():
        os.kill(pid, signal.SIGKILL)
    result = disk.rescue.finish(command)
    assert result.code in (0, 1), result
    if result.code:
        assert "--continue" in result.err or "was not changed" in result.err or "Nothing was" in result.err, result
    return result.code != 0


@pytest.mark.parametrize("to", [2, 4])
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again(moved: Disk, tmp_path: Path, to: int, seed: int) -> None:
    chance = random.Random(seed)
    moved.ok("table gpt", "create start=3MiB size=600MiB fs=ext4")
    files = fill(moved.path, 3 * MIB, _SIZE, tmp_path / "mnt", big=350 * MIB)
    kills = 0
    while _kill_soon(
        moved, chance, kills * 50 * MIB + chance.randrange(40 * MIB),
        ["--continue"] if kills % 3 == 2 and _begun(moved) else [f"move 1 start={to}MiB"],
    ):  # fmt: skip
        kills += 1
        assert kills < 60
        if kills == 1 and _begun(moved):
            refused = moved("delete 1")
            assert refused.code == 3
            assert "was interrupted" in refused.err
    assert kills >= 3
    assert table_of(moved.path) == {1: (to, 600)}
    sound(moved.path)
    _check(moved, to * MIB, _SIZE, "ext4")
    assert_files(moved.path, to * MIB, _SIZE, tmp_path / "mnt", files)
    assert not _begun(moved)


def _begun(disk: Disk) -> bool:
    """Whether a move of it is to be gone on with."""
    return disk.rescue("partition", disk.path, "--continue", "--dry-run").code == 0


def _interrupted(disk: Disk, *operations: str) -> None:
    """Begin operations and cancel them within the move."""
    disk.number += 1
    command = disk.rescue.start("partition", disk.path, *operations, "--yes", "--save", disk.saved())
    result = disk.rescue.cancelled(command, 1, 40 * MIB)
    assert result.code == 130, result
    assert "nothing of it is lost" in result.err
    disk.rescue.forget()


@pytest.mark.parametrize("to", [2, 4])
def test_a_disk_in_the_middle_of_a_move_does_not_pass_for_a_whole_one(moved: Disk, tmp_path: Path, to: int) -> None:
    moved.ok("table gpt", "create start=3MiB size=600MiB fs=ext4")
    files = fill(moved.path, 3 * MIB, _SIZE, tmp_path / "mnt", big=350 * MIB)
    moved.rescue.forget()
    _interrupted(moved, f"move 1 start={to}MiB")
    assert identify(str(moved.path), 3 * MIB, _SIZE).type == ""
    rescue = moved.rescue
    assert f"rescue partition {moved.path} --continue" in rescue.ok("disks", moved.path).out
    store, copy = tmp_path / "store", sparse(tmp_path / "copy.raw", 1 * GIB)
    store.mkdir()
    refusals: list[tuple[str | Path, ...]] = [
        ("backup", moved.path, store),
        ("clone", moved.path, copy),
        ("clone", moved.path, copy, "--fit", "auto"),
    ]
    for command in refusals:
        refused = rescue(*command, "--yes")
        assert refused.code == 3, refused
        assert "The move of partition 1 of" in refused.err
        assert f"rescue partition {moved.path} --continue" in refused.err
    assert list(store.iterdir()) == []
    moved.ok("--continue")
    sound(moved.path)
    _check(moved, to * MIB, _SIZE, "ext4")
    assert_files(moved.path, to * MIB, _SIZE, tmp_path / "mnt", files)
    rescue.ok("backup", moved.path, store, "--no-verify")


def test_the_operations_behind_an_interrupted_move_are_done_too(moved: Disk, tmp_path: Path) -> None:
    moved.ok("table gpt", "create start=3MiB size=600MiB fs=ext4")
    files = fill(moved.path, 3 * MIB, _SIZE, tmp_path / "mnt", big=400 * MIB)
    moved.rescue.forget()
    queue = ["move 1 start=2MiB", "create start=700MiB size=100MiB fs=swap", "name 1 moved"]
    _interrupted(moved, *queue)
    shown = moved.rescue.ok("partition", moved.path, "--continue", "--dry-run").out
    assert "Go on moving partition 1" in shown
    moved.ok(*queue)
    assert table_of(moved.path) == {1: (2, 600), 2: (700, 100)}
    assert "moved" in run(["sgdisk", "--print", str(moved.path)]).text
    assert_files(moved.path, 2 * MIB, _SIZE, tmp_path / "mnt", files)


def test_a_disk_that_was_written_to_meanwhile_is_not_gone_on_with(moved: Disk, tmp_path: Path) -> None:
    moved.ok("table gpt", "create start=3MiB size=600MiB fs=ext4")
    fill(moved.path, 3 * MIB, _SIZE, tmp_path / "mnt", big=400 * MIB)
    moved.rescue.forget()
    _interrupted(moved, "move 1 start=2MiB")
    with moved.path.open("r+b") as file:
        file.seek(2 * MIB)
        for _ in range(600):
            file.write(b"other" * 1024)
            file.seek(MIB - 5 * 1024, os.SEEK_CUR)
    state = digest(moved.path)
    refused = moved("move 1 start=2MiB")
    assert refused.code == 3
    assert "written to since" in refused.err
    assert digest(moved.path) == state


def _bytes(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def test_boot_loaders_of_single_boards_stay_as_they_are(moved: Disk) -> None:
    """They are between the GPT and the first partition, in the first MiB and behind it."""
    moved.ok("table gpt", "create start=16MiB size=100MiB fs=ext4", "create size=max")
    loader = random.Random(5).randbytes(4 * MIB - 34 * 512)
    with moved.path.open("r+b") as file:
        file.seek(34 * 512)
        file.write(loader)
    moved.ok("delete 2", "move 1 start=17MiB", "create size=max")
    moved.ok("move 1 start=14MiB")
    assert _bytes(moved.path, 34 * 512, 4 * MIB) == loader


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_the_journal_leaves_what_is_deleted_in_the_same_queue_as_it_is(moved: Disk, label: str) -> None:
    moved.ok(f"table {label}", *["create size=60MiB fs=ext4"] * 3)
    old = _bytes(moved.path, 1 * MIB, 61 * MIB)
    moved.ok("delete 1", "move 3 start=300MiB")
    assert _bytes(moved.path, 1 * MIB, 61 * MIB) == old
    _check(moved, 300 * MIB, 60 * MIB, "ext4")
    found = json.loads(moved.rescue.ok("partition", moved.path, "--search", "--json").out)
    assert [(one["start"], one["whole"], one["damaged"], one["twin_of"]) for one in found["lost"]] == [
        (1 * MIB, True, False, 0), (121 * MIB, True, False, 3),
    ]  # fmt: skip
    assert [text for text in found["command"] if text.startswith("add ")] == [f"add start={MIB} size={60 * MIB} type=linux"]
    assert "a copy of partition 3" in moved.rescue.ok("partition", moved.path, "--search").out


def test_a_journal_without_a_blank_place_is_announced_and_leaves_beginnings_alone(moved: Disk) -> None:
    moved.ok("table gpt", "create size=60MiB fs=ext4", "create size=max")
    start, size = table_of(moved.path)[2]
    noise = random.Random(6).randbytes(MIB)
    with moved.path.open("r+b") as file:
        for at in range(start * MIB, (start + size) * MIB, MIB):
            file.seek(at)
            file.write(noise)
        file.seek((start + size) * MIB)
        file.write(noise[: GIB - 33 * 512 - (start + size) * MIB])
    moved.number += 1
    queue = ("delete 2", "move 1 start=300MiB")
    shown = moved.rescue.ok("partition", moved.path, *queue, "--dry-run").out
    assert "content of what was partition 2" in " ".join(shown.split())
    moved.ok(*queue)
    for at in (start, start + size - 1):
        assert _bytes(moved.path, at * MIB, (at + 1) * MIB) == noise
    _check(moved, 300 * MIB, 60 * MIB, "ext4")


def test_what_cannot_be_moved_safely_is_refused(moved: Disk) -> None:
    moved.ok(
        "table dos", "create start=1MiB size=100MiB", "create start=102MiB size=500MiB type=extended",
        "create start=110MiB size=100MiB fs=ext4", "create start=400MiB size=100MiB fs=ext4",
    )  # fmt: skip
    state = digest(moved.path)
    refused = moved("move 6 start=390MiB")
    assert refused.code == 3
    assert "description of a logical partition" in refused.err
    assert "no room" in moved("move 6 start=150MiB").err
    assert digest(moved.path) == state
    moved.ok("move 6 start=290MiB")
    assert table_of(moved.path) == {1: (1, 100), 2: (102, 500), 5: (110, 100), 6: (290, 100)}
    _check(moved, 290 * MIB, 100 * MIB, "ext4")
    full = Disk(moved.rescue, sparse(moved.path.with_name("full.raw"), 512 * MIB))
    full.ok("table dos", "create start=2MiB size=510MiB fs=ext4")
    refused = full("move 1 start=1MiB")
    assert refused.code == 3
    assert "no unallocated space for the journal" in refused.err
