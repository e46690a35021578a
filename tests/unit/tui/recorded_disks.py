"""Disks, places and images of a machine as one might meet it, as values."""

from __future__ import annotations

from typing import Any

from rescue.model.disk import Disk, Fingerprint, Protection
from rescue.model.extents import Extent
from rescue.model.layout import Layout, Partition
from rescue.model.survey import ChainLink, DiskSurvey, ImageSummary, Place
from rescue.model.volume import Identity, Volume
from rescue.records import replace
from rescue.units import GIB, MIB

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
MICROSOFT_DATA = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
MICROSOFT_RESERVED = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"
WINDOWS_RECOVERY = "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"

NVME = Disk("/dev/nvme0n1", 500107862016, model="Samsung SSD 980 PRO 500GB", serial="S5GXNX0R207R0P", transport="nvme")
SATA = Disk("/dev/sda", 256060514304, model="Crucial CT256MX100SSD1", serial="14360D2A8F1C", transport="sata")
STICK = Disk("/dev/sdb", 15728640000, model="SanDisk Ultra", serial="4C530001150917116353", transport="usb", removable=True)
BLANK = Disk(
    "/dev/sdc", 1000204886016, 512, 4096, model="WDC WD10EZEX-08W", serial="WD-WCC6Y5KP7X1L", transport="sata", rotational=True
)
LOCKED = Disk("/dev/sdd", 512110190592, model="Intenso SSD", serial="AA0000B52C7731", transport="usb", removable=True)
BROKEN = Disk("/dev/sde", 320072933376, model="Hitachi HTS54323", serial="E2034243C9TK7A", transport="sata", rotational=True)
BACKUPS = Disk(
    "/dev/sdf", 2000398934016, model="Elements 25A2", serial="57583131443835", transport="usb", rotational=True, removable=True
)


def _print(disk: Disk) -> Fingerprint:
    return Fingerprint(disk.path, disk.size, disk.serial, disk.wwn, disk.diskseq, "00" * 32)


def _volume(partition: Partition, kind: str, used: int, label: str = "", system: str = "", usage: str = "filesystem") -> Volume:
    identity = Identity(kind, usage, label)
    return Volume(partition.number, partition.start, partition.end, identity, used, system=system)


def _gpt(size: int, partitions: tuple[Partition, ...]) -> Layout:
    """As every system makes it: 16 KiB of entries at either end."""
    table = (Extent(0, 34 * 512), Extent(size - 33 * 512, size))
    return Layout(size, 512, "gpt", "7C0A-8F", 34 * 512, size - 33 * 512, partitions, table)


def _nvme() -> DiskSurvey:
    esp = Partition(1, 1 * MIB, 101 * MIB, ESP, name="EFI system partition")
    reserved = Partition(2, 101 * MIB, 117 * MIB, MICROSOFT_RESERVED)
    windows = Partition(3, 117 * MIB, 465 * GIB, MICROSOFT_DATA, name="Basic data partition")
    recovery = Partition(4, 465 * GIB, 465 * GIB + 768 * MIB, WINDOWS_RECOVERY)
    parts = (esp, reserved, windows, recovery)
    volumes = (
        _volume(esp, "vfat", 31 * MIB, "SYSTEM"),
        _volume(windows, "ntfs", 187 * GIB, "Windows", system="Windows 11"),
        _volume(recovery, "ntfs", 590 * MIB, "Recovery"),
    )
    return DiskSurvey(NVME, _gpt(NVME.size, parts), volumes, _print(NVME))


def _sata() -> DiskSurvey:
    root = Partition(1, 1 * MIB, 60 * GIB, "0x83", attributes=1)
    extended = Partition(2, 60 * GIB, 200 * GIB, "0x05", kind="extended")
    swap = Partition(5, 60 * GIB + 1 * MIB, 64 * GIB, "0x82", kind="logical")
    home = Partition(6, 64 * GIB + 1 * MIB, 200 * GIB, "0x83", kind="logical")
    volumes = (
        _volume(root, "ext4", 21 * GIB, "", system="Debian GNU/Linux 13"),
        _volume(swap, "swap", 4096, usage="other"),
        _volume(home, "xfs", 77 * GIB, "home"),
    )
    layout = Layout(SATA.size, 512, "dos", "8f3c21aa", 512, SATA.size, (root, extended, swap, home), (Extent(0, 512),))
    return DiskSurvey(SATA, layout, volumes, _print(SATA))


def _stick() -> DiskSurvey:
    iso = Partition(1, 0, 440 * MIB, "0x17", attributes=1)
    volumes = (_volume(iso, "iso9660", 440 * MIB, "RESCUE"),)
    protection = Protection("this system runs from it", "Use another disk.")
    layout = Layout(STICK.size, 512, "dos", partitions=(iso,))
    return DiskSurvey(STICK, layout, volumes, _print(STICK), (protection,), is_rescue_medium=True)


def _blank() -> DiskSurvey:
    return DiskSurvey(BLANK, Layout(BLANK.size, 512, "none"), (), _print(BLANK))


def _locked() -> DiskSurvey:
    boot = Partition(1, 1 * MIB, 1 * GIB, LINUX)
    luks = Partition(2, 1 * GIB, 476 * GIB, LINUX, name="cryptroot")
    volumes = (_volume(boot, "ext4", 210 * MIB, "boot"), _volume(luks, "crypto_LUKS", 475 * GIB, usage="crypto"))
    return DiskSurvey(LOCKED, _gpt(LOCKED.size, (boot, luks)), volumes, _print(LOCKED))


