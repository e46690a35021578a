"""Runs inside the rescue system, as root: arrays, thin pools, snapshots, btrfs and BitLocker on two disks, made by the kernel.

``python3 guest_spread.py make|backup|restore``. What is wrong ends it with a sentence and exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

MIB = 1 << 20
SOURCES = ("SRC-SPREAD-A", "SRC-SPREAD-B")
TARGETS = ("TGT-SPREAD-A", "TGT-SPREAD-B")
SIZES = ((48, 80, 80, 80, 64, 64, 240, 200), (80, 80, 64, 120, 200))  # MiB of the partitions
DISK_SIZES = tuple((sum(sizes) + 3) * MIB for sizes in SIZES)
STORE = Path("/run/work/store")
POINT = Path("/run/work/point")
KEY = Path("/run/work/passphrase")
PASSPHRASE = "correct horse"
SECRET = b"nobody may find this in the image"
BITLOCKER = STORE / "windows.bitlocker"  # made outside: Linux cannot
BITLOCKER_FILES = STORE / "windows.json"
BITLOCKER_KEY = STORE / "windows.password"
_WANTED = STORE / "digests.json"
_QUIET = "activation{monitoring=0}"


class WrongError(Exception):
    """What the product, or the making of the disks, did wrong."""


def run(*command: object, ok: tuple[int, ...] = (0,)) -> str:
    """A program; its standard output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise WrongError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-3000:]}")
    return done.stdout


def disk(serial: str) -> str:
    """The node of a disk."""
    return os.path.realpath(f"/dev/disk/by-id/virtio-{serial}")


def parts(serials: tuple[str, str]) -> dict[str, str]:
    """The nodes of all partitions: A1 to A8, B1 to B5."""
    return {
        f"{letter}{number}": f"{disk(serial)}{number}"
        for letter, serial, sizes in zip("AB", serials, SIZES, strict=True)
        for number in range(1, len(sizes) + 1)
    }


_ARRAYS = {"/dev/md71": ("A2", "A3", "B1"), "/dev/md72": ("A4", "B2"), "/dev/md73": ("A5", "A6", "B3")}


@contextmanager
def _array(node: str, members: list[str]) -> Iterator[str]:
    run("mdadm", "--assemble", node, *members)
    try:
        yield node
    finally:
        run("udevadm", "settle")
        run("mdadm", "--stop", node)


@contextmanager
def _opened(kind: str, node: str, name: str, key: Path) -> Iterator[str]:
    run("cryptsetup", "open", "--type", kind, "--key-file", key, node, name)
    try:
        yield f"/dev/mapper/{name}"
    finally:
        run("udevadm", "settle")
        run("cryptsetup", "close", name)


@contextmanager
def _group(nodes: list[str]) -> Iterator[None]:
    devices = ["--devices", ",".join(nodes), "--config", _QUIET]
    run("vgchange", *devices, "-ay", "-K", "vgs")
    try:
        yield
    finally:
        run("udevadm", "settle")
        run("vgchange", *devices, "-an", "vgs")


@contextmanager
def opened(serials: tuple[str, str]) -> Iterator[dict[str, str]]:
    """All ext4 file systems of two disks by what they are called here; closed at the end."""
    part = parts(serials)
    with ExitStack() as stack:
        for node, members in _ARRAYS.items():
            stack.enter_context(_array(node, [part[member] for member in members]))
        vault = stack.enter_context(_opened("luks", "/dev/md72", "spread-vault", KEY))
        stack.enter_context(_group([part["A7"], part["B4"]]))
        volumes = {name: f"/dev/vgs/{name}" for name in ("wide", "thin", "kept", "plain", "before")}
        yield {"five": "/dev/md71", "vault": vault, "ten": "/dev/md73", **volumes}


def _files(names: str, first: int, count: int, mark: bytes = b"") -> dict[str, str]:
    """New files on what is mounted; their digests."""
    draw = random.Random(f"{names} {first}")
    digests = {}
    for number in range(first, first + count):
        data = mark + draw.randbytes(MIB - len(mark))
        (POINT / f"{names}-{number}").write_bytes(data)
        digests[f"{names}-{number}"] = hashlib.sha256(data).hexdigest()
    return digests


