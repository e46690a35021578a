"""f2fs, which only the rescue system's kernel knows for certain: imaged, looked into, restored smaller and larger, cloned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescue.units import MIB
from tests.vm import guest_f2fs
from tests.vm.debian_disk import blank_disk, formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.qemu import Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_SECONDS = 1800.0  # ten times what it takes on an idle machine


def test_f2fs_any_disk_onto_any_disk(iso: Path, artifacts: Path, disks: Path) -> None:
    """The times of each command stay in ``times.txt``."""
    package = disks / "content" / "tests" / "vm"
    package.mkdir(parents=True)
    for name in ("guest_images.py", "guest_f2fs.py"):
        shutil.copy(Path(__file__).with_name(name), package)
    spec = MachineSpec(
        medium=Medium(iso),
        root_shell=True,
        limit=3500,
        drives=(
            *(Drive(blank_disk(disks / f"{serial}.raw", size), serial) for serial, size in guest_f2fs.SIZES.items()),
            Drive(formatted_disk(disks / "store.raw", 512 * MIB, content=disks / "content"), "F2F-STORES-5D34"),
        ),
    )

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(900)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 900, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        machine.shell.run("mkdir -p /run/work/store && mount /dev/disk/by-label/BACKUPS /run/work/store")
        answer = machine.shell.run("cd /run/work/store && python3 -m tests.vm.guest_f2fs", _SECONDS, ok=None)
        (artifacts / "times.txt").write_text(f"{answer.text}\n")
        assert answer.code == 0, answer.text
