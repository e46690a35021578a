"""A file system that is smaller than its partition, because the work was cut off there or another program changed the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.test_partition import Disk, sound, table_of
from tests.engine.devices.loops import attached, sparse

pytestmark = pytest.mark.engine

_CHECKS = {
    "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check"], "ntfs": ["ntfsresize", "--info", "--force"],
    "exfat": ["fsck.exfat", "-n"],
}  # fmt: skip


@pytest.fixture
def edited(rescue: Rescue, tmp_path: Path) -> Disk:
    """A blank disk of 1 GiB."""
    return Disk(rescue, sparse(tmp_path / "edited.raw", 1 * GIB))


def enlarge(disk: Disk, number: int, mib: int) -> None:
    """Give the entry of a partition another size, and what is in it not: as a cut behind the write of the table leaves it."""
    start = table_of(disk.path)[number][0]
    run(["sfdisk", "--no-reread", "--no-tell-kernel", "-N", str(number), str(disk.path)], stdin=f"{start}MiB,{mib}MiB\n".encode())
    assert table_of(disk.path)[number] == (start, mib)


def size_of(disk: Disk, start: int, mib: int, kind: str) -> int:
    """What a file system says that it has, in MiB, after its own check."""
    with attached(disk.path, "--offset", str(start * MIB), "--sizelimit", str(mib * MIB)) as node:
        run([*_CHECKS.get(kind, ["e2fsck", "-fn"]), node])
        found = run(["blkid", "-p", "-o", "export", node]).text
        match kind:
            case "ext4":
                text = run(["dumpe2fs", "-h", node]).text
                return int(text.split("Block count:")[1].split()[0]) * int(text.split("Block size:")[1].split()[0]) // MIB
            case "xfs":
                words = run(["xfs_db", "-r", "-c", "sb 0", "-c", "p dblocks blocksize", node]).text.split()
                return int(words[2]) * int(words[5]) // MIB
            case "ntfs":
                text = run(["ntfsresize", "--info", "--force", node]).text
                return -(-int(text.split("Current volume size:")[1].split()[0]) // MIB)
            case "btrfs":
                text = run(["btrfs", "inspect-internal", "dump-super", node]).text
                return int(text.split("dev_item.total_bytes")[1].split()[0]) // MIB
            case _:
                assert kind in found
                return int(found.split("FSSIZE=")[1].split()[0]) // MIB if "FSSIZE=" in found else mib


@pytest.mark.parametrize(("kind", "first"), [("ext4", 100), ("xfs", 320), ("btrfs", 300), ("ntfs", 100)])
@pytest.mark.parametrize("how", ["max", "present", "smaller"])
def test_it_is_made_to_fill_its_partition(edited: Disk, kind: str, first: int, how: str) -> None:
    edited.ok("table gpt", f"create size={first}MiB fs={kind}")
    enlarge(edited, 1, 1022 if how == "max" else 600)
    size = {"max": "max", "present": "600MiB", "smaller": "500MiB"}[how]
    edited.ok(f"resize 1 size={size}")
    sound(edited.path)
    start, mib = table_of(edited.path)[1]
    assert (start, mib) == (1, {"max": 1022, "present": 600, "smaller": 500}[how])
    # Of what cannot shrink only the partition becomes smaller.
    filled = kind != "xfs" or how != "smaller"
    assert size_of(edited, 1, mib, kind) == pytest.approx(mib if filled else first, abs=1)
    if filled:
        again = edited(f"resize 1 size={size}")
        assert again.code == 2, again


def test_what_no_program_makes_larger_stays_and_can_be_taken_back(edited: Disk) -> None:
    edited.ok("table gpt", "create size=60MiB fs=exfat", "create size=60MiB fs=vfat")
    for number in (2, 1):
        if number == 1:
            edited.ok("delete 2")
        done = edited.ok(f"resize {number} size=100MiB")
        assert "stays as it is" in edited.rescue.ok("partition", edited.path, f"resize {number} size=120MiB", "--dry-run").out
        assert "switch off" not in done.out
        edited.rescue.ok("partition", edited.path, "--undo", edited.saved(), "--yes")
        assert table_of(edited.path)[number][1] == 60
        edited.ok(f"resize {number} size=100MiB")
        edited.ok(f"resize {number} size=60MiB")
        assert table_of(edited.path)[number][1] == 60
    assert size_of(edited, 1, 60, "exfat")
    assert edited("resize 1 size=50MiB").code == 3


def test_a_partition_keeps_the_size_that_it_has_to_the_byte(edited: Disk) -> None:
    run(["sfdisk", "--no-reread", "--no-tell-kernel", str(edited.path)], stdin=b"label: gpt\nstart=2048,size=100037\n")
    edited.ok("format 1 fs=ext4")
    refused = edited(f"resize 1 size={100037 * 512}")
    assert refused.code == 2
    assert "has that size already" in refused.err


def test_what_comes_back_is_known_to_the_rest_of_the_queue(edited: Disk, tmp_path: Path) -> None:
    edited.ok(
        "table gpt", "create size=100MiB fs=ext4 label=one", "create size=100MiB fs=ntfs label=two", "create size=320MiB fs=xfs"
    )
    edited.ok("delete 3", "delete 2", "delete 1")
    back = ["add start=1MiB size=100MiB", "add start=101MiB size=100MiB", "add start=201MiB size=320MiB"]
    edited.ok(*back, "label 1 other", "resize 3 size=max", "resize 2 size=80MiB")
    sound(edited.path)
    assert size_of(edited, 201, 822, "xfs") == pytest.approx(822, abs=1)
    assert size_of(edited, 101, 80, "ntfs") == pytest.approx(80, abs=1)
    assert "LABEL=other" in run(["blkid", "-p", "-O", str(MIB), "-o", "export", str(edited.path)]).text
    edited.ok("delete 3", "delete 2", "delete 1")
    edited.ok("add start=101MiB size=80MiB", "move 1 start=400MiB", "add start=1MiB size=100MiB", "copy 2 start=200MiB")
    with edited.path.open("rb") as file:
        file.seek(400 * MIB + 28)
        assert int.from_bytes(file.read(4), "little") == 400 * MIB // 512
    uuids = {run(["blkid", "-p", "-O", str(at * MIB), "-s", "UUID", "-o", "value", str(edited.path)]).text for at in (1, 200)}
    assert len(uuids) == 2