@contextmanager
def _mounted(node: str, *options: str) -> Iterator[None]:
    run("mount", *options, node, POINT)
    try:
        yield
    finally:
        os.sync()
        run("umount", POINT)


def _fill(node: str, name: str, megabytes: int, mark: bytes = b"") -> dict[str, str]:
    run("mkfs.ext4", "-q", "-E", "nodiscard", "-L", name, node)
    with _mounted(node):
        digests = _files(name, 0, megabytes, mark)
        (POINT / "gone").write_bytes(random.Random(name).randbytes(8 * MIB))
        os.sync()
        (POINT / "gone").unlink()
    return digests


def _partition(serial: str, sizes: tuple[int, ...]) -> None:
    start, lines = 1, ["label: gpt"]
    for size in sizes:
        lines.append(f"start={start * 2048}, size={size * 2048}, type=L")
        start += size
    subprocess.run(["sfdisk", "--quiet", disk(serial)], input="\n".join(lines), text=True, check=True, capture_output=True)


def make() -> None:
    """RAID 5, LUKS on RAID 0, RAID 10, a group with stripes, a thin pool and a snapshot, btrfs, over both disks; BitLocker."""
    for serial, sizes in zip(SOURCES, SIZES, strict=True):
        _partition(serial, sizes)
    run("udevadm", "settle")
    part = parts(SOURCES)
    for node in part.values():
        run("wipefs", "--all", node)
    with open(part["A1"], "r+b") as target:
        target.write(BITLOCKER.read_bytes())
    for (node, members), level, layout in zip(_ARRAYS.items(), ("5", "0", "10"), ("ra", "", "n2"), strict=True):
        create = ["mdadm", "--create", node, "--run", f"--level={level}", f"--raid-devices={len(members)}", "--homehost=any"]
        create += ["--chunk=64", *([f"--layout={layout}"] if layout else [])]
        run(*create, *(part[member] for member in members))
        run("mdadm", "--wait", node, ok=(0, 1))
        run("udevadm", "settle")
        if level == "0":
            luks = ["--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", KEY]
            run("cryptsetup", "luksFormat", "--batch-mode", *luks, node)
        run("mdadm", "--stop", node)
    on = ["--devices", f"{part['A7']},{part['B4']}", "--config", _QUIET]
    run("pvcreate", *on, part["A7"], part["B4"])
    run("vgcreate", *on, "vgs", part["A7"], part["B4"])
    run("lvcreate", *on, "-y", "-Wn", "-i", "2", "-I", "64k", "-L", "64M", "-n", "wide", "vgs")
    run("lvcreate", *on, "-y", "--type", "thin-pool", "-L", "100M", "--chunksize", "64k", "-n", "pool", "vgs", part["A7"])
    run("lvcreate", *on, "-y", "-Wn", "--thin", "-V", "300M", "-n", "thin", "vgs/pool")
    run("lvcreate", *on, "-y", "-Wn", "-L", "40M", "-n", "plain", "vgs", part["B4"])
    digests = {name: _fill(f"/dev/vgs/{name}", name, size) for name, size in (("wide", 16), ("thin", 24), ("plain", 8))}
    run("lvcreate", *on, "-y", "--snapshot", "-n", "kept", "vgs/thin")
    run("lvcreate", *on, "-y", "--snapshot", "-L", "24M", "-n", "before", "vgs/plain", part["B4"])
    digests["kept"], digests["before"] = dict(digests["thin"]), dict(digests["plain"])
    for name, count in (("thin", 8), ("plain", 4)):
        with _mounted(f"/dev/vgs/{name}"):
            for number in range(3):
                (POINT / f"{name}-{number}").unlink()
                del digests[name][f"{name}-{number}"]
            digests[name] |= _files(name, 100, count)
    run("vgchange", *on, "-an", "vgs")
    run("mkfs.btrfs", "-q", "-f", "-d", "raid0", "-m", "raid1", part["A8"], part["B5"])
    with _mounted(part["A8"], "-o", f"device={part['B5']}"):
        digests["btrfs"] = _files("btrfs", 0, 20)
    with opened(SOURCES) as nodes:
        for name, size, mark in (("five", 20, b""), ("vault", 16, SECRET), ("ten", 12, b"")):
            digests[name] = _fill(nodes[name], name, size, mark)
    _WANTED.write_text(json.dumps(digests))


