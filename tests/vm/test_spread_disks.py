"""Arrays, a group, thin and snapshot volumes, btrfs over two disks, and BitLocker, made by the kernel of the rescue system."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from rescue.units import GIB, MIB
from tests.engine.volumes.bitlocker import PASSWORD, bitlocker
from tests.unit.volumes.bitlk_made import Made
from tests.vm import guest_spread
from tests.vm.debian_disk import formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.qemu import Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]

_PART = 1500.0  # seconds


def _used_before(path: Path, size: int) -> Path:
    """A disk full of something that cannot be compressed."""
    draw = random.Random(path.name)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(draw.randbytes(MIB))
    return path


def test_spread_disks(iso: Path, artifacts: Path, disks: Path) -> None:
    """Made, each disk imaged beside the other, restored onto other disks, every file the same."""
    content = disks / "content"
    content.mkdir()
    shutil.copy(guest_spread.__file__, content)
    windows = bitlocker(disks, "windows", Made(password=PASSWORD, recovery=True), size=48 * MIB)
    shutil.copy(windows.file, content / guest_spread.BITLOCKER.name)
    (content / guest_spread.BITLOCKER_FILES.name).write_text(json.dumps(windows.hashes))
    (content / guest_spread.BITLOCKER_KEY.name).write_text(PASSWORD)
    drives = [
        Drive(_used_before(disks / f"{serial}.raw", size), serial)
        for serials in (guest_spread.SOURCES, guest_spread.TARGETS)
        for serial, size in zip(serials, guest_spread.DISK_SIZES, strict=True)
    ]
    store = Drive(formatted_disk(disks / "store.raw", 1 * GIB, content=content), "SPR-STORE-1")
    spec = MachineSpec(medium=Medium(iso), root_shell=True, limit=3500, drives=(*drives, store))

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(300)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 300, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        shell = machine.shell
        shell.run("mkdir -p /run/work/store && mount /dev/disk/by-label/BACKUPS /run/work/store")
        for part in ("make", "backup", "restore"):
            answer = shell.run(f"python3 /run/work/store/guest_spread.py {part}", _PART, ok=None)
            with (artifacts / "times.txt").open("a") as file:
                file.write(f"{answer.text}\n")
            assert answer.code == 0, f"{part}: {answer.text}"
