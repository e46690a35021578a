"""Partitions that the table has lost: found by what begins in free space, and put back with nothing in them changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, KIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_TRACK = 63 * 512
# Start, size, how it is made, what it is found as, its type in a GPT.
_CONTENT = [
    (1 * MIB, 64 * MIB, "mkfs.vfat -F 32 -n ESP", "vfat", "efi"),
    (65 * MIB, 300 * MIB, "mkfs.ext4 -q -F -L root", "ext4", "linux"),
    (365 * MIB, 320 * MIB, "mkfs.xfs -q -f -L data", "xfs", "linux"),
    (685 * MIB, 200 * MIB, "mkfs.btrfs -q -f -L pool", "btrfs", "linux"),
    (885 * MIB, 100 * MIB, "mkntfs -q -F -Q -L Windows", "ntfs", "windows"),
    (985 * MIB, 64 * MIB, "mkfs.exfat -L card", "exfat", "windows"),
    (1049 * MIB, 64 * MIB, "mkswap -q -L swap", "swap", "swap"),
    (1113 * MIB, 64 * MIB, "mkfs.f2fs -q -f -l flash", "f2fs", "linux"),
    (1177 * MIB, 64 * MIB, "mkfs.ext2 -q -F -b 1024 -L old", "ext2", "linux"),
    (1241 * MIB, 24 * MIB, "mkfs.vfat -F 16 -n FLOPPY", "vfat", "fat32"),
]
_SIZE = 2 * GIB


def _make(path: Path, content: list[tuple[int, int, str, str, str]], folder: Path) -> None:
    """Make each file system in a file of its own and put it where it belongs."""
    sparse(path, _SIZE)
    for start, size, command, _, code in content:
        part = sparse(folder / "part.raw", size)
        run([*command.split(), str(part)])
        if code == "efi":
            run(["mmd", "-i", str(part), "::EFI"])
        run(["dd", f"if={part}", f"of={path}", "bs=64K", f"seek={start}", "oflag=seek_bytes", "conv=notrunc,sparse"])
        part.unlink()


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with every kind of file system on it and no table."""
    folder = tmp_path_factory.mktemp("lost")
    _make(folder / "disk.raw", _CONTENT, folder)
    return folder / "disk.raw"


@pytest.mark.parametrize("options", [(), ("--deep",)])
def test_all_of_them_are_found(rescue: Rescue, scattered: Path, options: tuple[str, ...]) -> None:
    before = digest(scattered)
    said = json.loads(rescue.ok("partition", scattered, "--search", "--json", *options).out)
    lost = [one for one in said["lost"] if not one["inside"]]
    assert [(one["start"], one["type"], one["partition_type"]) for one in lost] == [
        (start, kind, code) for start, _, _, kind, code in _CONTENT
    ]
    assert all(one["whole"] and not one["overlaps"] and not one["damaged"] for one in lost)
    for one, (_, size, _, kind, _) in zip(lost, _CONTENT, strict=True):
        # What does not fill its partition ends before it: xfs and others round down to whole groups or blocks.
        assert size - 8 * MIB <= one["size"] <= size, kind
    assert digest(scattered) == before


