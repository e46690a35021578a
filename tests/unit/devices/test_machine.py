"""A laptop with everything plugged in: which disks it has, who uses them, which may be written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.devices.protection import protections, runs_from
from rescue.devices.udev import disks_of
from rescue.devices.usage import Mounted, mounts_of
from rescue.model.disk import Disk, Protection
from rescue.records import replace
from tests.unit.devices.machine import Machine


@pytest.fixture
def laptop(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "laptop")


def named(machine: Machine, name: str) -> Disk:
    return next(disk for disk in disks_of(machine.kernel, machine.udev) if disk.path == f"/dev/{name}")


def reasons(machine: Machine, disk: Disk, *images: str) -> list[str]:
    return [p.reason for p in protections(disk, images, machine.kernel)]


def test_only_whole_disks_with_a_medium_are_listed_in_reading_order(laptop: Machine) -> None:
    paths = [disk.path for disk in disks_of(laptop.kernel, laptop.udev)]
    assert paths == ["/dev/mmcblk0", "/dev/nvme0n1", "/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sde", "/dev/sdf"]


def test_a_disk_as_udev_and_the_kernel_describe_it(laptop: Machine) -> None:
    assert named(laptop, "sda") == Disk(
        path="/dev/sda",
        size=7814037168 * 512,
        logical_sector_size=512,
        physical_sector_size=4096,
        model="WDC WD40EZRZ-00GXCB0",
        serial="WD-WCC7K1234567",
        wwn="0x50014ee2b1234567",
        transport="sata",
        rotational=True,
        diskseq=2,
    )


@pytest.mark.parametrize(
    ("name", "transport", "model", "serial"),
    [
        ("nvme0n1", "nvme", "SAMSUNG MZVLB512HBJQ-000L7", "S4ENNX0N123456"),
        ("sdb", "usb", "SanDisk Ultra", "4C530001234567890123"),
        ("sdc", "usb", "Samsung PSSD T7", "S5TMNS0R123456"),
        ("mmcblk0", "mmc", "SD16G", "0x7d1a2b3c"),
    ],
)
@pytest.mark.parametrize("with_udev", [True, False])
def test_models_serials_and_transports(
    laptop: Machine, name: str, transport: str, model: str, serial: str, with_udev: bool
) -> None:
    disks = disks_of(laptop.kernel, laptop.udev if with_udev else {})
    disk = next(d for d in disks if d.path == f"/dev/{name}")
    assert (disk.transport, disk.model) == (transport, model)
    # Without udev the serial number of a USB disk is not known; nothing else takes its place.
    assert disk.serial == (serial if with_udev or transport != "usb" else "")


def test_missing_attributes_leave_fields_empty(laptop: Machine) -> None:
    disk = named(laptop, "sdf")
    assert (disk.serial, disk.wwn, disk.diskseq, disk.removable) == ("", "", 0, False)
    assert (disk.logical_sector_size, disk.physical_sector_size) == (4096, 4096)


def test_a_machine_without_sys_has_no_disks(tmp_path: Path, laptop: Machine) -> None:
    assert disks_of(replace(laptop.kernel, root=tmp_path / "nothing"), {}) == []


def test_the_live_medium_is_protected(laptop: Machine) -> None:
    stick = named(laptop, "sdb")
    assert runs_from(stick, laptop.kernel)
    assert reasons(laptop, stick) == ["the rescue system runs from it"]


def test_the_live_medium_is_free_when_the_system_was_copied_to_memory(laptop: Machine) -> None:
    path = laptop.folder / "proc/self/mountinfo"
    lines = path.read_text().replace(
        "8:17 / /run/live/medium ro,noatime shared:3 - iso9660 /dev/sdb1", "0:30 / /run/live/medium rw - tmpfs tmpfs"
    )
    path.write_text(lines)
    stick = named(laptop, "sdb")
    assert not runs_from(stick, laptop.kernel)
    assert reasons(laptop, stick) == []


def test_the_disk_of_an_installed_system_is_protected(laptop: Machine) -> None:
    path = laptop.folder / "proc/self/mountinfo"
    path.write_text("22 1 0:50 /@ / rw,relatime shared:31 - btrfs /dev/mapper/my--vg-root rw,subvol=/@\n")
    disk = named(laptop, "nvme0n1")
    assert runs_from(disk, laptop.kernel)
    assert reasons(laptop, disk)[0] == "the running system is on it"


def test_a_mounted_disk_says_where_and_how_to_unmount_it(laptop: Machine) -> None:
    assert protections(named(laptop, "sdc"), (), laptop.kernel) == (
        Protection("mounted at /mnt/my backups", "Unmount it (umount '/mnt/my backups') and try again."),
    )


def test_everything_that_stands_on_a_disk_is_named(laptop: Machine) -> None:
    assert reasons(laptop, named(laptop, "nvme0n1")) == [
        "mounted at /mnt/root",
        "in use as swap (/dev/dm-2)",
        "unlocked as the encrypted volume luks-data",
        "in use by the LVM volume my--vg-root",
        "in use by the LVM volume my--vg-swap",
    ]
    hints = [p.hint for p in protections(named(laptop, "nvme0n1"), (), laptop.kernel)]
    assert "cryptsetup close luks-data" in hints[2]
    assert "vgchange --activate n my-vg" in hints[3]


def test_what_is_mounted_through_holders_is_in_its_partition(laptop: Machine) -> None:
    start = 1050624 * 512
    assert mounts_of(named(laptop, "nvme0n1"), laptop.kernel) == (Mounted(start, start + 999162511 * 512, "/mnt/root"),)


def test_what_stands_on_two_partitions_is_mounted_from_both(laptop: Machine) -> None:
    """An array of two partitions, a volume group over two: either may change. As a reason against writing it is told once."""
    laptop.write("sys/class/block/nvme0n1p1/holders/dm-0", "")
    found = mounts_of(named(laptop, "nvme0n1"), laptop.kernel)
    assert [(mount.start // 512, mount.point) for mount in found] == [(2048, "/mnt/root"), (1050624, "/mnt/root")]
    told = reasons(laptop, named(laptop, "nvme0n1"))
    assert len(told) == len(set(told))


def test_members_of_arrays_and_devices_behind_loops(laptop: Machine) -> None:
    assert reasons(laptop, named(laptop, "sde")) == ["part of the RAID array /dev/md127"]
    assert reasons(laptop, named(laptop, "sdf")) == ["mounted at /mnt/part", "attached to /dev/loop2"]
    assert mounts_of(named(laptop, "sdf"), laptop.kernel) == (Mounted(1 << 20, 2 << 20, "/mnt/part"),)


def test_a_free_disk_is_free_and_a_read_only_one_is_not(laptop: Machine) -> None:
    assert reasons(laptop, named(laptop, "sda")) == []
    assert reasons(laptop, named(laptop, "mmcblk0")) == ["read-only"]


def test_a_member_of_a_mounted_btrfs_is_protected_although_its_name_is_in_no_mount(laptop: Machine) -> None:
    for member in ("sda1", "dm-1"):
        laptop.write(f"sys/fs/btrfs/0b9a4f1e/devices/{member}", "")
    assert reasons(laptop, named(laptop, "sda")) == ["mounted at /mnt/root"]
    assert mounts_of(named(laptop, "sda"), laptop.kernel) == (Mounted(1 << 20, (1 << 20) + 7814033408 * 512, "/mnt/root"),)


def test_a_file_attached_to_a_loop_device_is_protected(laptop: Machine) -> None:
    disk = Disk(path="/nowhere/disk of mine.img", size=8 << 20, is_file=True)
    assert reasons(laptop, disk) == ["attached to /dev/loop3"]
    assert reasons(laptop, replace(disk, path="/nowhere/other.img")) == []


def test_the_image_itself_is_never_a_target(laptop: Machine, tmp_path: Path) -> None:
    image = tmp_path / "image.img.zst"
    image.write_bytes(b"x")
    disk = Disk(path=str(image), size=1, is_file=True)
    assert reasons(laptop, disk, str(image)) == ["it is the image itself"]
    link = tmp_path / "link"
    link.symlink_to(image)
    assert reasons(laptop, disk, str(link)) == ["it is the image itself"]


def test_no_part_of_the_image_is_a_target(laptop: Machine, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"image.img.zst.00{number}").write_bytes(b"x")
    disk = Disk(path=str(tmp_path / "image.img.zst.002"), size=1, is_file=True)
    for name in ("image.img.zst", "image.img.zst.001"):
        assert reasons(laptop, disk, str(tmp_path / name)) == ["it is the image itself"]
    assert reasons(laptop, disk, str(tmp_path / "other.img.zst")) == []
    other = tmp_path / "other.img"
    other.write_bytes(b"x")
    assert reasons(laptop, disk, str(other)) == []
