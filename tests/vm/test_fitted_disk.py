"""A disk with a real Debian starts again after it was fitted onto a smaller and onto a larger one."""

from __future__ import annotations

import re
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
_FOLLOWS = "/boot/efi/EFI/BOOT/grub.cfg"


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


@pytest.mark.long
@pytest.mark.parametrize("firmware", [Firmware.BIOS, Firmware.SECURE_BOOT], ids=lambda value: value.name.lower())
def test_starts_with_identifiers_of_its_own(firmware: Firmware, artifacts: Path, disks: Path) -> None:
    """A clone with new identifiers starts alone: fstab and all that the boot loader reads have followed."""
    target = blank_disk(disks / "target.raw", 8 * GIB)
    options = ["--new-ids", "--fit", "auto", "--yes", "--progress", "none"]
    run([_RESCUE, "clone", str(debian_disk()), str(target), *options], timeout=1800)
    old, new = (set(run(["sfdisk", "--dump", str(disk)]).text.split()) for disk in (debian_disk(), target))
    assert not {word for word in old & new if word.startswith("uuid=")}
    spec = MachineSpec(firmware=firmware, drives=(Drive(target, "OWN-7A32", Bus.SATA, boot_index=0),))
    # Every file is as it was but the one that names the file system to start from.
    changed = rf"[0-9a-f]{{64}}  {re.escape(_FOLLOWS)}"
    assert re.fullmatch(rf"FAIL (\d+)c\1 < {changed} --- > {changed} *", guest_check(spec, artifacts))