def test_the_command_that_is_named_puts_them_back(rescue: Rescue, scattered: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    run(["cp", "--sparse=always", str(scattered), str(disk)])
    command = json.loads(rescue.ok("partition", disk, "--search", "--json").out)["command"]
    assert command[:2] == ["rescue", "partition"]
    after = rescue.ok(*command[1:], "--dry-run").out.partition("After:")[2].partition("1. ")[0]
    for name in ("FAT “ESP”", "ext4 “root”", "xfs “data”", "btrfs “pool”", "NTFS “Windows”", "swap “swap”", "f2fs “flash”"):
        assert name in after
    assert "unknown content" not in after
    rescue.ok(*command[1:], "--yes", "--save", tmp_path / "old.rescue-table")
    run(["sgdisk", "--verify", str(disk)])
    for start, _, _, kind, _ in _CONTENT:
        text = next(text for text in command[3:] if f"start={start} " in text)
        size = text.split("size=")[1].split()[0]
        assert f"ID_FS_TYPE={kind}" in run(["blkid", "-p", "-o", "udev", "-O", str(start), "-S", size, str(disk)]).text
    assert "No lost partition" in rescue.ok("partition", disk, "--search").out
    table = run(["sfdisk", "--dump", str(disk)]).text
    assert table.count("start=") == len(_CONTENT)
    assert "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" in table


def test_an_old_disk_gets_an_extended_partition_around_the_last(rescue: Rescue, tmp_path: Path) -> None:
    """As made under DOS: the first behind a track, each logical one behind the track of its description."""
    cylinder = 255 * 63 * 512
    old = [
        (_TRACK, 40 * MIB, "mkfs.vfat -F 16 -n C", "vfat", ""),
        (10 * cylinder, 64 * MIB, "mkfs.ext2 -q -F", "ext2", ""),
        (20 * cylinder, 64 * MIB, "mkswap -q", "swap", ""),
        (30 * cylinder + _TRACK, 64 * MIB, "mkfs.ext3 -q -F", "ext3", ""),
        (40 * cylinder + _TRACK, 64 * MIB, "mkntfs -q -F -Q", "ntfs", ""),
        (50 * cylinder + _TRACK, 64 * MIB, "mkfs.ext4 -q -F", "ext4", ""),
    ]
    disk = tmp_path / "old.raw"
    _make(disk, old, tmp_path)
    shown = rescue.ok("partition", disk, "--search").out
    assert shown.count("whole") >= len(old)
    command = json.loads(rescue.ok("partition", disk, "--search", "--json").out)["command"]
    assert command[3] == "table mbr"
    rescue.ok(*command[1:], "--yes", "--save", tmp_path / "old.rescue-table")
    table = json.loads(run(["sfdisk", "--json", str(disk)]).text)["partitiontable"]
    assert table["label"] == "dos"
    starts = {part["start"] * 512 for part in table["partitions"] if part["type"] != "f"}
    assert starts == {start for start, *_ in old}
    assert [part["type"] for part in table["partitions"]] == ["e", "83", "82", "f", "83", "7", "83"]


def test_what_was_overwritten_and_what_is_a_file_are_not_believed(rescue: Rescue, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    # The remains of a large NTFS whose end is something else, and an image of a disk inside of an ext4.
    inner = sparse(tmp_path / "inner.raw", 20 * MIB)
    run(["mkfs.ext2", "-q", "-F", str(inner)])
    outer = tmp_path / "outer"
    outer.mkdir()
    run(["cp", str(inner), str(outer / "disk.img")])
    _make(
        disk,
        [(1 * MIB, 900 * MIB, "mkntfs -q -F -Q", "", ""), (400 * MIB, 200 * MIB, f"mkfs.ext4 -q -F -d {outer}", "", "")],
        tmp_path,
    )
    with disk.open("r+b") as file:
        file.seek(901 * MIB - 64 * KIB)
        file.write(bytes(64 * KIB))
    said = json.loads(rescue.ok("partition", disk, "--search", "--deep", "--json").out)
    assert [(one["type"], one["start"], one["whole"], one["overlaps"]) for one in said["lost"] if not one["inside"]] == [
        ("ntfs", 1 * MIB, False, True),
        ("ext4", 400 * MIB, True, True),
    ]
    added = [text for text in said["command"] if text.startswith("add ")]
    assert added == [f"add start={400 * MIB} size={200 * MIB} type=linux"]


def test_an_ext4_whose_beginning_is_gone_is_found_by_its_copies(rescue: Rescue, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    _make(disk, [(8 * MIB, 300 * MIB, "mkfs.ext4 -q -F", "", "")], tmp_path)
    with disk.open("r+b") as file:
        file.seek(8 * MIB)
        file.write(bytes(64 * KIB))
    said = json.loads(rescue.ok("partition", disk, "--search", "--deep", "--json").out)
    assert [(one["type"], one["start"], one["size"], one["damaged"]) for one in said["lost"]] == [
        ("ext4", 8 * MIB, 300 * MIB, True)
    ]
    assert said["command"] == []
    assert "its beginning is damaged" in rescue.ok("partition", disk, "--search", "--deep").out


def test_an_exact_partition_that_cannot_be_is_refused(rescue: Rescue, scattered: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    run(["cp", "--sparse=always", str(scattered), str(disk)])
    before = digest(disk)
    for operations, said in (
        (["table gpt", f"add start={MIB} size={MIB}", f"add start={MIB} size={2 * MIB}"], "Another partition has some"),
        (["table gpt", f"add start=512 size={MIB}"], "does not lie where"),
        (["table gpt", f"add start={MIB} size={4 * GIB}"], "does not lie where"),
        (["table gpt", f"add start={MIB + 1} size={MIB}"], "whole sectors"),
    ):
        result = rescue("partition", disk, *operations, "--yes")
        assert result.code in (2, 3), result
        assert said in result.err
    assert digest(disk) == before


@pytest.mark.parametrize("size", [64, 150])
def test_an_ntfs_whose_size_was_changed_is_found(rescue: Rescue, tmp_path: Path, size: int) -> None:
    """The backup of its boot sector is at the end of the partition then, and not right behind the sectors that it counts."""
    path = sparse(tmp_path / "disk.raw", 1 * GIB)
    edit = ("partition", path, "--yes")
    rescue.ok(*edit, "table gpt", "create size=100MiB fs=ntfs label=Win", "--save", tmp_path / "1")
    rescue.ok(*edit, f"resize 1 size={size}MiB", "--save", tmp_path / "2")
    rescue.ok(*edit, "delete 1", "--save", tmp_path / "3")
    (found,) = json.loads(rescue.ok("partition", path, "--search", "--json").out)["lost"]
    assert (found["start"], found["size"], found["type"], found["whole"]) == (1 * MIB, size * MIB, "ntfs", True)
