"""A disk with a real Debian starts again after it was fitted onto a smaller and onto a larger one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.vm.debian_disk import SIZE, blank_disk, debian_disk
from tests.vm.firmware import Firmware
from tests.vm.guest_check import guest_check
from tests.vm.qemu import Bus, Drive, MachineSpec

pytestmark = [pytest.mark.vm, pytest.mark.timeout(9000)]

_RESCUE = str(Path(sys.executable).parent / "rescue")
_SMALLER = SIZE - 1300 * MIB
_LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("how", "size", "firmware"),
    [
        ("restore", _SMALLER, Firmware.BIOS),
        pytest.param("clone", _SMALLER, Firmware.UEFI, marks=_LONG),
        pytest.param("restore", 8 * GIB, Firmware.UEFI, marks=_LONG),
        pytest.param("clone", 8 * GIB, Firmware.SECURE_BOOT, marks=_LONG),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Firmware) else str(value),
)
def test_starts_from_the_fitted_disk(how: str, size: int, firmware: Firmware, artifacts: Path, disks: Path) -> None:
    """The fitted disk alone starts, and holds every file that it should."""
    source = debian_disk()
    if how == "restore":
        run([_RESCUE, "backup", str(source), str(disks), "--name", "debian", "--no-verify", "--progress", "none"], timeout=1800)
        source = disks / "debian.img.zst"
    target = blank_disk(disks / "target.raw", size)
    done = run([_RESCUE, how, str(source), str(target), "--fit", "auto", "--yes", "--progress", "none"], timeout=1800)
    assert "fitted to it" in done.text
    spec = MachineSpec(firmware=firmware, drives=(Drive(target, "FIT-7A31", Bus.SATA, boot_index=0),))
    assert guest_check(spec, artifacts).startswith("OK ")
