"""The partition editor, a clone and a sanitize on real block devices, whose partitions the kernel has then, in one boot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescue.units import MIB
from tests.vm import guest_partitions
from tests.vm.debian_disk import blank_disk, formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.qemu import Bus, Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_SECONDS = 1800.0  # ten times what it takes on an idle machine


def test_partitions_that_the_kernel_has(iso: Path, artifacts: Path, disks: Path) -> None:
    """Created, formatted, resized, moved, cloned, erased; the times of each command stay in ``times.txt``."""
    package = disks / "content" / "tests" / "vm"
    package.mkdir(parents=True)
    for name in ("guest_images.py", "guest_partitions.py"):
        shutil.copy(Path(__file__).with_name(name), package)
    spec = MachineSpec(
        medium=Medium(iso),
        root_shell=True,
        limit=3500,
        drives=(
            Drive(blank_disk(disks / "edited.raw", guest_partitions.SIZE), guest_partitions.DISK),
            Drive(blank_disk(disks / "cloned.raw", guest_partitions.SIZE), guest_partitions.CLONE),
            Drive(blank_disk(disks / "nvme.raw", guest_partitions.SMALL), guest_partitions.NVME, Bus.NVME),
            Drive(blank_disk(disks / "sata.raw", guest_partitions.SMALL), guest_partitions.SATA, Bus.SATA),
            Drive(formatted_disk(disks / "store.raw", 64 * MIB, content=disks / "content"), "PRT-STORE-5D23"),
        ),
    )

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(900)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 900, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        machine.shell.run("mkdir -p /run/work/store && mount /dev/disk/by-label/BACKUPS /run/work/store")
        answer = machine.shell.run("cd /run/work/store && python3 -m tests.vm.guest_partitions", _SECONDS, ok=None)
        (artifacts / "times.txt").write_text(f"{answer.text}\n")
        assert answer.code == 0, answer.text
