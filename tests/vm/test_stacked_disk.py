"""LUKS with LVM, LVM on RAID 1, LUKS on LVM and a mirrored logical volume, made by the kernel of the rescue system."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from rescue.units import GIB, MIB
from tests.vm import guest_stacks
from tests.vm.debian_disk import formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.qemu import Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_PART = 1500.0  # seconds


def _used_before(path: Path, seed: int) -> Path:
    """A disk full of something that cannot be compressed."""
    draw = random.Random(seed)
    with path.open("wb") as file:
        for _ in range(guest_stacks.DISK_SIZE // MIB):
            file.write(draw.randbytes(MIB))
    return path


def test_stacked_disk(iso: Path, artifacts: Path, disks: Path) -> None:
    """Made, imaged with its passphrases, restored onto another disk, opened with the old passphrases, every file the same."""
    content = disks / "content"
    content.mkdir()
    shutil.copy(guest_stacks.__file__, content)
    spec = MachineSpec(
        medium=Medium(iso),
        root_shell=True,
        limit=3500,
        drives=(
            Drive(_used_before(disks / "source.raw", 1), guest_stacks.SOURCE),
            Drive(_used_before(disks / "target.raw", 2), guest_stacks.TARGET),
            Drive(formatted_disk(disks / "store.raw", 1 * GIB, content=content), "STK-STORE-6B12"),
        ),
    )

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(300)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 300, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        shell = machine.shell
        shell.run("mkdir -p /run/work/store && mount /dev/disk/by-label/BACKUPS /run/work/store")
        for part in ("make", "backup", "restore"):
            answer = shell.run(f"python3 /run/work/store/guest_stacks.py {part}", _PART, ok=None)
            with (artifacts / "times.txt").open("a") as file:
                file.write(f"{answer.text}\n")
            assert answer.code == 0, f"{part}: {answer.text}"
