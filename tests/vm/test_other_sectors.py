"""A real Debian goes from a disk with sectors of 512 bytes to one with 4096 and back, and starts from each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rescue.system.run import run
from tests.vm.debian_disk import SIZE, blank_disk, debian_disk
from tests.vm.firmware import Firmware
from tests.vm.guest_check import guest_check
from tests.vm.qemu import Bus, Drive, MachineSpec

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_RESCUE = str(Path(sys.executable).parent / "rescue")


def _onto(how: str, source: Path, target: Path, sector_size: int) -> None:
    sectors = ["--sector-size", str(sector_size)]
    done = run([_RESCUE, how, str(source), str(target), *sectors, "--yes", "--progress", "none"], timeout=1800)
    assert "fitted to it" in done.text


def test_starts_on_sectors_of_4096_and_of_512_again(artifacts: Path, disks: Path) -> None:
    """By UEFI: its partitions are named by the firmware, GRUB and the kernel in sectors of the disk."""
    run(
        [_RESCUE, "backup", str(debian_disk()), str(disks), "--name", "debian", "--no-verify", "--progress", "none"], timeout=1800
    )
    there = blank_disk(disks / "there.raw", SIZE)
    _onto("restore", disks / "debian.img.zst", there, 4096)
    drive = Drive(there, "SECT-4096", Bus.VIRTIO, boot_index=0, sector_size=4096)
    assert guest_check(MachineSpec(firmware=Firmware.UEFI, drives=(drive,)), artifacts).startswith("OK ")
    back = blank_disk(disks / "back.raw", SIZE)
    _onto("clone", there, back, 512)
    drive = Drive(back, "SECT-512", Bus.VIRTIO, boot_index=0)
    assert guest_check(MachineSpec(firmware=Firmware.UEFI, drives=(drive,)), artifacts).startswith("OK ")
