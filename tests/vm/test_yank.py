"""A disk that is pulled out while it is being written to: the job ends within seconds and says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.vm.debian_disk import blank_disk, debian_disk, formatted_disk
from tests.vm.evidence import evidence_kept
from tests.vm.qemu import Bus, Drive, Machine, MachineSpec, Medium, booted

pytestmark = [pytest.mark.vm, pytest.mark.timeout(9000)]

_RESCUE = str(Path(sys.executable).with_name("rescue"))
_IMAGES = "IMG-STORE-11C0"
_TARGET = "TGT-YANKED-9F42"
_WITHIN = 30.0  # seconds, of a guest that runs about ten times slower than a real machine


@pytest.mark.parametrize("bus", [Bus.VIRTIO, pytest.param(Bus.USB, marks=pytest.mark.long)])
def test_target_goes_away(bus: Bus, iso: Path, artifacts: Path, disks: Path) -> None:
    """The restore fails with exit code 1 and a sentence that names the target, and leaves no job behind."""
    folder = disks / "images"
    folder.mkdir()
    run([_RESCUE, "backup", str(debian_disk()), str(folder), "--name", "debian", "--progress", "none"], timeout=1800)
    images = formatted_disk(disks / "images.raw", 2 * GIB, content=folder)
    target = Drive(blank_disk(disks / "target.raw", 4 * GIB), _TARGET, bus)
    spec = MachineSpec(medium=Medium(iso), drives=(Drive(images, _IMAGES), target), root_shell=True)

    def shell_is_there(machine: Machine) -> None:
        machine.shell.wait_until_there(300)
        machine.shell.run("udevadm settle && systemctl is-system-running --wait", 200, ok=None)

    with booted(spec, artifacts, shell_is_there) as machine, evidence_kept(machine):
        shell = machine.shell
        shell.run("mkdir -p /run/images && mount -o ro /dev/disk/by-label/BACKUPS /run/images")
        command = f"rescue restore /run/images/debian.img.zst serial:{_TARGET} --yes --progress json"
        shell.run(f"({command} >/run/out 2>/run/err; echo $? >/run/code) >/dev/null 2>&1 &")
        sectors = f"awk '{{print $7}}' $(readlink -f /sys/class/block/$(basename $(readlink -f {_device()})))/stat"
        written = 0
        deadline = machine.clock() + 200
        while written < 32 * MIB:
            assert machine.clock() < deadline, shell.run("cat /run/err", ok=None).text
            written = int(shell.run(sectors).text) * 512
        machine.unplug(_TARGET)
        gone = machine.clock()
        shell.run("for i in $(seq 300); do test -s /run/code && break; sleep 0.2; done; test -s /run/code", 90)
        took = machine.clock() - gone
        said = shell.run("cat /run/err").text
        (artifacts / "said.txt").write_text(f"{took:.1f} s\n{said}\n")
        assert shell.run("cat /run/code").text.strip() == "1", said
        assert took < _WITHIN
        last = said.strip().splitlines()[-2:]
        assert any("/dev/" in line and ("unplugged" in line or "does not take data" in line) for line in last), said
        assert "Traceback" not in said
        assert shell.run("pgrep -f 'rescue[.]jobs'", ok=None).code == 1


def _device() -> str:
    return f"$(ls /dev/disk/by-id/*{_TARGET}* | head -n 1)"
