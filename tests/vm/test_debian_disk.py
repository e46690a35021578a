"""The Debian that the other tests save and restore starts by itself, so that their failures are the product's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.debian_disk import copy_sparse, debian_disk
from tests.vm.firmware import Firmware
from tests.vm.guest_check import guest_check
from tests.vm.qemu import Bus, Drive, MachineSpec

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(9000)]


@pytest.mark.parametrize("bus", [Bus.VIRTIO, Bus.NVME, Bus.SATA, Bus.USB])
@pytest.mark.parametrize("firmware", list(Firmware))
def test_starts(firmware: Firmware, bus: Bus, artifacts: Path, disks: Path) -> None:
    """On every firmware and behind every kind of controller."""
    disk = copy_sparse(debian_disk(), disks / "disk.raw")
    spec = MachineSpec(firmware=firmware, drives=(Drive(disk, "SRC-7A31", bus, boot_index=0),))
    assert guest_check(spec, artifacts).startswith("OK ")
