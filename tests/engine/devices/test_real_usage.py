"""Real loop devices and mounts: what is in use is protected and says by what, what is free is free."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rescue.devices.open import resolve
from rescue.devices.protection import protections, runs_from
from rescue.devices.udev import list_disks, watch
from rescue.devices.usage import Mounted, mounts_of
from rescue.errors import UsageError
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.devices.loops import attached, mounted, sparse

pytestmark = pytest.mark.engine


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A file with an MBR and one ext4 partition at 1 MiB, 14 MiB long."""
    path = sparse(tmp_path / "disk.img", 16 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=b"label: dos\nstart=2048, size=28672\n")
    run(["mkfs.ext4", "-q", "-E", f"offset={MIB}", str(path), "14M"])
    return path


def reasons(name: str, *images: Path) -> list[str]:
    return [p.reason for p in protections(resolve(name), [str(image) for image in images])]


def test_a_file_that_nobody_uses_is_free(disk: Path, tmp_path: Path) -> None:
    assert protections(resolve(str(disk)), [str(tmp_path / "backups" / "new.img.zst")]) == ()


def test_a_file_that_is_mounted_by_loop_is_protected_and_its_image_found(disk: Path, tmp_path: Path) -> None:
    with attached(disk, "--offset", str(MIB), "--sizelimit", str(14 * MIB)) as device:
        assert reasons(str(disk)) == [f"attached to {device}"]
        assert mounts_of(resolve(str(disk))) == ()
        with mounted(device, tmp_path / "with blank") as point:
            assert reasons(str(disk)) == [f"mounted at {point}", f"attached to {device}"]
            assert f"umount '{point}'" in protections(resolve(str(disk)))[0].hint
            assert mounts_of(resolve(str(disk))) == (Mounted(MIB, 15 * MIB, str(point)),)
            image = point / "folder to be" / "a.img.zst"
            assert reasons(str(disk), image)[0] == f"it holds the image {image}"
            assert reasons(device, image)[0] == f"it holds the image {image}"
    assert reasons(str(disk)) == []


def test_who_only_looks_protects_nothing_until_it_mounts(disk: Path, tmp_path: Path) -> None:
    """Another process lists the disks and has partclone read one, through a loop device that goes with its last user."""
    with loop_device(str(disk), offset=MIB, size=14 * MIB) as device:
        assert reasons(str(disk)) == []
        with mounted(device, tmp_path / "mnt", "-o", "ro") as point:
            assert reasons(str(disk)) == [f"mounted at {point}"]
    with loop_device(str(disk), offset=MIB, size=14 * MIB, writable=True) as device:
        assert reasons(str(disk)) == [f"attached to {device}"]


def test_a_partition_is_not_a_disk_and_protects_its_disk(disk: Path, tmp_path: Path) -> None:
    with attached(disk) as device:
        assert reasons(device) == []
        run(["partx", "--add", "--nr", "1", device])
        with pytest.raises(UsageError, match=f"{device}p1 is a partition of the disk {device}"):
            resolve(f"{device}p1")
        with mounted(f"{device}p1", tmp_path / "mnt") as point:
            assert reasons(device) == [f"mounted at {point}"]
            assert reasons(device, point / "x")[0] == f"it holds the image {point / 'x'}"
            assert mounts_of(resolve(device)) == (Mounted(MIB, 15 * MIB, str(point)),)
            assert mounts_of(resolve(str(disk))) == (Mounted(MIB, 15 * MIB, str(point)),)


def test_a_loop_device_on_a_loop_device(disk: Path, tmp_path: Path) -> None:
    with attached(disk) as outer, attached(outer, "--offset", str(MIB)) as inner, mounted(inner, tmp_path / "mnt") as point:
        assert set(reasons(outer)) == {f"mounted at {point}", f"attached to {inner}"}
        assert set(reasons(str(disk), point)) == {
            f"it holds the image {point}",
            f"mounted at {point}",
            f"attached to {outer}",
            f"attached to {inner}",
        }


def test_a_btrfs_is_found_although_its_mount_has_a_number_of_its_own(tmp_path: Path) -> None:
    path = sparse(tmp_path / "btrfs.img", 128 * MIB)
    run(["mkfs.btrfs", "-q", str(path)])
    with attached(path) as device, mounted(device, tmp_path / "mnt") as point:
        assert reasons(device, point / "a")[:2] == [f"it holds the image {point / 'a'}", f"mounted at {point}"]
        assert reasons(str(path), point / "a")[0] == f"it holds the image {point / 'a'}"


def test_a_device_that_a_program_holds_names_the_program(disk: Path) -> None:
    with attached(disk) as device:
        fd = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            (reason,) = reasons(device)
        finally:
            os.close(fd)
        assert f"process {os.getpid()}" in reason
        assert reasons(device) == []


def test_a_read_only_device(disk: Path) -> None:
    with attached(disk, "--read-only") as device:
        found = resolve(device)
        assert (found.read_only, found.transport, found.size) == (True, "loop", 16 * MIB)
        assert reasons(device) == ["read-only"]


def test_a_device_with_sectors_of_4096_bytes(disk: Path) -> None:
    with attached(disk, "--sector-size", "4096") as device:
        assert resolve(device).logical_sector_size == 4096


def test_a_device_without_a_medium_and_other_nodes(tmp_path: Path, disk: Path) -> None:
    with attached(disk) as device:
        pass
    with pytest.raises(UsageError, match="is empty"):
        resolve(device)
    with pytest.raises(UsageError, match="neither a disk nor a file"):
        resolve("/dev/null")
    link = tmp_path / "link"
    link.symlink_to(disk)
    assert resolve(str(link)).path == str(disk.resolve())


def test_the_disk_of_this_system_is_protected() -> None:
    """Wherever / is on a disk that is listed, that disk is protected."""
    number = os.stat("/").st_dev
    root = [d for d in list_disks() if os.stat(d.path).st_rdev == number or runs_from(d)]
    for found in root:
        assert protections(found)[0].reason in ("the running system is on it", "the rescue system runs from it")
    if os.major(number) and not os.path.exists(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/dm"):
        assert root


def test_no_loop_or_memory_device_is_listed(disk: Path) -> None:
    with attached(disk):
        assert not [d.path for d in list_disks() if d.path.startswith(("/dev/loop", "/dev/ram", "/dev/zram"))]


def test_watching_tells_of_a_device_until_it_is_stopped(disk: Path) -> None:
    """Not of loop devices, which whoever is told sets up to look at disks."""
    node = next(node for node in sorted(Path("/sys/block").iterdir()) if not node.name.startswith("loop"))
    heard = threading.Event()
    stop = watch(heard.set)
    try:
        with attached(disk):
            assert not heard.wait(2)
        assert not heard.wait(1)
        (node / "uevent").write_text("change")
        assert heard.wait(20)
    finally:
        stop()
