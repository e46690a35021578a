"""A disk file with a real Debian that starts on BIOS, UEFI and Secure Boot; made once and kept in ``.cache/vm``.

No loop device and no mount is needed: each file system is made by its own tool at its offset in the file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import tempfile
from pathlib import Path

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.vm import debian_system, debian_tree

RELEASE = "trixie"
SIZE = 3 * GIB
_SECTOR = 512
_CACHE = Path(__file__).parents[2] / ".cache" / "vm"

# Half-open byte ranges [start, end) of the partitions.
BIOS_BOOT = (1 * MIB, 2 * MIB)
ESP = (2 * MIB, 66 * MIB)
ROOT = (66 * MIB, SIZE - 130 * MIB)
SWAP = (SIZE - 130 * MIB, SIZE - 2 * MIB)

_PARTITIONS = (
    (BIOS_BOOT, "21686148-6449-6E6F-744E-656564454649", "BIOS boot"),
    (ESP, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI system"),
    (ROOT, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "Debian"),
    (SWAP, "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "Swap"),
)
_GPT = "label: gpt\nlabel-id: 8C1B5A3E-20C7-4A52-9E0B-6D5C7F1E2A90\nunit: sectors\n" + "".join(
    f'start={start // _SECTOR}, size={(end - start) // _SECTOR}, type={kind}, name="{name}"\n'
    for (start, end), kind, name in _PARTITIONS
)
_GRUB_MODULES = ("biosdisk", "part_gpt", "ext2", "normal", "linux", "search", "search_fs_uuid", "configfile", "boot", "test")


def debian_disk(release: str = RELEASE) -> Path:
    """The cached disk file, made if it is not there yet (a minute; needs root and a mirror). Boot only copies of it."""
    ingredients = b"".join(Path(str(module.__file__)).read_bytes() for module in (debian_system, debian_tree))
    key = hashlib.sha256(ingredients + Path(__file__).read_bytes() + release.encode()).hexdigest()[:16]
    disk = _CACHE / f"debian-{release}-{key}.raw"
    if not disk.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        for old in _CACHE.glob(f"debian-{release}-*.raw"):
            old.unlink()
        with tempfile.TemporaryDirectory(prefix="debian-", dir=_CACHE) as folder:
            _make(Path(folder), release).rename(disk)
    return disk


def copy_sparse(source: Path, target: Path) -> Path:
    """Copy a disk file without filling its holes."""
    run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], timeout=1800)
    return target


def blank_disk(path: Path, size: int) -> Path:
    """A sparse file of zeros."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def formatted_disk(path: Path, size: int, label: str = "BACKUPS", content: Path | None = None) -> Path:
    """A disk with one ext4 partition, as somebody brings it for the images: empty, or with what the folder ``content`` holds."""
    blank_disk(path, size)
    run(["sfdisk", "--quiet", str(path)], stdin=b"label: gpt\nstart=2048, type=L\n")
    length = size - 2 * MIB
    filled = ["-d", str(content)] if content else []
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, *filled, "-E", f"offset={MIB}", str(path), f"{length // 1024}k"]
    run(command, timeout=120)
    return path


def _make(folder: Path, release: str) -> Path:
    system = folder / "system"
    debian_system.make_system(system, release)
    disk = blank_disk(folder / "disk.raw", SIZE)
    run(["sfdisk", "--quiet", str(disk)], stdin=_GPT.encode())
    _make_esp(disk, system / "boot/efi")
    _make_root(disk, system)
    make_swap(disk, SWAP, folder / "swap.raw")
    install_grub(disk, system)
    return disk


def _make_esp(disk: Path, content: Path) -> None:
    sectors = (ESP[1] - ESP[0]) // _SECTOR
    place = f"{disk}@@{ESP[0]}"
    serial = debian_system.ESP_SERIAL.replace("-", "")
    hidden = ESP[0] // _SECTOR
    run(["mformat", "-i", place, "-F", "-T", str(sectors), "-N", serial, "-v", "ESP", "-c", "1", "-H", str(hidden), "::"])
    run(["mcopy", "-s", "-p", "-m", "-i", place, str(content / "EFI"), "::"])


def _make_root(disk: Path, system: Path) -> None:
    mount_point = system / "boot/efi"
    shutil.rmtree(mount_point)
    mount_point.mkdir()
    command = [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "debian", "-U", debian_system.ROOT_UUID, "-d", str(system)),
        *("-E", f"offset={ROOT[0]}", str(disk), f"{(ROOT[1] - ROOT[0]) // 1024}k"),
    ]
    run(command, timeout=1800)


def make_swap(disk: Path, place: tuple[int, int], scratch: Path) -> None:
    """Swap space at ``place``, a range of bytes. ``scratch``: a file to be made for it."""
    blank_disk(scratch, place[1] - place[0])
    run(["mkswap", "--uuid", debian_system.SWAP_UUID, "--label", "swap", str(scratch)])
    write_at(disk, place[0], scratch.read_bytes()[:4096])


def install_grub(disk: Path, system: Path, prefix: str = "/boot/grub", modules: tuple[str, ...] = ()) -> None:
    """Place GRUB as grub-bios-setup does: boot.img in the boot sector, core.img in the BIOS boot partition.

    ``system``: the folder of a Debian. ``prefix``: where GRUB finds its files in the third partition, which ``modules`` read.
    """
    command = ["grub-mkimage", "-O", "i386-pc", "-o", "/tmp/core.img", "-p", f"(,gpt3){prefix}", *_GRUB_MODULES, *modules]
    # The guest's own program: core.img and the modules in /boot/grub must be of one version.
    run(["chroot", str(system), *command])
    made = system / "tmp/core.img"
    core = bytearray(made.read_bytes())
    made.unlink()
    first = BIOS_BOOT[0] // _SECTOR
    # The last block list entry of core.img's first sector: where its other sectors are (struct grub_pc_bios_boot_blocklist).
    struct.pack_into("<QHH", core, 500, first + 1, (len(core) + _SECTOR - 1) // _SECTOR - 1, 0x820)
    write_at(disk, BIOS_BOOT[0], bytes(core))
    boot = bytearray((system / "boot/grub/i386-pc/boot.img").read_bytes()[:440])
    struct.pack_into("<Q", boot, 0x5C, first)
    write_at(disk, 0, bytes(boot))


def write_at(disk: Path, offset: int, data: bytes) -> None:
    """Write bytes into a disk file."""
    fd = os.open(disk, os.O_WRONLY)
    try:
        os.pwrite(fd, data, offset)
    finally:
        os.close(fd)
