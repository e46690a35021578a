"""LVM on LUKS onto a smaller and a larger disk, and in clear inside of an encrypted image: opened by the kernel afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescue.units import GIB
from tests.vm import guest_fitted_stacks
from tests.vm.debian_disk import blank_disk, formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.qemu import Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_PART = 1500.0  # seconds


def test_fitted_stack(iso: Path, artifacts: Path, disks: Path) -> None:
    """Made by the kernel, fitted by the program, opened by the kernel with the old passphrase: every file the same."""
    content = disks / "content"
    content.mkdir()
    shutil.copy(guest_fitted_stacks.__file__, content)
    guest = guest_fitted_stacks
    spec = MachineSpec(
        medium=Medium(iso),
        root_shell=True,
        limit=4500,
        drives=(
            Drive(blank_disk(disks / "source.raw", guest.SOURCE_SIZE), guest.SOURCE),
            Drive(blank_disk(disks / "smaller.raw", guest.SMALLER_SIZE), guest.SMALLER),
            Drive(blank_disk(disks / "larger.raw", guest.LARGER_SIZE), guest.LARGER),
            Drive(formatted_disk(disks / "store.raw", 2 * GIB, content=content), "FST-STORE-7C23"),
        ),
    )

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(300)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 300, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        shell = machine.shell
        shell.run("mkdir -p /run/work/store && mount /dev/disk/by-label/BACKUPS /run/work/store")
        for part in ("make", "smaller", "larger", "decrypted"):
            answer = shell.run(f"python3 /run/work/store/guest_fitted_stacks.py {part}", _PART, ok=None)
            with (artifacts / "times.txt").open("a") as file:
                file.write(f"{answer.text}\n")
            assert answer.code == 0, f"{part}: {answer.text}"
