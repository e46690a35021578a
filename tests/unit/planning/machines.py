"""Recorded disks and images that the tests of planning and of the command line share."""

from __future__ import annotations

from rescue.model.disk import Disk, Fingerprint
from rescue.model.layout import Layout, Partition
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.model.volume import Identity, Volume
from rescue.records import replace
from rescue.units import GIB, MIB

LAPTOP = Disk("/dev/nvme0n1", 512 * GIB, 512, 4096, "Samsung SSD 980", "S649NX0R", transport="nvme")
STICK = Disk("/dev/sda", 32 * GIB, 512, 512, "SanDisk Ultra", "4C530001", transport="usb", removable=True)
BLANK = Disk("/dev/sdb", 512 * GIB, 512, 4096, "WD Blue", "WXA1", transport="sata", rotational=True)

LAYOUT = Layout(
    size=LAPTOP.size,
    sector_size=512,
    label="gpt",
    id="0F3B1E5C-0000-4000-8000-000000000001",
    usable_start=1 * MIB,
    usable_end=LAPTOP.size - 1 * MIB,
    partitions=(
        Partition(1, 1 * MIB, 513 * MIB, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", name="EFI system partition"),
        Partition(2, 513 * MIB, 529 * MIB, "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"),
        Partition(3, 1 * GIB, 400 * GIB, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", name="Basic data partition"),
    ),
)
VOLUMES = (
    Volume(1, 1 * MIB, 513 * MIB, Identity("vfat", "filesystem", "SYSTEM"), 34 * MIB),
    Volume(2, 513 * MIB, 529 * MIB, Identity(), 16 * MIB, "Its content is not known."),
    Volume(3, 1 * GIB, 400 * GIB, Identity("ntfs", "filesystem", "Windows"), 210 * GIB, system="Windows 11"),
)


def fingerprint(disk: Disk) -> Fingerprint:
    """Any fingerprint of a disk."""
    return Fingerprint(disk.path, disk.size, disk.serial, disk.wwn, 7, "ab" * 32)


LAPTOP_SURVEY = DiskSurvey(LAPTOP, LAYOUT, VOLUMES, fingerprint(LAPTOP))
BLANK_SURVEY = DiskSurvey(BLANK, Layout(BLANK.size, 512, "none"), (), fingerprint(BLANK))

IMAGE = ImageSummary(
    path="/mnt/usb/laptop.img.zst",
    name="laptop.img.zst",
    stored_size=90 * GIB,
    uuid="6f6f",
    created="2026-11-22T10:57:03Z",
    comment="before the update",
    host="laptop",
    disk=LAPTOP,
    layout=LAYOUT,
    volumes=VOLUMES,
    used_bytes=210 * GIB + 50 * MIB,
    fingerprint="cd" * 32,
    health="proved 2026-11-22",
)


def sized(survey: DiskSurvey, size: int) -> DiskSurvey:
    """The same disk with another size."""
    return replace(survey, disk=replace(survey.disk, size=size), layout=replace(survey.layout, size=size))
