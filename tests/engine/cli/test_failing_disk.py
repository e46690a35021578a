"""A disk with bad sectors, salvaged by command: what can be read is there, damaged files are named, a second run gets more."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from rescue.model.extents import ExtentMap
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.failing import failing_disk
from tests.engine.devices.loops import sparse

pytestmark = pytest.mark.engine

_OFFSET = MIB
_SIZE = 64 * MIB
_FILES = 12


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A disk with an ext4 of some files."""
    path = sparse(tmp_path / "good.raw", _SIZE + 2 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=f"label: gpt\nstart=2048, size={_SIZE // 512}, type=L\n".encode())
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(_FILES):
        (tree / f"file-{number}").write_bytes(random.Random(number).randbytes(MIB))
    run(["mkfs.ext4", "-q", "-F", "-d", str(tree), "-E", f"offset={_OFFSET}", str(path), "64m"])
    return path


def _place(good: Path, number: int) -> int:
    """Where on the disk a file begins."""
    text = run(["debugfs", "-R", f"stat /file-{number}", f"{good}?offset={_OFFSET}"]).text
    size = int(re.search(r"Block size:\s+(\d+)", run(["dumpe2fs", "-h", f"{good}?offset={_OFFSET}"]).text)[1])  # type: ignore[index]
    return _OFFSET + size * int(re.search(r"\(0-\d+\):(\d+)-", text)[1])  # type: ignore[index]


def _dump(disk: Path, number: int, to: Path) -> bytes:
    run(["debugfs", "-R", f"dump /file-{number} {to}", f"{disk}?offset={_OFFSET}"])
    return to.read_bytes()


def test_salvage(rescue: Rescue, tmp_path: Path, good: Path, dest: Path) -> None:
    three, seven, nine = _place(good, 3), _place(good, 7), _place(good, 9)
    bad = ExtentMap([(three + 8192, three + 8192 + 512), (seven + 300 * KIB, seven + 340 * KIB), (nine, nine + 512)])
    disk, target, dumped = tmp_path / "disk.raw", tmp_path / "target", tmp_path / "dumped"
    with failing_disk(good, disk, bad):
        refused = rescue("backup", disk, dest, "--name", "laptop")
        assert (refused.code, "--salvage" in refused.err) == (1, True)
        first = rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--json")
    assert first.code == 4, first
    facts = json.loads(first.out)["facts"]
    assert facts["missing_bytes"] == bad.total
    assert facts["damaged_files"] == ["1:/file-3", "1:/file-7", "1:/file-9"]
    assert facts["won_bytes"] > 0
    newest = Path(facts["image"])
    assert newest.name == "laptop-more.rimg"
    verified = rescue.ok("verify", newest)
    assert "incomplete" in verified.out
    refused = rescue("restore", newest, target, "--yes")
    assert refused.code == 4
    assert not target.exists()
    assert "/file-7" in refused.err
    restored = rescue("restore", newest, target, "--yes", "--salvage", "--json")
    assert restored.code == 4
    assert json.loads(restored.out)["facts"]["damaged_files"] == facts["damaged_files"]
    expected = bytearray(good.read_bytes())
    for number in range(_FILES):
        start = _place(good, number)
        held = target.read_bytes()[start : start + MIB]
        wanted = expected[start : start + MIB]
        for low, high in bad.overlapping(start, start + MIB):
            wanted[low - start : high - start] = bytes(high - low)
        assert held == wanted
    # Some sectors give in; the second run asks for nothing else, and what it gets completes the files.
    with failing_disk(good, disk, ExtentMap([(three + 8192, three + 8192 + 512)])):
        second = rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--json")
    facts = json.loads(second.out)["facts"]
    assert (second.code, facts["missing_bytes"], facts["won_bytes"]) == (4, 512, bad.total - 512)
    assert facts["damaged_files"] == ["1:/file-3"]
    with failing_disk(good, disk, ExtentMap()):
        third = rescue("backup", disk, dest, "--name", "laptop", "--salvage", "--json")
    assert third.code == 0, third
    last = Path(json.loads(third.out)["facts"]["image"])
    assert not list(dest.glob("*.rescue"))
    rescue.ok("restore", last, target, "--yes")
    for number in range(_FILES):
        assert _dump(target, number, dumped) == _dump(good, number, tmp_path / "expected")
    run(["e2fsck", "-fn", f"{target}?offset={_OFFSET}"])
    rescue.ok("verify", last, "--mount")
