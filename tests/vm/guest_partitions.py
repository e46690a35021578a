"""Runs inside the rescue system, as root, beside guest_images.py: ``python3 -m tests.vm.guest_partitions``.

A virtio disk is edited while the kernel has its partitions. Whatever was done, the kernel, the table on the disk, the file
systems' own programs and the files in them must agree.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.vm.guest_images import WrongError, by_serial, check, digests, mounted, nothing_left, rescue, run

MIB = 1 << 20
DISK = "PRT-EDITED-5D21"
CLONE = "PRT-CLONED-5D22"
NVME = "PRT-NVME-5D24"
SATA = "PRT-SATA-5D25"
SIZE = 1536 * MIB
SMALL = 128 * MIB


def _partitions(name: str) -> dict[int, tuple[int, int]]:
    """Start and size in sectors of what the kernel has, by number."""
    found = {}
    for folder in Path(f"/sys/block/{name}").glob(f"{name}[0-9]*"):
        with suppress(FileNotFoundError):  # it goes and comes again at this moment
            number, start, size = (int((folder / what).read_text()) for what in ("partition", "start", "size"))
            found[number] = (start, size)
    return found


def agrees(device: str, expected: dict[int, str]) -> dict[int, tuple[int, int]]:
    """The kernel has the partitions of the table, with the file systems ``expected``; start and size in MiB by number."""
    run("udevadm", "settle")
    rows = json.loads(run("sfdisk", "--json", device).out)["partitiontable"]["partitions"]
    table = {int(row["node"].removeprefix(device)): (row["start"], row["size"]) for row in rows}
    name = os.path.basename(device)
    # udev has the kernel read the table once more a moment after the last writer has closed the disk.
    deadline = time.monotonic() + 30
    while (kernel := _partitions(name)) != table and time.monotonic() < deadline:
        time.sleep(0.2)
    check(kernel == table, "the kernel has", kernel, "and the table", table)
    listed = {
        words[3]: int(words[2])
        for line in Path("/proc/partitions").read_text().splitlines()[2:]
        if len(words := line.split()) == 4
    }
    check(all(listed[f"{name}{number}"] == size // 2 for number, (_, size) in table.items()), listed)
    found = {
        number: run("blkid", "-p", "-o", "value", "-s", "TYPE", f"{device}{number}", ok=None).out.strip() for number in table
    }
    check(found == expected, "blkid finds", found, "and not", expected)
    check("No problems found" in run("sgdisk", "--verify", device).out, "sgdisk finds something")
    for number, kind in expected.items():
        checker = {
            "ext4": ("e2fsck", "-f", "-n"),
            "xfs": ("xfs_repair", "-n"),
            "ntfs": ("ntfsfix", "-n"),
            "vfat": ("fsck.fat", "-n"),
        }
        if kind in checker:
            run(*checker[kind], f"{device}{number}")
    return {number: (start * 512 // MIB, size * 512 // MIB) for number, (start, size) in table.items()}


def filled(device: str, number: int, driver: str) -> dict[str, str]:
    """Put files on a partition; their hashes."""
    with mounted(f"{device}{number}", driver, write=True) as folder:
        (folder / "folder").mkdir()
        for count in range(4):
            (folder / "folder" / f"file {count}").write_bytes(os.urandom((count + 1) * 3_000_001))
    with mounted(f"{device}{number}", driver) as folder:
        return digests(folder)


def same_files(device: str, number: int, driver: str, expected: dict[str, str]) -> None:
    """What is on a partition is what was put there."""
    with mounted(f"{device}{number}", driver) as folder:
        check(digests(folder) == expected, "other files on", f"{device}{number}")


@contextmanager
def looked_at(node: str) -> Iterator[None]:
    """Somebody opens a partition again and again, and looks at it for three seconds: the kernel reads no table meanwhile."""
    looking = subprocess.Popen(["sh", "-c", 'while :; do sleep 3 <"$0"; sleep 0.3; done', node], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(looking.pid, signal.SIGTERM)
        looking.wait()


def edit() -> None:
    """Create, format, resize, move, delete; refused as a whole while something is mounted."""
    device = by_serial(DISK)
    rescue(
        "partition", device, "--yes", "table gpt", "create size=300MiB fs=ext4 label=one", "create size=200MiB fs=ntfs label=two",
        "create size=320MiB fs=xfs label=three", "create size=64MiB fs=vfat label=FOUR",
    )  # fmt: skip
    kinds = {1: "ext4", 2: "ntfs", 3: "xfs", 4: "vfat"}
    places = agrees(device, kinds)
    check([size for _, size in places.values()] == [300, 200, 320, 64], places)
    files = {number: filled(device, number, driver) for number, driver in ((1, "ext4"), (2, "ntfs3"), (3, "xfs"))}

    with mounted(f"{device}3", "xfs"):
        before = run("sfdisk", "--dump", device).out
        for operation in ("move 3 start=900MiB", "delete 1", "resize 1 size=200MiB", "format 4 fs=ext4"):
            refused = rescue("partition", device, "--yes", operation, ok=(3,))
            check("mounted" in refused.err, refused.err)
        check(run("sfdisk", "--dump", device).out == before, "a refused command changed the table")
    agrees(device, kinds)

    with looked_at(f"{device}1"):
        rescue("partition", device, "--yes", "resize 1 size=200MiB", "resize 2 size=160MiB")
    places = agrees(device, kinds)
    check((places[1][1], places[2][1]) == (200, 160), places)
    for number, driver in ((1, "ext4"), (2, "ntfs3"), (3, "xfs")):
        same_files(device, number, driver, files[number])

    rescue("partition", device, "--yes", "move 3 start=1000MiB", "move 1 start=40MiB")
    places = agrees(device, kinds)
    check((places[3][0], places[1][0]) == (1000, 40), places)
    for number, driver in ((1, "ext4"), (2, "ntfs3"), (3, "xfs")):
        same_files(device, number, driver, files[number])

    rescue("partition", device, "--yes", "delete 4", "resize 3 size=max", "create size=max fs=btrfs label=rest")
    places = agrees(device, {1: "ext4", 2: "ntfs", 3: "xfs", 4: "btrfs"})
    check(places[3][1] > 500, places)
    same_files(device, 3, "xfs", files[3])
    nothing_left()
    clone(device, files)


def clone(device: str, files: dict[int, dict[str, str]]) -> None:
    """The whole disk onto another one, whose partitions the kernel shows at once."""
    target = by_serial(CLONE)
    rescue("clone", device, target, "--yes", "--fit", "same", "--json")
    kinds = {1: "ext4", 2: "ntfs", 3: "xfs", 4: "btrfs"}
    check(agrees(device, kinds) == agrees(target, kinds), "the clone has other partitions")
    for number, driver in ((1, "ext4"), (2, "ntfs3")):
        same_files(target, number, driver, files[number])
    nothing_left()


def sanitize() -> None:
    """A disk that erases itself does so, one that cannot is refused and keeps what it has."""
    content = os.urandom(SMALL)
    able, unable = (os.path.realpath(next(Path("/dev/disk/by-id").glob(f"*_{serial}"))) for serial in (NVME, SATA))
    for device in (able, unable):
        Path(device).write_bytes(content)
        run("blockdev", "--flushbufs", device)
    refused = rescue("wipe", unable, "--method", "sanitize", "--yes", ok=(3,))
    check("does not know the command to erase itself" in refused.err, refused.err)
    rescue("wipe", able, "--method", "sanitize", "--yes")
    for device, expected in ((able, bytes(SMALL)), (unable, content)):
        run("blockdev", "--flushbufs", device)
        check(Path(device).read_bytes() == expected, device, "does not hold what it should")
    nothing_left()


def main() -> int:
    """All of it; exit code 1 when something is wrong."""
    start = time.monotonic()
    try:
        edit()
        sanitize()
    except WrongError as error:
        print(f"WRONG: {error}")
        return 1
    print(f"{time.monotonic() - start:7.1f} s in all", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
