"""A Debian on LVM on LUKS2, fitted onto a smaller and onto a larger disk, starts from each with its old passphrase."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescue.units import GIB
from tests.vm import guest_sealed
from tests.vm.debian_disk import RELEASE, blank_disk, formatted_disk
from tests.vm.debian_system import make_system
from tests.vm.evidence import evidence_kept
from tests.vm.firmware import Firmware
from tests.vm.guest_check import guest_check
from tests.vm.qemu import Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_PART = 3000.0  # seconds


def test_starts_from_fitted_disks(iso: Path, artifacts: Path, disks: Path) -> None:
    """Made and fitted in the rescue system, whose kernel has LUKS and LVM; each fitted disk alone starts under UEFI."""
    content = disks / "content"
    package = content / "tests/vm"
    package.mkdir(parents=True)
    for name in ("guest_sealed.py", "guest_stacks.py"):
        shutil.copy(Path(__file__).with_name(name), package)
    make_system(content / "system", RELEASE, ("cryptsetup-initramfs", "lvm2"))
    store = formatted_disk(disks / "store.raw", 4 * GIB, content=content)
    shutil.rmtree(content)
    fitted = {
        guest_sealed.SMALLER: blank_disk(disks / "smaller.raw", guest_sealed.SMALLER_SIZE),
        guest_sealed.LARGER: blank_disk(disks / "larger.raw", guest_sealed.LARGER_SIZE),
    }
    spec = MachineSpec(
        medium=Medium(iso),
        root_shell=True,
        limit=9000,
        drives=(
            Drive(blank_disk(disks / "source.raw", guest_sealed.SOURCE_SIZE), guest_sealed.SOURCE),
            *(Drive(path, serial) for serial, path in fitted.items()),
            Drive(store, "SLD-STORE-3E13"),
        ),
    )

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(300)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 300, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        machine.shell.run("mkdir -p /run/work/store && mount /dev/disk/by-label/BACKUPS /run/work/store")
        for part in guest_sealed.PARTS:
            answer = machine.shell.run(f"cd /run/work/store && python3 -m tests.vm.guest_sealed {part}", _PART, ok=None)
            with (artifacts / "times.txt").open("a") as file:
                file.write(f"{answer.text}\n")
            assert answer.code == 0, f"{part}: {answer.text}"
    for serial, path in fitted.items():
        alone = MachineSpec(firmware=Firmware.UEFI, drives=(Drive(path, serial, boot_index=0),))
        said = guest_check(alone, artifacts / serial, passphrase=guest_sealed.PASSPHRASE)
        assert said.startswith("OK "), f"{serial}: {said}"
