"""Runs inside the rescue system, as root: a Debian on LVM on LUKS2, made by the kernel, fitted onto other disks.

``python3 -m tests.vm.guest_sealed make|fit|look``. What is wrong ends it with a sentence and exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.vm.guest_stacks import WrongError, disk, group, luks, run

MIB = 1 << 20
SOURCE, SMALLER, LARGER = "SLD-SOURCE-3E10", "SLD-SMALL-3E11", "SLD-LARGE-3E12"
SOURCE_SIZE, SMALLER_SIZE, LARGER_SIZE = 6144 * MIB, 2560 * MIB, 10240 * MIB
PASSPHRASE = "correct horse battery staple"
STORE = Path("/run/work/store")  # what the test brings: this program and the folder of a Debian
SYSTEM = STORE / "system"
ROOT = Path("/run/work/root")
KEY = Path("/run/work/passphrase")
_RECORD = Path("/run/work/record.json")
_TABLE = """\
label: gpt
size=64MiB, type=U, name="EFI system"
size=320MiB, type=L, name="boot"
type=CA7D7CCB-63ED-4C53-861C-1742536059CC, name="sealed"
"""
_GRUB = """\
set timeout=0
search --no-floppy --fs-uuid --set=root {boot}
linux /{kernel} root=/dev/mapper/vg0-root ro console=tty0 console=ttyS0,115200n8 panic=-1
initrd /{initrd}
boot
"""
_STUB = "search.fs_uuid {boot} root\nset prefix=($root)'/grub'\nconfigfile $prefix/grub.cfg\n"
_FSTAB = """\
/dev/mapper/vg0-root / ext4 errors=remount-ro 0 1
UUID={boot} /boot ext4 defaults 0 2
UUID={esp} /boot/efi vfat umask=0077 0 1
/dev/mapper/vg0-swap none swap sw 0 0
"""


def _uuid(node: str) -> str:
    return run("blkid", "-p", "-o", "value", "-s", "UUID", node).strip()


@contextmanager
def _opened(device: str) -> Iterator[dict[str, str]]:
    """The nodes of the file systems of a disk."""
    with ExitStack() as stack:
        inner = stack.enter_context(luks(f"{device}3", "sealed"))
        stack.enter_context(group("vg0", inner))
        yield {"root": "/dev/vg0/root", "boot": f"{device}2", "esp": f"{device}1"}


@contextmanager
def _mounted(nodes: dict[str, str], *options: str) -> Iterator[Path]:
    with ExitStack() as stack:
        for name, folder in (("root", ROOT), ("boot", ROOT / "boot"), ("esp", ROOT / "boot/efi")):
            if options != ("ro",):
                folder.mkdir(parents=True, exist_ok=True)
            # FAT has no owners and modes, and says so otherwise.
            own = ("quiet",) if name == "esp" else ()
            run("mount", "-o", ",".join([*(options or ("rw",)), *own]), nodes[name], folder)
            stack.callback(run, "umount", folder)
        yield ROOT


def _record(folder: Path) -> dict[str, str]:
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = os.path.join(parent, name)
            about = os.lstat(path)
            said = f"{about.st_mode:o} {about.st_uid}:{about.st_gid} {about.st_mtime_ns}"
            if stat.S_ISLNK(about.st_mode):
                said += f" {os.readlink(path)}"
            elif stat.S_ISREG(about.st_mode):
                with open(path, "rb") as file:
                    said += f" {hashlib.file_digest(file, 'blake2b').hexdigest()[:32]}"
            found[os.path.relpath(path, folder)] = said
    return found


def make() -> None:
    """The source: ESP, /boot, LUKS2 with a group that holds root and swap; a Debian in it that starts."""
    device = disk(SOURCE)
    subprocess.run(["sfdisk", "--quiet", device], input=_TABLE, text=True, check=True, capture_output=True)
    run("udevadm", "settle")
    run("mkfs.vfat", "-F", "32", "-n", "ESP", f"{device}1")
    run("mkfs.ext4", "-q", "-L", "boot", f"{device}2")
    costs = ["--pbkdf", "argon2id", "--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4"]
    run("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--key-file", KEY, *costs, f"{device}3")
    with luks(f"{device}3", "sealed") as inner:
        run("pvcreate", "--devices", inner, inner)
        run("vgcreate", "--devices", inner, "vg0", inner)
        run("lvcreate", "--devices", inner, "-y", "-Wn", "-L", "256M", "-n", "swap", "vg0")
        run("lvcreate", "--devices", inner, "-y", "-Wn", "-l", "100%FREE", "-n", "root", "vg0")
        run("mkswap", "/dev/vg0/swap")
        run("mkfs.ext4", "-q", "-L", "root", "/dev/vg0/root")
        run("udevadm", "settle")
        run("vgchange", "--devices", inner, "-an", "vg0")
    with _opened(device) as nodes:
        uuids = {name: _uuid(node) for name, node in nodes.items()}
        with _mounted(nodes) as root:
            run("cp", "--archive", f"{SYSTEM}/.", root)
            _adapt(root, uuids, _uuid(f"{device}3"))
            _RECORD.write_text(json.dumps(_record(root)))


def _adapt(root: Path, uuids: dict[str, str], container: str) -> None:
    (root / "etc/fstab").write_text(_FSTAB.format(**uuids))
    (root / "etc/crypttab").write_text(f"sealed UUID={container} none luks,initramfs\n")
    with (root / "etc/initramfs-tools/modules").open("a") as modules:
        modules.write("dm_mod\ndm_crypt\nxts\naes\n")
    with ExitStack() as stack:
        for kind, name in (("proc", "proc"), ("sysfs", "sys")):
            run("mount", "-t", kind, kind, root / name)
            stack.callback(run, "umount", root / name)
        for name in ("dev", "run"):
            run("mount", "--bind", f"/{name}", root / name)
            stack.callback(run, "umount", root / name)
        run("chroot", root, "update-initramfs", "-u")
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    (initrd,) = (root / "boot").glob("initrd.img-*")
    names = {"boot": uuids["boot"], "kernel": kernel.name, "initrd": initrd.name}
    (root / "boot/grub/grub.cfg").write_text(_GRUB.format(**names))
    for folder in ("debian", "BOOT"):
        (root / "boot/efi/EFI" / folder / "grub.cfg").write_text(_STUB.format(**names))
    expected = run("chroot", root, "/var/lib/guest-check/list")
    (root / "var/lib/guest-check/expected.txt").write_text(expected)


def fit() -> None:
    """Cloned onto a smaller disk; backed up, and restored from the image onto a larger one."""
    unlock = ("--unlock", f"3={KEY}")
    before = _written(SOURCE)
    run("rescue", "clone", disk(SOURCE), disk(SMALLER), "--fit", "auto", *unlock, "--yes", "--progress", "none")
    run("rescue", "backup", disk(SOURCE), STORE, "--name", "sealed", *unlock, "--no-verify", "--progress", "none")
    image = STORE / "sealed.img.zst"
    run("rescue", "restore", image, disk(LARGER), "--fit", "auto", *unlock, "--yes", "--progress", "none")
    if _written(SOURCE) != before:
        raise WrongError("The source was written to.")


def _written(serial: str) -> str:
    """How many sectors of a disk were written since the start, as the kernel counts them (Documentation/block/stat.rst)."""
    os.sync()
    return Path(f"/sys/block/{os.path.basename(disk(serial))}/stat").read_text().split()[6]


def look() -> None:
    """Both open with the old passphrase; checks are clean, every file is what it was; the larger one is filled."""
    run("udevadm", "settle")
    wanted = json.loads(_RECORD.read_text())
    for serial, least in ((SMALLER, 0), (LARGER, LARGER_SIZE - 1000 * MIB)):
        device = disk(serial)
        with _opened(device) as nodes:
            for name in ("root", "boot"):
                run("e2fsck", "-f", "-n", nodes[name])
            run("fsck.vfat", "-n", nodes["esp"])
            with _mounted(nodes, "ro") as root:
                about = os.statvfs(root)
                found = _record(root)
            if about.f_blocks * about.f_frsize < least * 0.95:
                raise WrongError(f"The root on {serial} has {about.f_blocks * about.f_frsize} bytes only.")
            different = [path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path)]
            if different:
                raise WrongError(f"Other files on {serial} than before: {sorted(different)[:10]}")


PARTS = {"make": make, "fit": fit, "look": look}


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
