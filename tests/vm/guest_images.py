"""Runs inside the rescue system, as root, with its own Python and alone: ``python3 guest_images.py PART...``.

Each part is a function; parts build on ``disk`` and ``chain``. What is wrong ends it with a sentence and exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

MIB = 1 << 20
DISK_SIZE = 1152 * MIB
SOURCE = "SRC-IMAGES-5D10"
TARGET = "TGT-IMAGES-5D11"
PLACES_DISK = "IMG-PLACES-5D12"
SMALL = "SML-IMAGES-5D13"
WORK = Path("/run/work")
STORE = WORK / "store"  # on the disk that the test brings
POINT = WORK / "point"


class Kind(NamedTuple):
    """A partition of the source: its size in MiB, what makes its file system, how the kernel mounts it."""

    size: int
    make: tuple[str, ...]
    driver: str


KINDS = {
    1: Kind(64, ("mkfs.vfat", "-F", "32", "-n", "ESP"), "vfat"),
    2: Kind(128, ("mkfs.ext4", "-q", "-L", "system"), "ext4"),
    3: Kind(64, ("mkfs.ntfs", "-Q", "-q", "-L", "windows"), "ntfs3"),
    4: Kind(64, ("mkfs.exfat", "-q", "-L", "camera"), "exfat"),
    5: Kind(128, ("mkfs.f2fs", "-q", "-l", "phone"), "f2fs"),
    6: Kind(320, ("mkfs.xfs", "-q", "-L", "data"), "xfs"),
    # As Debian 13 and later make it; asked for by name, so that it is never left out unnoticed.
    7: Kind(256, ("mkfs.btrfs", "-q", "-O", "block-group-tree", "-L", "home"), "btrfs"),
    8: Kind(32, ("mkswap",), ""),
}
FILES = [number for number, kind in KINDS.items() if kind.driver]


class WrongError(Exception):
    """What the product did wrong."""


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.out)["facts"]
        return facts


def check(good: object, *what: object) -> None:
    """Unlike ``assert`` it says what was seen."""
    if not good:
        raise WrongError(" ".join(str(part) for part in what))


def run(*command: object, ok: tuple[int, ...] | None = (0,), text: str = "") -> Result:
    """A program; WrongError unless its exit code is in ``ok``."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    result = Result(done.returncode, done.stdout, done.stderr)
    check(ok is None or result.code in ok, " ".join(words), "ended with", *result)
    return result


def rescue(*arguments: object, ok: tuple[int, ...] = (0,)) -> Result:
    """The program under test."""
    start = time.monotonic()
    result = run("rescue", *arguments, ok=ok)
    print(f"{time.monotonic() - start:7.1f} s  rescue {' '.join(str(word) for word in arguments)}", flush=True)
    check("Traceback" not in result.err, result.err)
    return result


def by_serial(serial: str) -> str:
    """The device node of a disk."""
    return os.path.realpath(f"/dev/disk/by-id/virtio-{serial}")


def source() -> str:
    return by_serial(SOURCE)


def target() -> str:
    return by_serial(TARGET)


def places() -> str:
    return by_serial(PLACES_DISK)


@contextmanager
def mounted(device: str, driver: str, *, write: bool = False) -> Iterator[Path]:
    """Somewhere that is not the product's business."""
    folder = WORK / "mounted"
    folder.mkdir(exist_ok=True)
    run("mount", "-t", driver, "-o", "rw" if write else "ro", device, folder)
    try:
        yield folder
    finally:
        run("umount", folder)


def digests(folder: Path) -> dict[str, str]:
    """Path and SHA-256 of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def served() -> list[str]:
    """The block devices through which an image is shown at this moment: loop devices over FUSE, else the kernel's nbd."""
    loops = run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").out.splitlines()
    shown = [line for line in loops if "/rescue-" in line]
    return shown + [block.name for block in Path("/sys/block").glob("nbd*") if (block / "pid").exists()]


