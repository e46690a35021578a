"""Copying a partition, and labelling what is in one, judged by each file system's own tools."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rescue.engine.checkers import check
from rescue.engine.editing import format_volume
from rescue.engine.labels import set_label
from rescue.engine.resizing import nothing
from rescue.errors import UsageError
from rescue.filesystems.identify import identify
from rescue.model.operation import FileSystem
from rescue.planning.partition_copy import check_label
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.test_partition import Disk, assert_files, fill, sound, table_of
from tests.engine.devices.loops import attached, sparse
from tests.hashes import digest, digest_of

pytestmark = pytest.mark.engine

_SIZES = {
    "ext2": 20, "ext3": 40, "ext4": 60, "xfs": 320, "btrfs": 200, "ntfs": 40, "vfat": 40, "exfat": 40, "f2fs": 100, "swap": 20,
}  # fmt: skip


@pytest.fixture
def edited(rescue: Rescue, tmp_path: Path) -> Disk:
    """A blank disk of 2 GiB."""
    return Disk(rescue, sparse(tmp_path / "edited.raw", 2 * GIB))


def _values(path: Path, start: int, size: int) -> dict[str, str]:
    """What blkid says of a place, in MiB."""
    command = ["blkid", "-p", "-o", "udev", "-O", str(start * MIB), "-S", str(size * MIB), str(path)]
    return dict(line.split("=", 1) for line in run(command).text.splitlines())


@pytest.mark.parametrize("kind", _SIZES)
def test_a_copy_is_whole_and_goes_by_another_name(edited: Disk, kind: str) -> None:
    size = _SIZES[kind]
    edited.ok("table gpt", f"create start=1MiB size={size}MiB fs={kind} label=one", "name 1 first")
    edited.ok("copy 1 start=1000MiB", *(() if kind == "f2fs" else ("label 2 TWO",)))
    sound(edited.path)
    assert table_of(edited.path) == {1: (1, size), 2: (1000, size)}
    one, two = _values(edited.path, 1, size), _values(edited.path, 1000, size)
    assert one["ID_FS_TYPE"] == two["ID_FS_TYPE"] == kind
    assert one["ID_FS_LABEL"].lower() == "one"
    if kind != "f2fs":
        assert two["ID_FS_LABEL"].lower() == "two"
        assert one["ID_FS_UUID"] != two["ID_FS_UUID"]
    if kind != "swap":
        for start in (1, 1000):
            with attached(edited.path, "--offset", str(start * MIB), "--sizelimit", str(size * MIB)) as node:
                checked = check(kind, node, dirty=False, timeout=60)
            assert checked.done
            assert not checked.problem
    parts = run(["sgdisk", "--print", str(edited.path)]).text
    assert parts.count("first") == 2


def _hash(path: Path) -> str:
    """Of what the first partition holds."""
    with path.open("rb") as file:
        file.seek(MIB)
        return digest_of(file.read(300 * MIB))


def test_every_file_is_in_the_copy(edited: Disk, tmp_path: Path) -> None:
    edited.ok("table gpt", "create start=1MiB size=300MiB fs=ext4")
    files = fill(edited.path, 1 * MIB, 300 * MIB, tmp_path / "mnt", big=40 * MIB)
    before = _hash(edited.path)
    shown = edited.rescue.ok("partition", edited.path, "copy 1", "--dry-run").out
    assert "read the copy back" in " ".join(shown.split())
    edited.ok("copy 1")
    (start, size) = table_of(edited.path)[2]
    assert size == 300
    assert_files(edited.path, start * MIB, size * MIB, tmp_path / "mnt", files)
    assert _hash(edited.path) == before


def test_what_cannot_be_copied_or_labelled_is_refused(edited: Disk) -> None:
    edited.ok("table dos", "create start=1MiB size=1500MiB fs=ext4", "create start=1600MiB size=20MiB type=lvm")
    with attached(edited.path, "--offset", str(1600 * MIB), "--sizelimit", str(20 * MIB)) as node:
        only = f'devices {{ filter=["a|{node}|","r|.*|"] use_devicesfile=0 }}'
        run(["pvcreate", "--config", only, "--driverloaded", "n", node])
    before = digest(edited.path)
    for operation, said in (
        ("copy 1", "no room for"),
        ("copy 1 start=100MiB", "no free space at"),
        ("copy 2", "cannot be copied"),
        ("copy 3", "no partition 3"),
        ("label 2 data", "no file system that can be labelled"),
        ("label 1 much-too-long-for-ext4", "cannot be the label"),
    ):
        result = edited(operation)
        assert result.code in (2, 3), (operation, result)
        assert said in result.err, (operation, result.err)
    assert digest(edited.path) == before


def test_a_copy_that_is_killed_is_in_no_table(edited: Disk, tmp_path: Path) -> None:
    edited.ok("table gpt", "create start=1MiB size=800MiB fs=ext4")
    files = fill(edited.path, 1 * MIB, 800 * MIB, tmp_path / "mnt", big=500 * MIB)
    edited.rescue.forget()
    edited.number += 1
    command = edited.rescue.start("partition", edited.path, "copy 1", "--yes", "--save", edited.saved())
    with edited.rescue.held(1, 100 * MIB) as job:
        os.kill(edited.rescue.pid(job), signal.SIGKILL)
    result = edited.rescue.finish(command)
    assert result.code == 1
    assert "no partition of" in " ".join(result.err.split())
    assert table_of(edited.path) == {1: (1, 800)}
    edited.ok("copy 1")
    assert_files(edited.path, table_of(edited.path)[2][0] * MIB, 800 * MIB, tmp_path / "mnt", files)


def test_a_label_is_taken_away(edited: Disk) -> None:
    edited.ok("table gpt", "create start=1MiB size=100MiB fs=ext4 label=one", "create size=400MiB fs=xfs label=two")
    edited.ok("label 1 ''", "label 2 ''")
    assert "ID_FS_LABEL" not in _values(edited.path, 1, 100)
    assert "ID_FS_LABEL" not in _values(edited.path, 101, 400)


_LABELS = [
    *(f"A{sign}B" for sign in " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    " AB",
    "-x",
    "--",
    "NO NAME",
    "é",
    "x" * 9 + "'",
    "..",
    "'",
]


@pytest.mark.parametrize("kind", _SIZES)
def test_labels_that_are_not_refused_are_taken_by_the_tools(kind: FileSystem, tmp_path: Path) -> None:
    """New, and in place of another one; what the tools do not take is refused before anything is written."""
    size = _SIZES[kind] * MIB
    path = sparse(tmp_path / "volume", size)
    refused = 0
    for label in _LABELS:
        try:
            check_label(kind, label)
            format_volume(str(path), 0, size, 512, kind, label)
        except UsageError:
            refused += 1
    format_volume(str(path), 0, size, 512, kind, "old")
    for label in _LABELS:
        try:
            check_label(kind, label, present=True)
        except UsageError:
            continue
        set_label(str(path), 0, size, identify(str(path), 0, size), label, nothing)
    assert refused == {"vfat": 20, "exfat": 1}.get(kind, 0)


def test_a_btrfs_over_two_partitions_is_left_alone(edited: Disk) -> None:
    """Each of them looks whole when both are there."""
    edited.ok("table gpt", "create size=600MiB", "create size=600MiB")
    with (
        attached(edited.path, "--offset", str(MIB), "--sizelimit", str(600 * MIB)) as one,
        attached(edited.path, "--offset", str(601 * MIB), "--sizelimit", str(600 * MIB)) as other,
    ):
        run(["mkfs.btrfs", "-q", "-f", one, other])
    before = digest(edited.path)
    for operation in ("resize 1 size=500MiB", "resize 2 size=max", "label 1 x", "copy 2 start=1300MiB"):
        result = edited("name 1 first", operation)
        assert (result.code, digest(edited.path)) == (3, before), result
        assert "several devices" in result.err or operation.startswith("copy")