def _broken() -> DiskSurvey:
    said = "Reading its first sector failed: Input/output error."
    return DiskSurvey(BROKEN, Layout(BROKEN.size, 512, "none"), (), _print(BROKEN), unreadable=said)


def _backups() -> DiskSurvey:
    part = Partition(1, 1 * MIB, 2000397795328, MICROSOFT_DATA, name="Elements")
    return DiskSurvey(
        BACKUPS,
        Layout(BACKUPS.size, 512, "gpt", partitions=(part,)),
        (_volume(part, "ntfs", 1203 * GIB, "Backups"),),
        _print(BACKUPS),
        (Protection("mounted at /media/backups", "Unmount it."),),
    )


def all_disks() -> list[DiskSurvey]:
    """Every disk, sorted by path."""
    return [_nvme(), _sata(), _stick(), _blank(), _locked(), _broken(), _backups()]


def all_places() -> list[Place]:
    """Where images may be."""
    return [
        Place("/dev/sdf1", "Backups", "ntfs", 2000397795328 - 1 * MIB, BACKUPS, point="backups"),
        Place("/dev/sda6", "home", "xfs", 136 * GIB, SATA),
        Place("/dev/sdd1", "", "ext4", 1 * GIB, LOCKED),
    ]


PASSPHRASE = "correct horse battery staple"
RECOVERY = "50MJ-MASC-5MQ2-YC1H-68SK-8D9P-6WW2-ZSVC"


def _image(folder: str, name: str, created: str, host: str, disk: Disk, used: int, stored: int, **more: Any) -> ImageSummary:
    return ImageSummary(
        f"{folder}/{name}", name, stored, more.pop("uuid", name), created=created, host=host, disk=disk, used_bytes=used,
        fingerprint=name, **more,
    )  # fmt: skip


def upon(image: ImageSummary, *needed: ImageSummary) -> ImageSummary:
    """The same image, needing others; the first of them is what it was made upon."""
    links = tuple(ChainLink(n.uuid, n.fingerprint, n.name, n.own_bytes or n.used_bytes) for n in needed)
    return replace(image, chain=links, parent=needed[0].uuid)


def all_images(folder: str, unlocked: bool = False) -> list[ImageSummary]:
    """What the backup place holds: a chain, two other computers, an encrypted, a damaged one, a Clonezilla folder."""

    def nvme(name: str, created: str, used: int, stored: int, **more: Any) -> ImageSummary:
        inside = _nvme()
        return _image(folder, name, created, "laptop", NVME, used, stored, layout=inside.layout, volumes=inside.volumes, **more)

    full = nvme("laptop-2026-11-20.img.zst", "2026-11-20T19:42:10Z", 188 * GIB, 103 * GIB, comment="before the update",
                health="proved 2026-11-20")  # fmt: skip
    first = upon(nvme("laptop-2026-11-21.rimg", "2026-11-21T19:40:00Z", 189 * GIB, 4300 * MIB, kind="incremental",
                      own_bytes=6200 * MIB, health="verified 2026-11-21"), full)  # fmt: skip
    second = upon(nvme("laptop-2026-11-22.rimg", "2026-11-22T08:05:00Z", 189 * GIB, 812 * MIB, kind="incremental",
                       own_bytes=1300 * MIB, health="proved 2026-11-22", comment="new printer driver"), first, full)  # fmt: skip
    old = nvme("laptop-2026-09-01.img.zst", "2026-09-01T20:00:00Z", 180 * GIB, 97 * GIB, health="FAILED")
    lost = nvme("laptop-2026-10-02.rimg", "2026-10-02T20:00:00Z", 181 * GIB, 5 * GIB, kind="incremental", own_bytes=7 * GIB)
    gone = ChainLink("gone", "gone", "laptop-2026-10-01.img.zst", 170 * GIB)
    lost = replace(
        lost, chain=(gone,), parent="gone", problem_exit_code=4,
        problem="It needs laptop-2026-10-01.img.zst, not found here: 170.0 GiB of its data are missing.",
    )  # fmt: skip
    secret = _image(folder, "private-2026-11-19.rimg", "2026-11-19T22:10:00Z", "private", LOCKED, 210 * GIB, 120 * GIB,
                    encrypted=True, health="proved 2026-11-19")  # fmt: skip
    closed = ImageSummary(
        secret.path, secret.name, secret.stored_size, secret.uuid, created=secret.created, encrypted=True, locked=True,
        problem=f"{secret.name} is encrypted.", problem_exit_code=5,
    )  # fmt: skip
    return [
        second,
        first,
        full,
        secret if unlocked else closed,
        _image(folder, "server-2026-11-02.img.zst", "2026-11-02T03:00:00Z", "server", SATA, 98 * GIB, 51 * GIB),
        ImageSummary(
            f"{folder}/laptop-2026-10-14.img.zst",
            "laptop-2026-10-14.img.zst",
            61 * GIB,
            problem="Its end is missing: the file was cut off, or writing it was interrupted.",
            problem_exit_code=4,
        ),
        lost,
        old,
        ImageSummary(
            f"{folder}/2024-02-11-img",
            "2024-02-11-img",
            44 * GIB,
            problem="A Clonezilla folder: this version cannot read those.",
            problem_exit_code=1,
        ),
        _image(
            folder, "nas-2025-12-24.img.zst", "2025-12-24T22:15:00Z", "nas", BACKUPS, 1204 * GIB, 1100 * GIB,
            comment="Christmas", bad_bytes=192 * 1024, health="verified 2025-12-25",
        ),
    ]  # fmt: skip
