"""A disk of 20 GiB as somebody has used it for years: a Debian that starts, a large NTFS beside it, dirty free space.

The Debian is that of ``debian_disk``, its root on ext4, xfs, or btrfs with subvolumes. Needs root, loop devices and ntfs-3g.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.fit.volumes import opened
from tests.vm.debian_disk import BIOS_BOOT, ESP, blank_disk, debian_disk, install_grub, make_swap, write_at
from tests.vm.debian_disk import ROOT as DEBIAN_ROOT
from tests.vm.debian_system import ROOT_UUID
from tests.vm.filler import fill
from tests.vm.tree_record import record

SIZE = 20 * GIB
_SECTOR = 512
_ROOT = (66 * MIB, 12 * GIB)
_WINDOWS = (12 * GIB, SIZE - 512 * MIB)
_SWAP = (SIZE - 512 * MIB, SIZE - 2 * MIB)
_PARTITIONS = (
    (BIOS_BOOT, "21686148-6449-6E6F-744E-656564454649", "BIOS boot"),
    (ESP, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI system"),
    (_ROOT, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "Debian"),
    (_WINDOWS, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "Basic data partition"),
    (_SWAP, "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "Swap"),
)
ROOT_NUMBER, WINDOWS_NUMBER = 3, 4
# The shares of the filler that go onto the root and onto NTFS; the system itself is about half a GiB.
_SHARES = (0.45, 0.55)
_SUBVOLUMES = ("@", "@home", "@snapshots")
_BTRFS_FSTAB = f"""\
UUID={ROOT_UUID} / btrfs subvol=@,noatime 0 0
UUID={ROOT_UUID} /home btrfs subvol=@home,noatime 0 0
"""
_CHECKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "vfat": (("fsck.fat", "-n"),),
    "ext4": (("e2fsck", "-f", "-n"),),
    "xfs": (("xfs_repair", "-n"),),
    "btrfs": (("btrfs", "check"),),
    "ntfs": (("ntfsfix", "--no-action"), ("ntfsresize", "--info", "--force", "--no-progress-bar")),
}
# All of a btrfs, whatever subvolume it calls its default.
_TOP = {"btrfs": ",subvolid=5"}
# btrfs alone would give back what is deleted at once, and free space would be clean.
_DIRTY = {"btrfs": ",nodiscard"}
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class FilledDisk:
    """The disk, the file system of its root, and what every path on root and NTFS is, by partition number."""

    path: Path
    root: str
    records: dict[int, dict[str, str]]


def filled_disk(path: Path, root: str, filler: int) -> FilledDisk:
    """Make the disk file ``path``. ``root``: "ext4", "xfs" or "btrfs"; ``filler``: bytes of files besides the system."""
    blank_disk(path, SIZE)
    lines = [
        f'start={start // _SECTOR}, size={(end - start) // _SECTOR}, type={kind}, name="{name}", uuid={uuid4()}'
        for (start, end), kind, name in _PARTITIONS
    ]
    run(["sfdisk", "--quiet", str(path)], stdin="\n".join(["label: gpt", *lines]).encode())
    _copy_esp(path)
    make_swap(path, _SWAP, path.with_suffix(".swap"))
    path.with_suffix(".swap").unlink()
    _make_root(path, root, int(filler * _SHARES[0]))
    _make_windows(path, int(filler * _SHARES[1]))
    return FilledDisk(path, root, records(path, root))


def records(path: Path, root: str) -> dict[int, dict[str, str]]:
    """What every path on the root and on the NTFS of such a disk, or of a fitted copy of it, is."""
    places = partitions(path)
    found = {}
    for number, kind in ((ROOT_NUMBER, root), (WINDOWS_NUMBER, "ntfs")):
        with opened(path, *places[number], kind, f"ro{_TOP.get(kind, '')}") as folder:
            found[number] = record(folder)
    return found


def esp_record(path: Path) -> dict[str, str]:
    """What every file on the ESP holds; read by mtools, for the kernel may have no driver."""
    with tempfile.TemporaryDirectory(prefix="rescue-esp-") as folder:
        run(["mcopy", "-s", "-p", "-m", "-Q", "-n", "-i", f"{path}@@{partitions(path)[2][0]}", "::/", folder])
        return record(Path(folder))


def partitions(path: Path) -> dict[int, tuple[int, int]]:
    """Start and end in bytes of the partitions of a disk file, as sfdisk reads them."""
    table = json.loads(run(["sfdisk", "--json", str(path)]).text)["partitiontable"]
    assert table.get("sectorsize", _SECTOR) == _SECTOR
    return {
        int(entry["node"].removeprefix(str(path)).lstrip("p")): (
            entry["start"] * _SECTOR,
            (entry["start"] + entry["size"]) * _SECTOR,
        )
        for entry in table["partitions"]
    }


def require_sound(path: Path, root: str) -> None:
    """Each file system's own check finds nothing. Raises ProgramError."""
    places = partitions(path)
    for number, kind in ((2, "vfat"), (ROOT_NUMBER, root), (WINDOWS_NUMBER, "ntfs")):
        start, end = places[number]
        with loop_device(str(path), offset=start, size=end - start) as node:
            for command in _CHECKS[kind]:
                run([*command, node], timeout=_HOUR)


