"""The promise itself: a disk with a real Debian is imaged and restored by keys alone; the restored disk starts and is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB
from tests.vm.debian_disk import blank_disk, copy_sparse, debian_disk, formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.firmware import Firmware
from tests.vm.guest_check import guest_check
from tests.vm.qemu import Bus, Drive, Machine, MachineSpec, Medium, booted
from tests.vm.tui_driver import Tui

pytestmark = [pytest.mark.vm, pytest.mark.timeout(9000)]

_SOURCE = "SRC-DEBIAN-7A31"
_IMAGES = "IMG-STORE-11C0"
_TARGET = "TGT-BLANK-9F42"
_JOB = 600.0  # seconds


@pytest.mark.parametrize(
    ("firmware", "bus", "stick"),
    [
        pytest.param(Firmware.BIOS, Bus.VIRTIO, False, id="bios"),
        # Secure Boot is UEFI too: without it this one is for the long run.
        pytest.param(Firmware.UEFI, Bus.NVME, True, id="uefi", marks=pytest.mark.long),
        pytest.param(Firmware.SECURE_BOOT, Bus.SATA, False, id="secure-boot"),
    ],
)
def test_disk_comes_back(firmware: Firmware, bus: Bus, stick: bool, iso: Path, artifacts: Path, disks: Path) -> None:
    """Back up, restore onto a bigger blank disk, pull the plug, start from the restored disk alone."""
    pristine = debian_disk()
    source = copy_sparse(pristine, disks / "source.raw")
    target = blank_disk(disks / "target.raw", 4 * GIB)
    spec = MachineSpec(
        firmware=firmware,
        medium=Medium(iso, stick=stick),
        root_shell=True,
        drives=(
            Drive(source, _SOURCE, bus),
            Drive(formatted_disk(disks / "images.raw", 3 * GIB), _IMAGES),
            Drive(target, _TARGET, bus),
        ),
    )

    def at_home(machine: Machine) -> None:
        Tui(machine).wait_for_home()

    with booted(spec, artifacts / "rescue", at_home) as machine, evidence_kept(machine):
        machine.shell.wait_until_there(60)
        lockdown = machine.shell.run("cat /sys/kernel/security/lockdown").text
        assert ("[integrity]" in lockdown) == (firmware is Firmware.SECURE_BOOT)
        tui = Tui(machine)
        tui.back_up(_SOURCE, "BACKUPS", _JOB)
        tui.go_home()
        tui.restore("BACKUPS", "20", _TARGET, _JOB)
        # Left without shutting down: what is called done must already be on the disk.
    run(["cmp", str(pristine), str(source)], timeout=120)
    assert guest_check(
        MachineSpec(firmware=firmware, drives=(Drive(target, _TARGET, bus, boot_index=0),)), artifacts / "restored"
    )
