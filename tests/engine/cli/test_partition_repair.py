"""``rescue partition --repair``: sgdisk judges the GPT before and after."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.test_partition import sound
from tests.engine.devices.loops import sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


@pytest.fixture
def broken(disk: Path, tmp_path: Path) -> Path:
    """A copy of the disk, to be damaged."""
    return Path(shutil.copy(disk, tmp_path / "broken.raw"))


def _repair(rescue: Rescue, path: Path, *more: str) -> Path:
    kept = path.with_suffix(f".{len(list(path.parent.iterdir()))}")
    rescue.ok("partition", path, "--repair", "--yes", "--save", kept, *more)
    return kept


def _listed(path: Path) -> str:
    return run(["sfdisk", "--dump", str(path)]).text


@pytest.mark.parametrize(("start", "length"), [(512, 512), (1024, 128), (512, 20 * 512), (0, 512), (0, 34 * 512)])
def test_the_start_of_the_disk_is_overwritten(rescue: Rescue, broken: Path, start: int, length: int) -> None:
    before = _listed(broken)
    whole = digest(broken)
    with broken.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(length) if start else bytes(length))
    damaged = digest(broken)
    kept = _repair(rescue, broken)
    sound(broken)
    assert _listed(broken) == before
    if start:
        assert digest(broken) == whole
    rescue.ok("partition", broken, "--undo", kept, "--yes")
    assert digest(broken) == damaged


def test_the_end_of_the_disk_is_overwritten(rescue: Rescue, broken: Path) -> None:
    whole = digest(broken)
    size = broken.stat().st_size
    with broken.open("r+b") as file:
        file.seek(size - 33 * 512)
        file.write(os.urandom(33 * 512))
    _repair(rescue, broken)
    sound(broken)
    assert digest(broken) == whole


def test_a_disk_that_became_larger(rescue: Rescue, broken: Path) -> None:
    os.truncate(broken, 1 * GIB)
    assert "not at the end" in rescue.ok("disks", broken).out
    _repair(rescue, broken)
    sound(broken)
    rescue.ok("partition", broken, "create size=500MiB", "--yes", "--save", broken.with_suffix(".x"))
    sound(broken)


def test_what_cannot_be_repaired_is_refused(rescue: Rescue, broken: Path, tmp_path: Path) -> None:
    state = digest(broken)
    refused = rescue("partition", broken, "--repair", "--yes")
    assert refused.code == 3
    assert "nothing to repair" in refused.err
    assert rescue("partition", broken, "delete 1", "--repair", "--yes").code == 2
    assert digest(broken) == state
    size = broken.stat().st_size
    with broken.open("r+b") as file:
        for place in (512, size - 512):
            file.seek(place)
            file.write(bytes(512))
    assert "no GPT of which a copy is whole" in rescue("partition", broken, "--repair", "--yes").err
    dos = sparse(tmp_path / "dos.raw", 64 * MIB)
    run(["sfdisk", "--quiet", str(dos)], stdin=b"label: dos\nsize=10M\n")
    assert "no GPT" in rescue("partition", dos, "--repair", "--yes").err


def test_a_file_system_over_an_old_gpt_is_left_alone(rescue: Rescue, broken: Path) -> None:
    with broken.open("r+b") as file:
        file.write(bytes(MIB))
    run(["mkfs.ext4", "-q", "-F", str(broken), "100M"])
    refused = rescue("partition", broken, "--repair", "--yes")
    assert refused.code == 3
    assert "no GPT of which a copy is whole" in refused.err
    run(["e2fsck", "-fn", str(broken)])


def test_a_hybrid_mbr_is_left_alone(rescue: Rescue, broken: Path) -> None:
    run(["sgdisk", "--hybrid=1:2", str(broken)])
    with broken.open("r+b") as file:
        file.seek(512)
        file.write(bytes(512))
    state = digest(broken)
    refused = rescue("partition", broken, "--repair", "--yes")
    assert refused.code == 3
    assert "hybrid" in refused.err
    assert digest(broken) == state