def room(path: Path, root: str) -> dict[int, float]:
    """What share of its partition each file system takes for files, free or not."""
    places = partitions(path)
    shares = {}
    for number, kind in ((ROOT_NUMBER, root), (WINDOWS_NUMBER, "ntfs")):
        start, end = places[number]
        with opened(path, start, end, kind, "ro") as folder:
            about = os.statvfs(folder)
            shares[number] = about.f_blocks * about.f_frsize / (end - start)
    return shares


def _copy_esp(path: Path) -> None:
    with debian_disk().open("rb") as source:
        for offset in range(*ESP, MIB):
            source.seek(offset)
            if (data := source.read(MIB)).count(0) != len(data):
                write_at(path, offset, data)


def _make_root(path: Path, kind: str, filler: int) -> None:
    start, end = _ROOT
    make = {
        "ext4": ("mkfs.ext4", "-q", "-F", "-L", "debian", "-U", ROOT_UUID, "-E", "nodiscard"),
        "xfs": ("mkfs.xfs", "-q", "-f", "-L", "debian", "-m", f"uuid={ROOT_UUID}"),
        "btrfs": ("mkfs.btrfs", "-q", "-f", "-L", "debian", "-U", ROOT_UUID),
    }[kind]
    with loop_device(str(path), offset=start, size=end - start, writable=True) as node:
        run([*make, node], timeout=_HOUR)
    with opened(path, start, end, kind, f"rw,noatime{_TOP.get(kind, '')}") as top:
        if kind == "btrfs":
            for name in _SUBVOLUMES:
                run(["btrfs", "subvolume", "create", str(top / name)])
        system = top / "@" if kind == "btrfs" else top
        with opened(debian_disk(), *DEBIAN_ROOT, "ext4", "ro,noload") as old:
            run(["cp", "--archive", f"{old}/.", str(system)], timeout=_HOUR)
        fill(top / "@home/pictures" if kind == "btrfs" else top / "home/pictures", 1, filler)
        _adapt(path, system, kind)
        if kind == "btrfs":
            run(["btrfs", "subvolume", "snapshot", "-r", str(top / "@home"), str(top / "@snapshots/home")])


def _adapt(disk: Path, system: Path, kind: str) -> None:
    """Let the Debian start from its new root, and know what it has to find there."""
    prefix = "/@" if kind == "btrfs" else ""
    if kind != "ext4":
        fstab = (system / "etc/fstab").read_text().splitlines()
        own = _BTRFS_FSTAB if kind == "btrfs" else f"UUID={ROOT_UUID} / {kind} defaults 0 0\n"
        others = [line for line in fstab if line.split()[1] != "/"]
        (system / "etc/fstab").write_text(own + "\n".join(others) + "\n")
        config = system / "boot/grub/grub.cfg"
        text = config.read_text()
        if prefix:
            text = text.replace(" /boot/", f" {prefix}/boot/").replace(" ro console=", " ro rootflags=subvol=@ console=")
        config.write_text(text)
        with (system / "etc/initramfs-tools/modules").open("a") as modules:
            modules.write(f"{kind}\n")
        with _in_use(system):
            run(["chroot", str(system), "update-initramfs", "-u"], timeout=_HOUR)
    if prefix:
        stub = f"search.fs_uuid {ROOT_UUID} root\nset prefix=($root)'{prefix}/boot/grub'\nconfigfile $prefix/grub.cfg\n"
        for folder in ("debian", "BOOT"):
            run(["mcopy", "-o", "-i", f"{disk}@@{ESP[0]}", "-", f"::EFI/{folder}/grub.cfg"], stdin=stub.encode())
    if kind != "ext4":
        with _esp_copied(disk, system / "boot/efi"):
            expected = run(["chroot", str(system), "/var/lib/guest-check/list"], timeout=_HOUR)
        (system / "var/lib/guest-check/expected.txt").write_bytes(expected.stdout)
    install_grub(disk, system, f"{prefix}/boot/grub", () if kind == "ext4" else (kind,))


@contextmanager
def _esp_copied(disk: Path, mount_point: Path) -> Iterator[None]:
    """With the files of the ESP where the system will have them mounted: this kernel may have no driver."""
    run(["mcopy", "-s", "-Q", "-n", "-i", f"{disk}@@{ESP[0]}", "::/", str(mount_point)])
    try:
        yield
    finally:
        for path in mount_point.iterdir():
            shutil.rmtree(path)


@contextmanager
def _in_use(system: Path) -> Iterator[None]:
    """With what programs in it expect of a running system."""
    run(["mount", "-t", "proc", "proc", str(system / "proc")])
    try:
        run(["mount", "--bind", "/dev", str(system / "dev")])
        try:
            yield
        finally:
            run(["umount", str(system / "dev")])
    finally:
        run(["umount", str(system / "proc")])


def _make_windows(path: Path, filler: int) -> None:
    start, end = _WINDOWS
    with loop_device(str(path), offset=start, size=end - start, writable=True) as node:
        geometry = ["-p", str(start // _SECTOR), "-H", "255", "-S", "63"]
        run(["mkntfs", "-q", "-F", "-Q", "-L", "Windows", *geometry, node], timeout=_HOUR)
    with opened(path, start, end, "ntfs", "rw,noatime,big_writes") as top:
        fill(top / "Users", 2, filler)
        for number in range(20):
            file = top / f"download {number}.exe"
            file.write_bytes(b"MZ" * 3000)
            # An alternate data stream, as browsers leave on everything that they load.
            os.setxattr(file, "user.Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