def _wholes(volumes: list[dict[str, Any]]) -> Iterator[str]:
    for volume in volumes:
        if volume["whole_because"]:
            yield f"{volume.get('name', volume.get('partition'))}: {volume['whole_because']}"
        yield from _wholes(volume["inside"])


def backup() -> None:
    """Each disk by what is used of it; the other one is found by itself."""
    unlock = (["--unlock", f"1={BITLOCKER_KEY}", "--unlock", f"4={KEY}"], ["--unlock", f"2={KEY}"])
    for serial, options, most in zip(SOURCES, unlock, (330, 190), strict=True):
        before = _digest(disk(serial))
        name = serial.lower()
        out = run("rescue", "backup", disk(serial), STORE, "--name", name, *options, "--json", "--progress", "none")
        facts: dict[str, Any] = json.loads(out)["facts"]
        print(serial, facts, flush=True)
        told = json.loads(run("rescue", "info", STORE / f"{name}.img.zst", "--json"))["content"]["volumes"]
        if wholes := list(_wholes(told)):
            raise WrongError(f"Kept whole of {serial}: {wholes}")
        if facts["used_bytes"] > most * MIB:
            raise WrongError(f"The image of {serial} is larger than what is used: {facts}")
        search = f"zstd -dcq {STORE}/{name}.img.zst | grep -c -a -F -e '{SECRET.decode()}' -e '{PASSPHRASE}'"
        if run("sh", "-c", search, ok=(0, 1)).strip() != "0":
            raise WrongError("The image holds what was encrypted in clear.")
        if _digest(disk(serial)) != before:
            raise WrongError(f"{serial} was written to.")


def restore() -> None:
    """Onto disks full of something else; the sources are gone. Everything opens as before."""
    for serial in SOURCES:
        for node in (*(f"{disk(serial)}{n}" for n in range(len(SIZES[SOURCES.index(serial)]), 0, -1)), disk(serial)):
            run("wipefs", "--all", "--force", node)
    run("btrfs", "device", "scan", "--forget")
    for source, target in zip(SOURCES, TARGETS, strict=True):
        run("rescue", "restore", STORE / f"{source.lower()}.img.zst", disk(target), "--yes", "--progress", "none")
    run("udevadm", "settle")
    wanted = json.loads(_WANTED.read_text())
    part = parts(TARGETS)
    with _opened("bitlk", part["A1"], "spread-windows", BITLOCKER_KEY) as node:
        _require("file", node, json.loads(BITLOCKER_FILES.read_text()), "-t", "ntfs3", "-o", "ro")
    run("btrfs", "device", "scan", part["A8"], part["B5"])
    run("btrfs", "check", "--readonly", part["A8"])
    _require("btrfs", part["A8"], wanted["btrfs"], "-o", f"ro,device={part['B5']}")
    with opened(TARGETS) as nodes:
        for name, node in nodes.items():
            run("e2fsck", "-f", "-n", node)
            # A snapshot has the names of what it is one of.
            prefix = {"kept": "thin", "before": "plain"}.get(name, name)
            _require(prefix, node, wanted[name], "-o", "ro")


def _require(prefix: str, node: str, wanted: dict[str, str], *options: str) -> None:
    with _mounted(node, *options):
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in POINT.glob(f"{prefix}-*")}
    if found != wanted:
        lost = sorted(set(wanted) - set(found))
        other = sorted(name for name in found if wanted.get(name) != found[name])
        raise WrongError(f"{node} holds other files than before: without {lost}, other {other}")


def _digest(device: str) -> str:
    # What was written through partitions is not in the whole disk's cache.
    run("blockdev", "--flushbufs", device)
    with open(device, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


PARTS = {"make": make, "backup": backup, "restore": restore}


def main() -> int:
    """Run the parts that are named."""
    POINT.mkdir(parents=True, exist_ok=True)
    KEY.write_text(PASSPHRASE)
    for name in sys.argv[1:]:
        try:
            PARTS[name]()
        except (WrongError, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", flush=True)
            return 1
        print(f"{name}: right", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