def traces() -> list[str]:
    """What a finished command must not leave: attached nbd devices, loop devices, mounts, programs that serve."""
    found = [f"{block.name} is attached" for block in Path("/sys/block").glob("nbd*") if (block / "pid").exists()]
    found += [f"{block.name} shows something" for block in Path("/sys/block").glob("nbd*") if int((block / "size").read_text())]
    loops = run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").out.splitlines()
    # The live system itself stands on loop devices.
    found += [line for line in loops if ".squashfs" not in line]
    own = (str(POINT), "/tmp/rescue-", "/run/rescue/places", "nbd", "fuse.nbd")
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if any(word in line for word in own)]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if name in ("nbdkit", "nbdfuse", "nbd-client", "ntfs-3g"):
            found.append(f"{name} runs")
    return found


def nothing_left() -> None:
    """Wait for what a program that ends leaves behind; the kernel takes a moment."""
    deadline = time.monotonic() + 300
    while left := traces():
        check(time.monotonic() < deadline, "left behind:", left, "open in:", holders())
        time.sleep(0.5)


def holders() -> list[str]:
    """Which programs have loop devices open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target, name = os.readlink(link), (link.parents[1] / "comm").read_text().strip()
        except OSError:
            continue
        if target.startswith("/dev/loop"):
            found.append(f"{name} has {target}")
    return found


# --- parts ---


def disk() -> None:
    """The source: a GPT with every file system that images know, some files in each."""
    STORE.mkdir(parents=True, exist_ok=True)
    table = "label: gpt\n" + "".join(f"size={kind.size}MiB\n" for kind in KINDS.values())
    run("sfdisk", "--quiet", "--wipe", "always", source(), text=table)
    run("udevadm", "settle")
    for number, kind in KINDS.items():
        run(*kind.make, f"{source()}{number}")
        if kind.driver:
            with mounted(f"{source()}{number}", kind.driver, write=True) as folder:
                (folder / "folder").mkdir()
                for count in range(3):
                    (folder / "folder" / f"file {count} – ä").write_bytes(os.urandom((count + 1) * 700_001))
                (folder / "large").write_bytes(os.urandom(6 * MIB))
                (folder / "gone soon").write_bytes(os.urandom(MIB))
    run("udevadm", "settle")


def _change() -> None:
    for number in FILES:
        with mounted(f"{source()}{number}", KINDS[number].driver, write=True) as folder:
            (folder / "gone soon").unlink()
            (folder / "folder" / "new").write_bytes(os.urandom(300_003))
            with (folder / "large").open("r+b") as file:
                file.seek(2 * MIB)
                file.write(os.urandom(100_000))


def _contents(device: str) -> dict[int, dict[str, str]]:
    found = {}
    for number in FILES:
        with mounted(f"{device}{number}", KINDS[number].driver) as folder:
            found[number] = digests(folder)
            check(len(found[number]) == 5, number, found[number])
    return found


def _images() -> tuple[str, str]:
    return str(STORE / "day1.img.zst"), str(STORE / "day2.rimg")


def chain() -> None:
    """Two days of backups, each proved by mounting."""
    day = _contents(source())
    (WORK / "day1.json").write_text(json.dumps(day))
    first = rescue("backup", source(), STORE, "--name", "day1", "--json")
    check(first.facts["checked_volumes"] == len(FILES), first.facts)
    check(first.facts["files_read"] >= len(FILES), first.facts)
    check("kept whole" not in first.err, first.err)
    check(first.facts["mounted_volumes"] == len(FILES), first.facts)
    nothing_left()
    _change()
    (WORK / "day2.json").write_text(json.dumps(_contents(source())))
    second = rescue("backup", source(), STORE, "--name", "day2", "--json")
    check(second.facts["checked_volumes"] == len(FILES), second.facts)
    nothing_left()
    listed = {image["name"]: image for image in json.loads(rescue("list", STORE, "--json").out)}
    check(listed["day2.rimg"]["kind"] == "incremental", listed)
    check(listed["day2.rimg"]["stored_size"] < listed["day1.img.zst"]["stored_size"] / 3, listed)
    check(all("proved" in image["health"] for image in listed.values()), listed)


def _expected(day: int) -> dict[int, dict[str, str]]:
    return {int(number): files for number, files in json.loads((WORK / f"day{day}.json").read_text()).items()}


def mount() -> None:
    """Every file of both days through a mount; a writable one is thrown away."""
    for day, image in enumerate(_images(), 1):
        told = json.loads(rescue("mount", image, POINT, "--json").out)
        check(sorted(v["partition"] for v in told["volumes"] if v["folder"]) == FILES, told)
        check(len(served()) == len(FILES), "each mount needs a device", served())
        for number, files in _expected(day).items():
            check(digests(POINT / str(number)) == files, "day", day, "partition", number)
        rescue("umount", POINT)
        nothing_left()
    before = hashlib.sha256(Path(_images()[1]).read_bytes()).digest()
    rescue("mount", _images()[1], POINT, "--writable")
    for number in FILES:
        (POINT / str(number) / "written").write_bytes(os.urandom(MIB))
        (POINT / str(number) / "large").unlink()
    os.sync()
    rescue("umount", POINT)
    nothing_left()
    check(hashlib.sha256(Path(_images()[1]).read_bytes()).digest() == before, "the image was written")


def verify() -> None:
    """The proof again, on demand."""
    proof = rescue("verify", "--mount", _images()[1], "--json").facts
    check(proof["checked_volumes"] == len(FILES), proof)
    nothing_left()


def files() -> None:
    """Files by name, without a mount where there is a reader, by one for btrfs and f2fs."""
    out = WORK / "out"
    for number, content in _expected(2).items():
        listed = rescue("ls", _images()[1], f"{number}:folder").out
        check("file 2 – ä" in listed and "new" in listed, number, listed)
        shutil.rmtree(out, ignore_errors=True)
        rescue("extract", _images()[1], f"{number}:folder", out, "--progress", "none")
        got = digests(out)
        check(got == {path: hash_ for path, hash_ in content.items() if path.startswith("folder/")}, number, got)
        nothing_left()


def delta() -> None:
    """Day 1 onto a blank disk, then day 2 over it: only what differs is written, and all files are those of day 2."""
    rescue("restore", _images()[0], target(), "--yes", "--json")
    run("udevadm", "settle")
    check(_contents(target()) == _expected(1), "day 1 did not come back")
    told = rescue("restore", _images()[1], target(), "--yes", "--json").facts
    check(0 < told["written_bytes"] < told["same_bytes"], told)
    run("udevadm", "settle")
    check(_contents(target()) == _expected(2), "day 2 did not come back")
    check(run("blkid", "-p", "-o", "value", "-s", "TYPE", f"{target()}8").out.strip() == "swap", "no swap")
    features = run("btrfs", "inspect-internal", "dump-super", f"{target()}7").out
    check("BLOCK_GROUP_TREE" in features, features)
    run("btrfs", "check", f"{target()}7")
    run("cmp", f"{source()}8", f"{target()}8")


PLACES = {1: ("vfat", ("mkfs.vfat", "-F", "32")), 2: ("exfat", ("mkfs.exfat", "-q")), 3: ("ntfs", ("mkfs.ntfs", "-Q", "-q"))}

# What the interface does: the product's own mounts, read-only for a restore and writable for a backup.
_OPEN_PLACE = """
import subprocess, sys
from rescue.services.local import LocalMachine
machine = LocalMachine()
place = next(place for place in machine.places() if place.device == sys.argv[1])
with machine.open_place(place, sys.argv[2] == "rw") as folder:
    sys.exit(subprocess.run([word.replace("PLACE", str(folder)) for word in sys.argv[3:]]).returncode)
