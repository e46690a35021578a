"""``rescue partition`` on disk files: sfdisk, sgdisk and each file system's own tools are the judges."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue, Result
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


def table_of(path: Path, sector_size: int = 512) -> dict[int, tuple[int, int]]:
    """Start and size in MiB by number, as sfdisk reads them."""
    return {
        number: (row["start"] * sector_size // MIB, row["size"] * sector_size // MIB)
        for number, row in rows_of(path, sector_size).items()
    }


def rows_of(path: Path, sector_size: int = 512) -> dict[int, dict[str, Any]]:
    """The rows of sfdisk by number."""
    with attached(path, "--sector-size", str(sector_size)) as node:
        found = msgspec.json.decode(run(["sfdisk", "--json", node]).stdout)["partitiontable"]["partitions"]
    return {int(str(row["node"]).removeprefix(node).lstrip("p")): row for row in found}


def sound(path: Path) -> None:
    """sgdisk and sfdisk find nothing to complain about."""
    assert "No problems found" in run(["sgdisk", "--verify", str(path)]).text
    assert run(["sfdisk", "--verify", str(path)]).stderr.strip() in (b"", b"No errors detected.")


class Disk:
    """A disk file that is edited, with its own place for old tables."""

    def __init__(self, rescue: Rescue, path: Path) -> None:
        self.rescue = rescue
        self.path = path
        self.number = 0

    def __call__(self, *operations: str) -> Result:
        """Run operations."""
        self.number += 1
        return self.rescue("partition", self.path, *operations, "--yes", "--save", self.saved())

    def ok(self, *operations: str) -> Result:
        """Run operations that must succeed."""
        result = self(*operations)
        assert result.code == 0, result
        return result

    def saved(self) -> Path:
        """The file of the last table."""
        return self.path.with_suffix(f".{self.number}")


@pytest.fixture
def edited(rescue: Rescue, tmp_path: Path) -> Disk:
    """A blank disk of 2 GiB."""
    return Disk(rescue, sparse(tmp_path / "edited.raw", 2 * GIB))


_FILE_SYSTEMS = {
    "ext2": 20, "ext3": 40, "ext4": 60, "xfs": 320, "btrfs": 200, "ntfs": 40, "vfat": 40, "exfat": 40, "f2fs": 100, "swap": 20,
}  # fmt: skip


def test_every_file_system_is_made_and_found(edited: Disk) -> None:
    queue = [
        "table gpt",
        *(f"create size={size}MiB fs={kind} label=L-{kind.upper()} name='my {kind}'" for kind, size in _FILE_SYSTEMS.items()),
    ]
    edited.ok(*queue)
    sound(edited.path)
    rows = rows_of(edited.path)
    for number, (kind, size) in enumerate(_FILE_SYSTEMS.items(), 1):
        row = rows[number]
        assert (row["size"] * 512, row["name"]) == (size * MIB, f"my {kind}")
        found = run(["blkid", "-p", "-O", str(row["start"] * 512), "-S", str(size * MIB), "-o", "export", str(edited.path)]).text
        assert f"TYPE={kind}\n" in found
        assert f"LABEL=L-{kind.upper()}\n" in found
        with attached(edited.path, "--offset", str(row["start"] * 512), "--sizelimit", str(size * MIB)) as node:
            checks = {
                "xfs": ["xfs_repair", "-n"],
                "btrfs": ["btrfs", "check"],
                "ntfs": ["ntfsfix", "-n"],
                "vfat": ["fsck.vfat", "-n"],
                "exfat": ["fsck.exfat", "-n"],
                "f2fs": ["fsck.f2fs", "--dry-run"],
                "swap": ["swaplabel"],
            }
            run([*checks.get(kind, ["e2fsck", "-fn"]), node])
        if kind in ("vfat", "ntfs"):
            with edited.path.open("rb") as file:
                file.seek(row["start"] * 512 + 28)
                assert int.from_bytes(file.read(4), "little") == row["start"]


def test_disks_with_sectors_of_4096_bytes(rescue: Rescue, tmp_path: Path) -> None:
    path = sparse(tmp_path / "4k.raw", 1 * GIB)
    with attached(path, "--sector-size", "4096") as node:
        kinds = ("ext4", "vfat", "ntfs", "swap")
        rescue.ok(
            "partition",
            node,
            "table gpt",
            *(f"create size=100MiB fs={kind}" for kind in kinds),
            "--yes",
            "--save",
            tmp_path / "t",
        )
        assert "No problems found" in run(["sgdisk", "--verify", node]).text
    assert table_of(path, 4096) == {1: (1, 100), 2: (101, 100), 3: (201, 100), 4: (301, 100)}
    for number, kind in enumerate(kinds):
        assert f"TYPE={kind}\n" in run(["blkid", "-p", "-O", str((1 + 100 * number) * MIB), "-o", "export", str(path)]).text
    assert "ext4" in rescue.ok("disks", path).out


def test_an_mbr_with_logical_partitions(edited: Disk) -> None:
    edited.ok(
        "table dos", "create size=100MiB", "create size=1000MiB type=extended", "create start=110MiB size=100MiB fs=ext4",
        "create start=300MiB size=100MiB fs=swap", "create start=500MiB size=100MiB type=0x07", "flag 1 active=on",
    )  # fmt: skip
    assert table_of(edited.path) == {1: (1, 100), 2: (101, 1000), 5: (110, 100), 6: (300, 100), 7: (500, 100)}
    assert "bootable" in run(["sfdisk", "--dump", str(edited.path)]).text
    edited.ok("delete 5", "create start=700MiB size=50MiB")
    assert table_of(edited.path) == {1: (1, 100), 2: (101, 1000), 5: (300, 100), 6: (500, 100), 7: (700, 50)}
    assert run(["sfdisk", "--verify", str(edited.path)]).code == 0
    assert "TYPE=swap" in run(["blkid", "-p", "-O", str(300 * MIB), "-o", "export", str(edited.path)]).text


def test_what_is_deleted_can_be_put_back(edited: Disk, disk: Path) -> None:
    shutil.copy(disk, edited.path)
    before = digest(edited.path)
    edited.ok("delete 2", "name 3 other", "create size=5MiB")
    assert digest(edited.path) != before
    sound(edited.path)
    done = edited.rescue.ok("partition", edited.path, "--undo", edited.saved(), "--yes")
    assert "as it was" in done.out
    assert digest(edited.path) == before
    # Put back a second time it changes nothing, and says so.
    undo = ("partition", edited.path, "--undo", edited.saved())
    assert "there is nothing to do" in " ".join(edited.rescue.ok(*undo, "--dry-run").out.split())
    changed = edited.path.stat().st_mtime_ns
    assert "nothing was written" in " ".join(edited.rescue.ok(*undo, "--yes").out.split())
    assert edited.path.stat().st_mtime_ns == changed
    assert digest(edited.path) == before


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_partition_whose_place_was_used_since_is_not_put_back(edited: Disk, label: str, tmp_path: Path) -> None:
    edited.ok(f"table {label}", "create size=100MiB fs=ext4", *["create size=200MiB fs=ext4"] * 2)
    edited.ok("delete 3")
    first = edited.saved()
    edited.rescue.ok("partition", edited.path, "--undo", first, "--yes")
    edited.ok("delete 3")
    # What stays in the table may be used.
    fill(edited.path, 1 * MIB, 100 * MIB, tmp_path / "mnt")
    edited.rescue.ok("partition", edited.path, "--undo", first, "--yes")
    edited.ok("delete 3")
    edited.ok("create start=301MiB size=200MiB fs=btrfs")
    edited.ok("delete 3")
    state = digest(edited.path)
    for more in ("--dry-run", "--yes"):
        refused = edited.rescue("partition", edited.path, "--undo", first, more)
        assert refused.code == 3, refused
        assert "at the place of partition 3" in " ".join(refused.err.split())
    assert digest(edited.path) == state
    edited.rescue.ok("partition", edited.path, "--undo", edited.saved(), "--yes")
    assert table_of(edited.path)[3] == (301, 200)


@pytest.mark.parametrize("how", ["zeros", "sgdisk", "wipe", "others", "whole"])
def test_a_table_that_was_lost_since_is_put_back(edited: Disk, disk: Path, how: str) -> None:
    """Nothing is in its way: the disk has no partitions by now that it did not have then."""
    shutil.copy(disk, edited.path)
    edited.ok("delete 2")
    kept = edited.saved()
    before = run(["sfdisk", "--dump", str(disk)]).text.replace(str(disk), "")
    match how:
        case "zeros":
            with edited.path.open("r+b") as file:
                file.write(bytes(MIB))
                file.seek(-MIB, os.SEEK_END)
                file.write(bytes(MIB))
        case "sgdisk":
            run(["sgdisk", "--delete=1", str(edited.path)])
        case "wipe":
            edited.rescue.ok("wipe", edited.path, "--method", "quick", "--yes")
        case "others":
            edited.ok("create size=5MiB")
        case _:
            run(["sgdisk", "--zap-all", str(edited.path)])
            run(["mkfs.ext4", "-q", "-F", str(edited.path)])
    done = edited.rescue("partition", edited.path, "--undo", kept, "--yes")
    if how in ("others", "whole"):
        assert done.code == 3
        assert "by something else" in done.err
    else:
        assert done.code == 0, done
        assert run(["sfdisk", "--dump", str(edited.path)]).text.replace(str(edited.path), "") == before
        sound(edited.path)


def test_a_queue_of_which_one_cannot_be_done_is_not_begun(edited: Disk, tmp_path: Path) -> None:
    """resize2fs needs more than what is in use; it is asked before anything is written, also behind a move."""
    edited.ok("table gpt", "create size=800MiB fs=ext4", "create size=200MiB fs=ntfs", "create size=100MiB fs=swap")
    fill(edited.path, 1 * MIB, 800 * MIB, tmp_path / "mnt", big=200 * MIB)
    used = json.loads(edited.rescue.ok("disks", edited.path, "--json").out)[0]["volumes"][0]["used"]
    state = digest(edited.path)
    for queue in (
        ["delete 3", "resize 2 size=100MiB", f"resize 1 size={used // MIB + 2}MiB"],
        ["delete 3", "move 2 start=1500MiB", "move 1 start=20MiB", f"resize 1 size={used // MIB + 2}MiB"],
        ["delete 3", "resize 1 size=600MiB", "resize 2 size=2MiB"],
    ):
        refused = edited(*queue)
        assert refused.code == 3, refused
        assert "Nothing was written" in refused.err or "cannot be made as small" in refused.err, refused
        assert digest(edited.path) == state


def test_another_kind_of_table_can_be_put_back_too(edited: Disk, disk: Path) -> None:
    shutil.copy(disk, edited.path)
    before = digest(edited.path)
    edited.ok("table dos", "create start=200MiB size=20MiB", "create type=extended size=100MiB")
    assert run(["sfdisk", "--json", str(edited.path)]).text.count("0x") >= 1
    run(["sgdisk", "--verify", str(edited.path)], ok=(0, 2, 3))
    assert "GPT" not in edited.rescue.ok("disks", edited.path).out
    edited.rescue.ok("partition", edited.path, "--undo", edited.saved(), "--yes")
    assert digest(edited.path) == before


def test_undo_is_refused_when_it_would_make_things_worse(edited: Disk, disk: Path, tmp_path: Path) -> None:
    shutil.copy(disk, edited.path)
    edited.ok("format 2 fs=ext4")
    refused = edited.rescue("partition", edited.path, "--undo", edited.saved(), "--yes")
    assert refused.code == 3
    assert "would not fit" in refused.err
    edited.ok("delete 3")
    run(["sgdisk", "--change-name=1:other", str(edited.path)])
    state = digest(edited.path)
    refused = edited.rescue("partition", edited.path, "--undo", edited.saved(), "--yes")
    assert refused.code == 3
    assert "by something else" in refused.err
    other = sparse(tmp_path / "other.raw", 3 * GIB)
    assert "another disk" in edited.rescue("partition", other, "--undo", edited.saved(), "--yes").err
    bad = tmp_path / "bad"
    for content, said in ((b"", "no saved"), (edited.saved().read_bytes()[:-30], "damaged"), (b"rescue-table-1\nxx", "damaged")):
        bad.write_bytes(content)
        result = edited.rescue("partition", edited.path, "--undo", bad, "--yes")
        assert result.code == 1, result
        assert said in result.err
    missing = edited.rescue("partition", edited.path, "--undo", tmp_path / "none", "--yes")
    assert missing.code == 2
    assert "does not exist" in missing.err
    assert "--undo takes a file" in missing.err
    assert digest(edited.path) == state


def fill(path: Path, start: int, size: int, folder: Path, big: int = 0) -> dict[str, bytes]:
    """Files in the file system at an offset; their content."""
    with attached(path, "--offset", str(start), "--sizelimit", str(size)) as node, mounted(node, folder) as point:
        files = {f"file-{n}": os.urandom(n * 60_000 + 1) for n in range(20)}
        if big:
            files["big"] = b"".join(random.Random(n).randbytes(MIB) for n in range(big // MIB))
        for name, content in files.items():
            (point / name).write_bytes(content)
    return files


def assert_files(path: Path, start: int, size: int, folder: Path, files: dict[str, bytes]) -> int:
    """The same files are there; the size of the file system."""
    with attached(path, "--offset", str(start), "--sizelimit", str(size)) as node, mounted(node, folder) as point:
        assert {name: (point / name).read_bytes() for name in files} == files
        return os.statvfs(point).f_blocks * os.statvfs(point).f_frsize


@pytest.mark.parametrize("kind", ["ext4", "btrfs"])
def test_resize_smaller_and_larger(edited: Disk, tmp_path: Path, kind: str) -> None:
    edited.ok("table gpt", f"create size=1000MiB fs={kind}")
    files = fill(edited.path, 1 * MIB, 1000 * MIB, tmp_path / "mnt")
    edited.ok("resize 1 size=400MiB", "create size=100MiB")
    assert table_of(edited.path) == {1: (1, 400), 2: (401, 1646)} or table_of(edited.path)[1] == (1, 400)
    sound(edited.path)
    assert assert_files(edited.path, 1 * MIB, 400 * MIB, tmp_path / "mnt", files) < 401 * MIB
    edited.ok("delete 2", "resize 1 size=max")
    size = table_of(edited.path)[1][1] * MIB
    assert size == 2046 * MIB
    assert assert_files(edited.path, 1 * MIB, size, tmp_path / "mnt", files) > 1700 * MIB


def test_resize_of_xfs_and_of_nothing(edited: Disk, tmp_path: Path) -> None:
    edited.ok("table gpt", "create size=400MiB fs=xfs", "create start=1000MiB size=100MiB")
    files = fill(edited.path, 1 * MIB, 400 * MIB, tmp_path / "mnt")
    state = digest(edited.path)
    for operation in ("resize 1 size=350MiB", "resize 2 size=50MiB"):
        refused = edited(operation)
        assert refused.code == 3, refused
        assert "smaller" in refused.err
    assert digest(edited.path) == state
    edited.ok("resize 1 size=max", "resize 2 size=200MiB")
    assert table_of(edited.path) == {1: (1, 999), 2: (1000, 200)}
    assert assert_files(edited.path, 1 * MIB, 999 * MIB, tmp_path / "mnt", files) > 900 * MIB


def test_a_file_system_that_does_not_get_that_small_changes_nothing(edited: Disk, tmp_path: Path) -> None:
    edited.ok("table gpt", "create size=1000MiB fs=ext4")
    with (
        attached(edited.path, "--offset", str(MIB), "--sizelimit", str(1000 * MIB)) as node,
        mounted(node, tmp_path / "m") as point,
    ):
        (point / "big").write_bytes(os.urandom(300 * MIB))
    refused = edited("resize 1 size=100MiB")
    assert refused.code == 3, refused
    failed = edited("resize 1 size=312MiB")
    assert failed.code in (1, 3), failed
    assert table_of(edited.path) == {1: (1, 1000)}
    with attached(edited.path, "--offset", str(MIB), "--sizelimit", str(1000 * MIB)) as node:
        run(["e2fsck", "-fn", node])


_REFUSED: list[tuple[list[str], int, str]] = [
    ([], 2, "nothing to do"),
    (["explode 1"], 2, "no operation"),
    (["create 'x"], 2, "quotation"),
    (["delete"], 2, "should read"),
    (["delete x"], 2, "no number"),
    (["delete 9"], 2, "no partition 9"),
    (["create size=-1"], 2, "no size"),
    (["create size=1XB"], 2, "no size"),
    (["create colour=red"], 2, "cannot be in"),
    (["create fs=zfs"], 2, "no file system"),
    (["create label=x"], 2, "belongs to a file system"),
    (["create size=50MiB fs=xfs"], 3, "too small for xfs"),
    (["create size=20MiB fs=ext4 label=12345678901234567"], 2, "cannot be the label"),
    (["create type=nonsense"], 2, "no type"),
    (["create type=extended"], 2, "has no type"),
    (["format 1"], 2, "lacks fs="),
    (["resize 1"], 2, "lacks size="),
    (["move 1 start=1MiB"], 2, "starts there already"),
    (["flag 1 active=on"], 2, "no flag"),
    (["flag 1 hidden"], 2, "should read"),
    (["table apm"], 2, "no partition table of the kind"),
    (["create start=1MiB size=5MiB"], 3, "no free space"),
    (["--continue"], 2, "No move was interrupted"),
    (["delete 1", "--continue"], 2, "together"),
]


def test_what_is_refused_changes_nothing(edited: Disk, disk: Path) -> None:
    shutil.copy(disk, edited.path)
    before = digest(edited.path)
    for operations, code, said in _REFUSED:
        result = edited(*operations)
        assert result.code == code, (operations, result)
        assert said in result.err, operations
        assert not edited.saved().exists()
    assert digest(edited.path) == before


def test_protected_and_unconfirmed_disks(edited: Disk, tmp_path: Path) -> None:
    edited.ok("table gpt", "create size=100MiB fs=ext4")
    before = digest(edited.path)
    with (
        attached(edited.path, "--offset", str(MIB), "--sizelimit", str(100 * MIB)) as node,
        mounted(node, tmp_path / "m", "-o", "ro,noload"),
    ):
        refused = edited("delete 1")
        assert refused.code == 3
        assert "mounted at" in refused.err
    asked = edited.rescue("partition", edited.path, "delete 1")
    assert asked.code == 3
    assert "nobody is here" in asked.err
    shown = edited.rescue.ok("partition", edited.path, "delete 1", "create size=1GiB fs=ext4 label=new", "--dry-run").out
    assert "Before:" in shown
    assert "After:" in shown
    assert "Lost on" in shown
    assert (
        msgspec.json.decode(edited.rescue.ok("partition", edited.path, "delete 1", "--dry-run", "--json").out)["kind"]
        == "partition"
    )
    assert digest(edited.path) == before
    again = edited.rescue("partition", edited.path, "delete 1", "--yes", "--save", edited.path.with_suffix(".1"))
    assert again.code == 3
    assert "there already" in again.err
    assert "cannot be kept" in edited.rescue("partition", edited.path, "delete 1", "--yes", "--save", "/proc/no/such").err
    assert digest(edited.path) == before
    sparse(tmp_path / "none.raw", 1 * GIB)
    assert "no partition table" in edited.rescue("partition", tmp_path / "none.raw", "create", "--yes").err


def test_a_table_takes_the_place_of_a_file_system_on_the_whole_disk(edited: Disk) -> None:
    run(["mkfs.ext4", "-q", "-F", str(edited.path)])
    edited.ok("table gpt", "create size=100MiB")
    assert "ext4" not in edited.rescue.ok("disks", edited.path).out
    sound(edited.path)


def test_a_hybrid_mbr_is_given_up_only_for_another_table(edited: Disk) -> None:
    edited.ok("table gpt", "create size=100MiB fs=ext4", "create size=100MiB")
    run(["sgdisk", "--hybrid=1", str(edited.path)])
    before = digest(edited.path)
    refused = edited("name 2 second")
    assert (refused.code, digest(edited.path)) == (3, before)
    assert "hybrid MBR" in refused.err
    edited.ok("label 1 x")
    shown = edited.rescue.ok("partition", edited.path, "convert mbr", "--dry-run").out
    assert "second description" in " ".join(shown.split())
    edited.ok("convert mbr")
    assert table_of(edited.path) == {1: (1, 100), 2: (101, 100)}


def test_a_file_with_sectors_of_4096_bytes_gets_no_mbr(rescue: Rescue, tmp_path: Path) -> None:
    """It would be read with those of 512 bytes ever after."""
    edited = Disk(rescue, sparse(tmp_path / "4k.raw", 1 * GIB))
    with attached(edited.path, "--sector-size", "4096") as node:
        rescue.ok("partition", node, "table gpt", "create size=100MiB fs=ext4", "--yes", "--save", tmp_path / "t")
        before = digest(edited.path)
    for operation in ("convert mbr", "table mbr"):
        refused = edited(operation)
        assert (refused.code, digest(edited.path)) == (3, before)
        assert "4096" in refused.err
    with attached(edited.path, "--sector-size", "4096") as node:
        rescue.ok("partition", node, "convert mbr", "--yes", "--save", tmp_path / "u")
    assert table_of(edited.path, 4096) == {1: (1, 100)}


def test_bytes_that_are_no_text_are_a_mistake_of_the_person(edited: Disk) -> None:
    edited.ok("table gpt", "create size=100MiB fs=ext4")
    for queue in (["name 1 \udcff"], ["label 1 \udcff\udcfe"], ["name 1 \udcff", "--dry-run"]):
        refused = edited(*queue)
        assert refused.code == 2, refused
        assert "UTF-8" in refused.err


def test_a_btrfs_gets_no_smaller_than_linux_makes_it(edited: Disk) -> None:
    edited.ok("table gpt", "create size=400MiB fs=btrfs", "create size=100MiB")
    before = digest(edited.path)
    refused = edited("delete 2", "resize 1 size=255MiB")
    assert (refused.code, digest(edited.path)) == (3, before)
    edited.ok("resize 1 size=256MiB")
    assert table_of(edited.path)[1] == (1, 256)
