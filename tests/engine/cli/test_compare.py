"""``rescue verify --against DISK``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.conftest import DATA_START, DISK_SIZE
from tests.engine.devices.loops import attached, sparse

pytestmark = pytest.mark.engine


def test_the_disk_that_was_imaged_and_the_one_that_was_restored_are_the_same(
    rescue: Rescue, disk: Path, image: Path, tmp_path: Path
) -> None:
    said = rescue.ok("verify", image, "--against", disk)
    assert "holds the same" in said.out
    backing = sparse(tmp_path / "target.raw", DISK_SIZE)
    with attached(backing) as device:
        rescue.ok("restore", image, device, "--yes")
        rescue.ok("verify", image, "--against", device)


def test_one_changed_byte_is_found_and_named(rescue: Rescue, disk: Path, image: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copy(disk, tmp_path / "changed.raw"))
    with changed.open("r+b") as file:
        file.seek(DATA_START + 7 * MIB)
        byte = file.read(1)
        file.seek(DATA_START + 7 * MIB)
        file.write(bytes([byte[0] ^ 4]))
    said = rescue("verify", image, "--against", changed)
    assert said.code == 4
    assert "partition 3: 1 chunk)" in said.err
    smaller = sparse(tmp_path / "smaller.raw", DISK_SIZE - 512)
    assert rescue("verify", image, "--against", smaller).code == 3
