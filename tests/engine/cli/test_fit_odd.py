"""Disks that fitting meets rarely: features that resize2fs fails at, tables that cannot be used, small boot partitions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


@pytest.fixture
def rescue(tmp_path: Path) -> Rescue:
    """The command."""
    return Rescue(tmp_path / "jobs")


def _disk(path: Path, size: int, table: str, *parts: tuple[int, int, list[str]]) -> dict[str, bytes]:
    """A disk with a table and ext file systems ``(start, size in MiB, how it is made)``; the files of the first."""
    sparse(path, size)
    run(["sfdisk", "--no-reread", "--no-tell-kernel", "-q", str(path)], stdin=table.encode())
    files = {f"file-{number}": os.urandom(4 * MIB) for number in range(5)}
    for start, mib, make in parts:
        with loop_device(str(path), offset=start * MIB, size=mib * MIB, writable=True) as node:
            run(["mkfs.ext4", "-q", "-F", *make, node])
            if start == 1:
                with mounted(node, path.parent / "filled") as point:
                    for name, content in files.items():
                        (point / name).write_bytes(content)
    return files


def _files(path: Path, start: int, size: int, names: dict[str, bytes]) -> dict[str, bytes]:
    with loop_device(str(path), offset=start, size=size) as node:
        run(["e2fsck", "-fn", node])
        with mounted(node, path.parent / "seen", "-o", "ro") as point:
            return {name: (point / name).read_bytes() for name in names}


def _place(path: Path, number: int) -> tuple[int, int]:
    rows = run(["sfdisk", "--dump", str(path)]).text.splitlines()
    words = next(row for row in rows if row.split(":")[0].strip().endswith(str(number)) and "start=" in row)
    start, size = (int(words.split(f"{key}=")[1].split(",")[0]) * 512 for key in ("start", "size"))
    return start, size


@pytest.mark.parametrize("feature", ["bigalloc", "stable_inodes"])
def test_what_resize2fs_fails_at_is_not_begun(feature: str, rescue: Rescue, tmp_path: Path) -> None:
    """It miscounts the clusters of bigalloc, and refuses to renumber stable inodes: in the middle of the work."""
    source, target = tmp_path / "source.raw", sparse(tmp_path / "target.raw", 145 * MIB)
    files = _disk(source, 302 * MIB, "label: gpt\nsize=300MiB\n", (1, 300, ["-O", feature]))
    before = digest(source)
    for queue in (("clone", source, target), ("partition", source, "resize 1 size=100MiB")):
        refused = rescue(*queue, "--yes")
        assert refused.code == 3, refused
    again = rescue("partition", source, "delete 1", "add start=1MiB size=300MiB", "resize 1 size=100MiB", "--yes")
    assert again.code == 3, again
    assert digest(source) == before
    larger = sparse(tmp_path / "larger.raw", 500 * MIB)
    rescue.ok("clone", source, larger, "--fit", "auto", "--yes")
    assert _files(larger, *_place(larger, 1), files) == files


def test_a_small_active_partition_gives_way_before_a_disk_is_refused(rescue: Rescue, tmp_path: Path) -> None:
    source, target = tmp_path / "source.raw", sparse(tmp_path / "target.raw", 250 * MIB)
    table = "label: dos\nstart=2048,size=300MiB,type=83,bootable\nsize=98MiB,type=83\n"
    files = _disk(source, 402 * MIB, table, (1, 300, []), (301, 98, []))
    rescue.ok("clone", source, target, "--yes")
    start, size = _place(target, 1)
    assert size < 300 * MIB
    assert _files(target, start, size, files) == files
    # With room for it, it stays as it is: so small and active, it holds what starts the computer.
    larger = sparse(tmp_path / "larger.raw", 800 * MIB)
    rescue.ok("clone", source, larger, "--fit", "auto", "--yes")
    assert _place(larger, 1)[1] == 300 * MIB


def test_what_needs_more_on_larger_sectors_gets_it_where_it_can_be_had(rescue: Rescue, tmp_path: Path) -> None:
    source = tmp_path / "source.raw"
    files = _disk(source, 42 * MIB, "label: gpt\nsize=40MiB\n", (1, 40, ["-b", "1024", "-O", "^has_journal"]))
    with loop_device(str(source), offset=MIB, size=40 * MIB, writable=True) as node, mounted(node, tmp_path / "more") as point:
        for number in range(2000):
            (point / f"small-{number}").write_bytes(b"x" * 3000)
    tight = sparse(tmp_path / "tight.raw", 42 * MIB)
    refused = rescue("clone", source, tight, "--sector-size", "4096", "--fit", "auto", "--yes")
    assert refused.code == 3, refused
    roomy = sparse(tmp_path / "roomy.raw", 200 * MIB)
    rescue.ok("clone", source, roomy, "--sector-size", "4096", "--yes")
    with loop_device(str(roomy), offset=0, size=200 * MIB, sector_size=4096) as node:
        row = next(row for row in run(["sfdisk", "--dump", node]).text.splitlines() if "start=" in row)
    start, size = (int(row.split(f"{key}=")[1].split(",")[0]) * 4096 for key in ("start", "size"))
    assert size > 40 * MIB
    assert _files(roomy, start, size, files) == files


def test_a_table_that_cannot_be_used_is_copied_onto_a_larger_disk(rescue: Rescue, tmp_path: Path) -> None:
    """On the larger one it can be used: the bytes are the same, and nobody says that the disk must not be."""
    whole, source, target = tmp_path / "whole.raw", tmp_path / "source.raw", sparse(tmp_path / "target.raw", 300 * MIB)
    _disk(whole, 300 * MIB, "label: gpt\nsize=100MiB\nsize=150MiB\n", (1, 100, []))
    shutil.copy(whole, source)
    os.truncate(source, 200 * MIB)
    done = rescue.ok("clone", source, target, "--fit", "auto", "--yes")
    assert "Do not use" not in done.out + done.err
    with source.open("rb") as old, target.open("rb") as new:
        assert old.read() == new.read(200 * MIB)


def test_what_cannot_be_mounted_here_keeps_its_names_and_that_is_said(rescue: Rescue, tmp_path: Path) -> None:
    source, target = tmp_path / "source.raw", sparse(tmp_path / "target.raw", 302 * MIB)
    _disk(source, 302 * MIB, "label: gpt\nsize=150MiB\nsize=100MiB\n", (1, 150, []), (151, 100, ["-O", "casefold"]))
    with loop_device(str(source), offset=151 * MIB, size=100 * MIB, writable=True) as node:
        if run(["mount", "-o", "ro", node, str(tmp_path)], ok=(0, 32)).code == 0:
            run(["umount", str(tmp_path)])
            run(["debugfs", "-w", "-R", "ssv s_encoding 77", node])  # of which no kernel knows
    done = rescue.ok("clone", source, target, "--new-ids", "--yes")
    assert "Files in partition 2 may still name the old ones" in done.out
    assert _place(target, 2) == _place(source, 2)
