"""Which local file systems are offered for images."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.devices.kernel import Kernel
from rescue.model.volume import Identity, Volume
from rescue.records import replace
from rescue.services.places import filesystem_of, find_places, partition_name
from rescue.units import GIB
from tests.unit.cli.recorded import STICK_SURVEY
from tests.unit.planning.machines import BLANK_SURVEY, LAPTOP_SURVEY


@pytest.mark.parametrize(
    ("disk", "number", "name"),
    [("sda", 1, "sda1"), ("nvme0n1", 2, "nvme0n1p2"), ("mmcblk0", 1, "mmcblk0p1"), ("sdb", 0, "sdb"), ("loop0", 0, "loop0")],
)
def test_names_of_partitions(disk: str, number: int, name: str) -> None:
    assert partition_name(disk, number) == name


def kernel(root: Path) -> Kernel:
    """A kernel on which the laptop's first partition is mounted."""
    folder = root / "sys/devices/nvme0n1p1"
    folder.mkdir(parents=True)
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/259:1").symlink_to(folder)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("36 25 259:1 / /mnt/efi rw - vfat /dev/nvme0n1p1 rw\n")
    return Kernel(root)


def test_only_what_can_be_mounted_is_offered(tmp_path: Path) -> None:
    whole = replace(BLANK_SURVEY, volumes=(Volume(0, 0, 512 * GIB, Identity("xfs", "filesystem", "store"), GIB),))
    locked = replace(BLANK_SURVEY, volumes=(Volume(1, 0, 512 * GIB, Identity("crypto_LUKS", "crypto"), GIB),))
    places = find_places([LAPTOP_SURVEY, whole, locked], kernel(tmp_path))
    assert [(p.device, p.filesystem, p.label, p.folder) for p in places] == [
        ("/dev/nvme0n1p1", "vfat", "SYSTEM", "/mnt/efi"),
        ("/dev/nvme0n1p3", "ntfs", "Windows", ""),
        ("/dev/sdb", "xfs", "store", ""),
    ]


def test_the_rescue_medium_is_not_offered(tmp_path: Path) -> None:
    stick = replace(STICK_SURVEY, volumes=(Volume(1, 0, GIB, Identity("ext4", "filesystem"), GIB),))
    broken = replace(BLANK_SURVEY, volumes=stick.volumes, unreadable="It does not answer.")
    assert find_places([stick, broken], kernel(tmp_path)) == []


def test_a_file_system_that_no_mount_names(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path, kernel(tmp_path)) == ""