"""


def _in_place(number: int, mode: str, *command: object, ok: tuple[int, ...] = (0,)) -> Result:
    """A command of the program with the place open; PLACE in it is the folder."""
    start = time.monotonic()
    words = ("python3", "-c", _OPEN_PLACE, f"{places()}{number}", mode, "rescue", *command)
    packages = "/usr/lib/rescue/site-packages"
    result = run("env", f"PYTHONPATH={packages}", *words, ok=ok)
    print(f"{time.monotonic() - start:7.1f} s  {PLACES[number][0]} {mode}: rescue {' '.join(map(str, command))}", flush=True)
    return result


def small() -> None:
    """A small disk as source of what is not about its file systems."""
    STORE.mkdir(parents=True, exist_ok=True)
    run("mkfs.ext4", "-q", "-F", by_serial(SMALL))
    with mounted(by_serial(SMALL), "ext4", write=True) as folder:
        for count in range(6):
            (folder / f"file-{count}").write_bytes(os.urandom(4 * MIB))


def place() -> None:
    """Images on the file systems of other systems, opened and closed as the interface does it; the automatic cut on FAT."""
    disk_ = by_serial(SMALL)
    run("sfdisk", "--quiet", "--wipe", "always", places(), text="label: gpt\n" + "size=256MiB\n" * 3)
    run("udevadm", "settle")
    for number, (kind, make) in PLACES.items():
        run(*make, f"{places()}{number}")
        run("udevadm", "settle")
        _in_place(number, "rw", "backup", disk_, "PLACE", "--name", "a", "--split", "9M", "--no-verify", "--json")
        _in_place(number, "rw", "backup", disk_, "PLACE", "--name", "b", "--kind", "full", "--no-verify", "--json")
        listed = json.loads(_in_place(number, "ro", "list", "PLACE", "--json").out)
        check([image["problem"] for image in listed] == ["", ""], kind, listed)
        run("blkdiscard", "-f", target(), ok=(0, 1))
        told = _in_place(number, "ro", "restore", "PLACE/a.img.zst", target(), "--yes", "--json").facts
        check(told["read_back"], kind, told)
        with mounted(disk_, "ext4") as folder:
            before = digests(folder)
        with mounted(target(), "ext4") as folder:
            check(digests(folder) == before, kind, "other files came back")
        _in_place(number, "rw", "prune", "PLACE", "--keep-last", "1", "--yes", "--json")
        left = json.loads(_in_place(number, "ro", "list", "PLACE", "--json").out)
        check([image["name"] for image in left] == ["b.img.zst"], kind, left)
        nothing_left()


def cut() -> None:
    """More than 4 GiB that may not fit into one file: FAT gets parts, exFAT and NTFS do not."""
    large = WORK / "large.img"
    with large.open("wb") as file:
        file.truncate(5 << 30)
    run("sfdisk", "--quiet", large, text="label: gpt\n,,linux\n")
    for number, (kind, _) in PLACES.items():
        steps = json.loads(_in_place(number, "rw", "backup", large, "PLACE", "--dry-run", "--json").out)["steps"]
        check(steps[0]["split"] == ((4 << 30) - 1 if kind == "vfat" else 0), kind, steps)


def bad() -> None:
    """A sector in the middle of a file cannot be read: said, salvaged, named, and mended when it can be read again."""
    run("modprobe", "dm_mod")
    device = by_serial(SMALL)
    sectors = int(Path(f"/sys/block/{os.path.basename(device)}/size").read_text())
    with mounted(device, "ext4") as folder:
        extents = run("filefrag", "-b512", "-v", folder / "file-3").out.splitlines()
    first = next(int(line.split(":")[2].split("..")[0]) for line in extents if line.strip().startswith("0:"))
    start, count = first + 2048, 16
    whole = f"0 {sectors} linear {device} 0"
    broken = "\n".join(
        [
            f"0 {start} linear {device} 0",
            f"{start} {count} error",
            f"{start + count} {sectors - start - count} linear {device} {start + count}",
        ]
    )
    run("dmsetup", "create", "failing", text=broken)
    try:
        failing = "/dev/mapper/failing"
        failed = rescue("backup", failing, STORE, "--name", "failing", ok=(1,))
        check("--salvage" in failed.err, failed.err)
        check(not list(STORE.glob("failing*zst")), list(STORE.iterdir()))
        salvage = ("backup", failing, STORE, "--name", "failing", "--salvage", "--json")
        lacking = rescue(*salvage, ok=(4,)).facts
        check(lacking["missing_bytes"] == count * 512, lacking)
        check(lacking["damaged_files"] == ["0:/file-3"], lacking)
        run("dmsetup", "suspend", "failing")
        run("dmsetup", "load", "failing", text=whole)
        run("dmsetup", "resume", "failing")
        rescue(*salvage)
        listed = json.loads(rescue("list", STORE, "--json").out)
        newest = max(listed, key=lambda image: image["created"])
        check(newest["bad"] == 0, listed)
        rescue("restore", newest["path"], target(), "--yes", "--json")
        with mounted(failing, "ext4") as folder:
            before = digests(folder)
        with mounted(target(), "ext4") as folder:
            check(digests(folder) == before, "other files came back")
    finally:
        run("dmsetup", "remove", "--retry", "failing")


def _head(device: str) -> bytes:
    with Path(device).open("rb") as file:
        return file.read(MIB)


def secret() -> None:
    """An encrypted backup, its proof, a restore; the wrong passphrase opens nothing."""
    right, wrong = WORK / "right", WORK / "wrong"
    right.write_text("correct horse battery staple\n")
    wrong.write_text("correct horse battery stable\n")
    device, image = by_serial(SMALL), STORE / "sealed.rimg"
    made = rescue(
        "backup", device, STORE, "--name", "sealed", "--encrypt", "--passphrase-file", right, "--kind", "full", "--json"
    )
    check(made.facts["checked_volumes"] == 1, made)
    check(image.exists(), list(STORE.iterdir()))
    nothing_left()
    run("blkdiscard", "-z", "-f", "-l", str(MIB), target())
    before = _head(target())
    refused = rescue("restore", image, target(), "--yes", "--passphrase-file", wrong, ok=(5,))
    check("file-" not in refused.err, refused)
    check(_head(target()) == before, "a wrong passphrase wrote to the disk")
    rescue("restore", image, target(), "--yes", "--passphrase-file", right, "--json")
    with mounted(device, "ext4") as folder:
        expected = digests(folder)
    with mounted(target(), "ext4") as folder:
        check(digests(folder) == expected, "other files came back")


def killed() -> None:
    """A job that dies in the middle of its proof, with a device attached, leaves nothing behind."""
    image = STORE / "killed.img.zst"
    device = by_serial(SMALL)
    rescue("backup", device, STORE, "--name", "killed", "--kind", "full", "--no-verify", "--json")
    running = subprocess.Popen(["rescue", "verify", "--mount", str(image), "--progress", "none"], stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not served():
        check(time.monotonic() < deadline and running.poll() is None, "no device was attached")
    jobs = run("pgrep", "-f", "rescue[.]jobs").out.split()
    check(jobs, "no job runs")
    for job in jobs:
        os.kill(int(job), signal.SIGKILL)
    check(running.wait(120) != 0, "a killed proof was called good")
    nothing_left()
    rescue("verify", "--mount", image, "--json")


PARTS: dict[str, Callable[[], None]] = {
    part.__name__: part for part in (disk, chain, mount, verify, files, delta, small, place, cut, bad, secret, killed)
}


def main(names: list[str]) -> int:
    """Run the parts by name."""
    for name in names:
        start = time.monotonic()
        try:
            PARTS[name]()
            nothing_left()
        except WrongError as error:
            print(f"WRONG in {name}: {error}")
            return 1
        print(f"{time.monotonic() - start:7.1f} s  {name}", flush=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
