"""Images inside the rescue system: what needs its kernel (all file systems, nbd, device-mapper, partition nodes), in one boot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescue.units import GIB, MIB
from tests.vm import guest_images
from tests.vm.debian_disk import blank_disk, formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.qemu import Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.timeout(9000)]

_PART = 1500.0  # seconds; ten times what the longest one takes on an idle machine

# Parts of tests/vm/guest_images.py, in the order that they build upon each other. Each run is one boot.
_GUARDING = ("small", "killed")
_DAYS = ("disk", "chain", "mount", "verify", "files", "delta")
_PLACES = ("small", "bad", "secret", "place", "cut")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(_GUARDING, id="killed", marks=pytest.mark.long),
        pytest.param(_DAYS, id="days", marks=pytest.mark.long),
        pytest.param(_PLACES, id="places", marks=pytest.mark.long),
    ],
)
def test_images(parts: tuple[str, ...], iso: Path, artifacts: Path, disks: Path) -> None:
    """The parts, one after another; the times of each command stay in ``times.txt``."""
    content = disks / "content"
    content.mkdir()
    shutil.copy(guest_images.__file__, content)
    spec = MachineSpec(
        medium=Medium(iso),
        root_shell=True,
        limit=3500,
        drives=(
            Drive(blank_disk(disks / "source.raw", guest_images.DISK_SIZE), guest_images.SOURCE),
            Drive(blank_disk(disks / "target.raw", guest_images.DISK_SIZE), guest_images.TARGET),
            Drive(blank_disk(disks / "places.raw", 1 * GIB), guest_images.PLACES_DISK),
            Drive(blank_disk(disks / "small.raw", 256 * MIB), guest_images.SMALL),
            Drive(formatted_disk(disks / "store.raw", 1 * GIB, content=content), "IMG-STORE-5D14"),
        ),
    )

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(900)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 900, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        shell = machine.shell
        shell.run("mkdir -p /run/work/store && mount /dev/disk/by-label/BACKUPS /run/work/store")
        for part in parts:
            answer = shell.run(f"python3 /run/work/store/guest_images.py {part}", _PART, ok=None)
            with (artifacts / "times.txt").open("a") as file:
                file.write(f"{answer.text}\n")
            assert answer.code == 0, f"{part}: {answer.text}"
