"""Runs inside the rescue system, as root: LVM on LUKS, made by the kernel, cloned and restored onto other sizes.

``python3 guest_fitted_stacks.py make|smaller|larger|decrypted``. What is wrong ends it with a sentence and exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
STORE = Path("/run/work/store")
POINT = Path("/run/work/point")
KEY = Path("/run/work/passphrase")
PASSPHRASE = "correct horse"
SOURCE = "SRC-FITTED-7C20"
SMALLER = "SML-FITTED-7C21"
LARGER = "LRG-FITTED-7C22"
SOURCE_SIZE, SMALLER_SIZE, LARGER_SIZE = 1000 * MIB, 620 * MIB, 2000 * MIB
TEXT = b"the same sentence again and again, which compresses. "
_WANTED = STORE / "digests.json"
_VOLUMES = ("root", "swap", "home")


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
def _unlocked(node: str) -> Iterator[str]:
    run("cryptsetup", "open", "--key-file", KEY, node, "fitted")
    try:
        yield "/dev/mapper/fitted"
    finally:
        run("cryptsetup", "close", "fitted")


@contextmanager
def _activated(inner: str) -> Iterator[None]:
    # Source and targets are in one machine: LVM is told which it is to look at.
    run("vgchange", "--devices", inner, "-ay", "vgf")
    try:
        yield
    finally:
        run("udevadm", "settle")
        run("vgchange", "--devices", inner, "-an", "vgf")


@contextmanager
def opened(device: str) -> Iterator[None]:
    """The volumes of the group, by the kernel."""
    with _unlocked(f"{device}2") as inner:
        run("vgck", "--devices", inner, "vgf")
        with _activated(inner):
            yield


def _fill(node: str, label: str, megabytes: int, *, text: bool) -> dict[str, str]:
    # What mkfs leaves as it is, is zeros below and noise when it is deciphered.
    run("mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", "-L", label, node)
    run("mount", node, POINT)
    draw = random.Random(label)
    digests = {}
    try:
        for number in range(megabytes):
            data = (f"{number}: ".encode() + TEXT) * (MIB // 60) if text else TEXT + draw.randbytes(MIB - len(TEXT))
            (POINT / f"{label}-{number}").write_bytes(data)
            digests[f"{label}-{number}"] = hashlib.sha256(data).hexdigest()
        os.sync()
    finally:
        run("umount", POINT)
    return digests


def make() -> None:
    """A plain ext4, and LUKS2 with ext4, swap space and another ext4 in LVM; root is in two pieces around swap."""
    POINT.mkdir(parents=True, exist_ok=True)
    KEY.write_text(PASSPHRASE)
    device = disk(SOURCE)
    script = "label: gpt\nsize=60MiB, name=boot\ntype=L\n"
    subprocess.run(["sfdisk", "--quiet", device], input=script, text=True, check=True)
    run("udevadm", "settle")
    run("mkfs.ext4", "-q", f"{device}1")
    options = ("--type", "luks2", "--key-file", KEY, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    run("cryptsetup", "luksFormat", "--batch-mode", *options, f"{device}2")
    with _unlocked(f"{device}2") as inner:
        run("pvcreate", "--devices", inner, inner)
        run("vgcreate", "--devices", inner, "vgf", inner)
        for command in (
            ("lvcreate", "-n", "root", "-L", "300M", "vgf"),
            ("lvcreate", "-n", "swap", "-L", "40M", "vgf"),
            ("lvextend", "-L", "+100M", "vgf/root"),
            ("lvcreate", "-n", "home", "-L", "400M", "vgf"),
        ):
            run(command[0], "--devices", inner, *command[1:])
        run("mkswap", "-L", "swap", "/dev/vgf/swap")
        digests = {"root": _fill("/dev/vgf/root", "root", 60, text=True), "home": _fill("/dev/vgf/home", "home", 40, text=False)}
        run("udevadm", "settle")
        run("vgchange", "--devices", inner, "-an", "vgf")
    _WANTED.write_text(json.dumps(digests))


def _require(device: str) -> dict[str, int]:
    """It opens by the old passphrase, LVM finds it in order, every file system is whole and fills its volume; their bytes."""
    run("udevadm", "settle")
    wanted = json.loads(_WANTED.read_text())
    sizes = {}
    with opened(device):
        for name in _VOLUMES:
            sizes[name] = int(run("blockdev", "--getsize64", f"/dev/vgf/{name}"))
        if "swap" not in run("blkid", "-p", "-o", "export", "/dev/vgf/swap"):
            raise WrongError("The swap space is gone.")
        for name, files in wanted.items():
            node = f"/dev/vgf/{name}"
            run("e2fsck", "-f", "-n", node)
            told = run("dumpe2fs", "-h", node)
            length = int(re.findall(r"^Block count: +(\d+)", told, re.M)[0]) * int(
                re.findall(r"^Block size: +(\d+)", told, re.M)[0]
            )
            if not sizes[name] - MIB < length <= sizes[name]:
                raise WrongError(f"{name} on {device} has {length} bytes in a volume of {sizes[name]}.")
            run("mount", "-o", "ro", node, POINT)
            try:
                found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in POINT.glob(f"{name}-*")}
            finally:
                run("umount", POINT)
            if found != files:
                raise WrongError(f"{name} on {device} holds other files than before.")
    print(sizes, flush=True)
    return sizes


def smaller() -> None:
    """Cloned with the passphrase."""
    quiet = ("--yes", "--progress", "none", "--json")
    run("rescue", "clone", disk(SOURCE), disk(SMALLER), "--unlock", f"2={KEY}", *quiet)
    sizes = _require(disk(SMALLER))
    if not sizes["root"] < 280 * MIB or sizes["swap"] != 40 * MIB:
        raise WrongError(f"The volumes did not get smaller: {sizes}")


def larger() -> None:
    """From an image that was made without the passphrase; what grew can be written to."""
    run("rescue", "backup", disk(SOURCE), STORE, "--name", "whole", "--no-verify", "--progress", "none")
    options = ("--fit", "auto", "--unlock", f"2={KEY}", "--yes", "--progress", "none")
    run("rescue", "restore", STORE / "whole.img.zst", disk(LARGER), *options)
    (STORE / "whole.img.zst").unlink()
    sizes = _require(disk(LARGER))
    if not sizes["root"] > 800 * MIB or sizes["swap"] != 40 * MIB:
        raise WrongError(f"The volumes did not get larger: {sizes}")
    with opened(disk(LARGER)):
        run("mount", "/dev/vgf/home", POINT)
        try:
            (POINT / "more").write_bytes(os.urandom(500 * MIB))
            os.sync()
        finally:
            run("umount", POINT)
        run("e2fsck", "-f", "-n", "/dev/vgf/home")


def decrypted() -> None:
    """As small as what is in it compresses, and holds nothing in clear; the restored disk opens with the old passphrase."""
    secret = Path("/run/work/image-passphrase")
    secret.write_text("of the image")
    opening = ("--passphrase-file", secret)
    out = run(
        "rescue", "backup", disk(SOURCE), STORE, "--name", "clear", "--encrypt", *opening, "--unlock", f"2={KEY}",
        "--decrypt", "2", "--json", "--progress", "none",
    )  # fmt: skip
    facts = json.loads(out)["facts"]
    print(facts, flush=True)
    # 60 MiB of text, 40 MiB that cannot be compressed, and the key slots.
    if not facts["used_bytes"] > 110 * MIB or not facts["stored_size"] < 80 * MIB or facts["checked_volumes"] != 3:
        raise WrongError(f"The image is not as small as its content: {facts}")
    if run("grep", "-c", "-a", "-F", "-e", TEXT.decode()[:30], STORE / "clear.rimg", ok=(0, 1)).strip() != "0":
        raise WrongError("The image holds what was encrypted in clear.")
    run("rescue", "restore", STORE / "clear.rimg", disk(LARGER), *opening, "--yes", "--progress", "none")
    _require(disk(LARGER))


def main() -> int:
    try:
        {"make": make, "smaller": smaller, "larger": larger, "decrypted": decrypted}[sys.argv[1]]()
    except WrongError as error:
        print(error, flush=True)
        return 1
    print("OK", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
