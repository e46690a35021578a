"""Thousands of damaged images, restored: an error of ours, or exactly the same disk; never a crash, a hang or much memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.fuzz import campaign, memory_now, memory_peak
from bench.mutate import KINDS
from rescue.engine.deploy import Deployment
from rescue.errors import RescueError
from rescue.images.reader import ImageReader
from rescue.model.progress import CancelToken
from rescue.units import GIB, KIB, MIB
from tests.unit.images.disks import small_disk, write_image

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]


def _nothing(done: int, total: int) -> None:
    del done, total


def _damage(content: bytearray, structures: list[tuple[int, int]], chance: random.Random) -> None:
    """One to three changes; half of them in what describes the data, where the numbers are."""
    for _ in range(chance.randint(1, 3)):
        low, high = chance.choice(structures) if chance.random() < 0.5 else (0, len(content))
        at = chance.randrange(low, max(min(high, len(content)), low + 1))
        match chance.randrange(4):
            case 0:
                content[at : at + 1] = bytes([content[at % len(content)] ^ 1 << chance.randrange(8)])
            case 1:
                content[at : at + 8] = chance.choice((bytes(8), b"\xff" * 8, (1 << 40).to_bytes(8, "little")))
            case 2:
                del content[at : at + chance.randint(1, 4 * KIB)]
            case _:
                content[at:at] = chance.randbytes(chance.randint(1, 64))


@pytest.mark.parametrize("times", [300, pytest.param(30_000, marks=pytest.mark.long)])
def test_damaged_images(tmp_path: Path, times: int) -> None:
    disk = small_disk(5, 9 * MIB)
    path, target = tmp_path / "image", tmp_path / "target"
    write_image(disk, path)
    good = path.read_bytes()
    with ImageReader(path) as image:
        (segment,) = image.manifest.segments
        structures = [(0, 136), (segment.offset, len(good)), (image.seek_table_offset - 120, len(good))]
    chance = random.Random(times)
    refused = 0
    before = memory_now()
    for _ in range(times):
        content = bytearray(good)
        _damage(content, structures, chance)
        path.write_bytes(content)
        target.write_bytes(bytes(9 * MIB))
        try:
            with Deployment(str(path), str(target)) as deployment:
                deployment.wipe()
                deployment.write_data(CancelToken(), _nothing)
                deployment.write_head()
                deployment.read_back(CancelToken(), _nothing)
        except RescueError:
            refused += 1
            continue
        assert target.read_bytes() == disk.kept
    assert refused > times * 0.9
    assert memory_peak() - before < GIB


@pytest.mark.parametrize("times", [2700, pytest.param(200_000, marks=pytest.mark.long)])
def test_damaged_chains_behind_right_checksums(times: int) -> None:
    """In any file of a chain, every part of an image; each case is used, or refused with an error of ours."""
    outcomes = campaign(times, seed=times)
    assert outcomes.total() == times
    for kind in KINDS:
        came_to = {what for k, what in outcomes if k == kind}
        assert "used" in came_to, kind  # some damage is to what was not needed, or is none
        assert came_to & {"DamagedError", "FormatError"}, kind
    assert outcomes["rows", "FormatError"] > times // 50  # it does reach behind the checksums
