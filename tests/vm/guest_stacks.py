"""Runs inside the rescue system, as root: disks with LUKS, LVM and RAID, made by the kernel, imaged and restored.

``python3 guest_stacks.py make|backup|restore|samples``. What is wrong ends it with a sentence and exit code 1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

MIB = 1 << 20
DISK_SIZE = 1203 * MIB  # hardly more than the partitions: what is outside of them is kept, too
SOURCE = "SRC-STACKS-6B10"
TARGET = "TGT-STACKS-6B11"
SIZES = (400, 200, 200, 240, 160)  # MiB of the partitions
STORE = Path("/run/work/store")
POINT = Path("/run/work/point")
KEY = Path("/run/work/passphrase")
PASSPHRASE = "correct horse"
SECRET = b"nobody may find this in the image"  # in the encrypted file systems
_WANTED = STORE / "digests.json"


class WrongError(Exception):
    """What the product, or the making of the disks, did wrong."""


def run(*command: object, ok: tuple[int, ...] = (0,)) -> str:
    """A program; its standard output."""
    words = [str(word) for word in command]
    start = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise WrongError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    if words[0] == "rescue":
        print(f"{time.monotonic() - start:7.1f} s  {' '.join(words)}", flush=True)
    return done.stdout


def disk(serial: str) -> str:
    """The node of a disk."""
    return os.path.realpath(f"/dev/disk/by-id/virtio-{serial}")


@contextmanager
def luks(node: str, name: str) -> Iterator[str]:
    run("cryptsetup", "open", "--key-file", KEY, node, name)
    try:
        yield f"/dev/mapper/{name}"
    finally:
        run("cryptsetup", "close", name)


@contextmanager
def _raid(first: str, second: str) -> Iterator[str]:
    run("mdadm", "--assemble", "--run", "/dev/md77", first, second)
    try:
        yield "/dev/md77"
    finally:
        run("udevadm", "settle")
        run("mdadm", "--stop", "/dev/md77")


@contextmanager
def group(name: str, *nodes: str) -> Iterator[None]:
    # The source and what was restored from it are in one machine: LVM is told which it is to look at.
    devices = ["--devices", ",".join(nodes)]
    run("vgchange", *devices, "-ay", name)
    try:
        yield
    finally:
        run("udevadm", "settle")
        run("vgchange", *devices, "-an", name)


@contextmanager
def opened(device: str) -> Iterator[dict[str, str]]:
    """All file systems of a disk, by what they are called here; closed at the end."""
    part = {number: f"{device}{number}" for number in range(1, len(SIZES) + 1)}
    with ExitStack() as stack:
        inner = stack.enter_context(luks(part[1], "stack-a"))
        stack.enter_context(group("vga", inner))
        array = stack.enter_context(_raid(part[2], part[3]))
        stack.enter_context(group("vgb", array))
        stack.enter_context(group("vgc", part[4], part[5]))
        vault = stack.enter_context(luks("/dev/vgc/vault", "stack-c"))
        yield {"home": "/dev/vga/home", "data": "/dev/vgb/data", "vault": vault, "twice": "/dev/vgc/twice"}


def _format_luks(node: str, *arguments: str) -> None:
    run("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--key-file", KEY, *arguments, node)


def _fill(node: str, label: str, megabytes: int, mark: bytes) -> dict[str, str]:
    run("mkfs.ext4", "-q", "-E", "nodiscard", "-L", label, node)
    run("mount", node, POINT)
    draw = random.Random(label)
    digests = {}
    try:
        for number in range(megabytes):
            data = mark + draw.randbytes(MIB - len(mark))
            (POINT / f"{label}-{number}").write_bytes(data)
            digests[f"{label}-{number}"] = hashlib.sha256(data).hexdigest()
        # Deleted again: what is free is not zeros, and is not to be kept.
        (POINT / "gone").write_bytes(draw.randbytes(20 * MIB))
        os.sync()
        (POINT / "gone").unlink()
    finally:
        run("umount", POINT)
    return digests


def make() -> None:
    """LUKS2 with LVM, LVM on RAID 1, LUKS2 on LVM and a mirrored logical volume."""
    device = disk(SOURCE)
    POINT.mkdir(parents=True, exist_ok=True)
    start = 1
    lines = ["label: gpt"]
    for size in SIZES:
        lines.append(f"start={start * 2048}, size={size * 2048}, type=L")
        start += size
    subprocess.run(["sfdisk", "--quiet", device], input="\n".join(lines), text=True, check=True, capture_output=True)
    run("udevadm", "settle")
    part = {number: f"{device}{number}" for number in range(1, len(SIZES) + 1)}
    for node in part.values():
        run("wipefs", "--all", node)

    _format_luks(
        part[1], "--pbkdf", "argon2id", "--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4", "--sector-size", "4096"
    )
    with luks(part[1], "stack-a") as inner:
        run("pvcreate", "--devices", inner, inner)
        run("vgcreate", "--devices", inner, "vga", inner)
        run("lvcreate", "--devices", inner, "-y", "-Wn", "-L", "300M", "-n", "home", "vga")
        run("lvcreate", "--devices", inner, "-y", "-Wn", "-L", "40M", "-n", "swap", "vga")
        run("mkswap", "/dev/vga/swap")
        run("vgchange", "--devices", inner, "-an", "vga")

    create = ["mdadm", "--create", "/dev/md77", "--run", "--level=1", "--raid-devices=2", "--metadata=1.2", "--homehost=any"]
    run(*create, part[2], part[3])
    run("mdadm", "--wait", "/dev/md77", ok=(0, 1))
    run("pvcreate", "--devices", "/dev/md77", "/dev/md77")
    run("vgcreate", "--devices", "/dev/md77", "vgb", "/dev/md77")
    run("lvcreate", "--devices", "/dev/md77", "-y", "-Wn", "-L", "160M", "-n", "data", "vgb")
    run("vgchange", "--devices", "/dev/md77", "-an", "vgb")
    run("mdadm", "--stop", "/dev/md77")

    both = ["--devices", f"{part[4]},{part[5]}"]
    run("pvcreate", *both, part[4], part[5])
    run("vgcreate", *both, "vgc", part[4], part[5])
    run("lvcreate", *both, "-y", "-Wn", "-L", "120M", "-n", "vault", "vgc", part[4])
    run("lvcreate", *both, "-y", "-Wn", "--type", "raid1", "-m1", "-L", "64M", "-n", "twice", "vgc")
    while run("lvs", *both, "--noheadings", "-o", "sync_percent", "vgc/twice").strip() != "100.00":
        time.sleep(1)
    _format_luks("/dev/vgc/vault", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    run("vgchange", *both, "-an", "vgc")

    marks = {"home": (90, SECRET), "data": (40, b""), "vault": (30, SECRET), "twice": (15, b"")}
    with opened(device) as nodes:
        digests = {name: _fill(nodes[name], name, size, mark) for name, (size, mark) in marks.items()}
    _WANTED.write_text(json.dumps(digests))


def _require(device: str) -> None:
    """Every file system on the disk is clean, and every file is what it was."""
    wanted = json.loads(_WANTED.read_text())
    POINT.mkdir(parents=True, exist_ok=True)
    with opened(device) as nodes:
        for name, node in nodes.items():
            run("e2fsck", "-f", "-n", node)
            run("mount", "-o", "ro", node, POINT)
            try:
                found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in POINT.glob(f"{name}-*")}
            finally:
                run("umount", POINT)
            if found != wanted[name]:
                raise WrongError(f"{name} on {device} holds other files than before.")


def backup() -> None:
    """The image is about as large as what is used; nothing that was encrypted is in it in clear."""
    before = _digests(disk(SOURCE))
    said = run("rescue", "disks", disk(SOURCE))
    if "LVM vgb → data (ext4, " not in said:
        raise WrongError(said)
    unlock = ["--unlock", f"1={KEY}", "--unlock", f"4={KEY}"]
    out = run("rescue", "backup", disk(SOURCE), STORE, "--name", "stacks", *unlock, "--json", "--progress", "none")
    facts: dict[str, Any] = json.loads(out)["facts"]
    print(facts, flush=True)
    # 190 MiB of files, of which those of two are there twice (RAID 1); the heads of two LUKS volumes, journals, inodes.
    if not 240 * MIB < facts["used_bytes"] < 400 * MIB or facts["stored_size"] > facts["used_bytes"] + 8 * MIB:
        raise WrongError(f"The image is not as large as what is used: {facts}")
    if facts["checked_volumes"] != 4 or facts["mounted_volumes"] != 4:
        raise WrongError(f"Not all file systems were opened: {facts}")
    search = f"zstd -dcq {STORE}/stacks.img.zst | grep -c -a -F -e '{SECRET.decode()}' -e '{PASSPHRASE}'"
    if run("sh", "-c", search, ok=(0, 1)).strip() != "0":
        raise WrongError("The image holds what was encrypted in clear.")
    after = _digests(disk(SOURCE))
    if changed := [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]:
        raise WrongError(f"The source was written to, in these MiB: {changed}.")


def restore() -> None:
    """Onto a disk full of something else; everything opens as before."""
    run("rescue", "restore", STORE / "stacks.img.zst", disk(TARGET), "--yes", "--progress", "none")
    run("udevadm", "settle")
    _require(disk(TARGET))


def _digests(device: str) -> list[bytes]:
    """Of each MiB as it is on the medium: what was written through a partition is not in the cache of the whole disk."""
    run("blockdev", "--flushbufs", device)
    with open(device, "rb") as file:
        return [hashlib.blake2b(data).digest() for data in iter(lambda: file.read(MIB), b"")]


def samples() -> None:
    """The superblocks that the kernel writes, for tests that have no md: name, bytes of the member, offset, zlib in base64."""
    kinds = {"0.90": ("0.90", 1), "1.0": ("1.0", 1), "1.1": ("1.1", 1), "1.2": ("1.2", 1), "raid5": ("1.2", 5)}
    size = 24 * MIB
    for name, (metadata, level) in kinds.items():
        nodes = []
        for number in range(3 if level == 5 else 2):
            file = Path(f"/run/work/member-{number}")
            file.write_bytes(b"")
            os.truncate(file, size)
            nodes.append(run("losetup", "--find", "--show", file).strip())
        create = ["mdadm", "--create", "/dev/md78", "--run", f"--level={level}", f"--raid-devices={len(nodes)}"]
        run(*create, f"--metadata={metadata}", "--bitmap=none", "--assume-clean", "--homehost=any", *nodes)
        run("udevadm", "settle")
        run("mdadm", "--stop", "/dev/md78")
        data = Path(nodes[0]).read_bytes()
        for at in range(0, size, 4096):
            if data[at : at + 4] == b"\xfc\x4e\x2b\xa9":
                packed = base64.b64encode(zlib.compress(data[at : at + 4096], 9)).decode()
                print(f"SAMPLE {name} {size} {at} {packed}", flush=True)
        for node in nodes:
            run("losetup", "--detach", node)


PARTS = {"make": make, "backup": backup, "restore": restore, "samples": samples}


def main() -> int:
    """Run the parts that are named."""
    KEY.parent.mkdir(parents=True, exist_ok=True)
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
