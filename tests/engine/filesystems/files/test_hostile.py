"""Damage of every kind in the structures of each file system: only a RescueError may come out, and nothing leaves the folder."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.fuzz_files import VOLUMES, campaign
from rescue.engine.extract import extract
from rescue.errors import RescueError
from rescue.filesystems.files.open import open_tree
from rescue.filesystems.files.tree import FileTree, Kind, walk
from rescue.model.progress import CancelToken
from rescue.model.source import Source
from rescue.model.volume import Identity
from tests.unit.filesystems.volumes import FLIPS, Flip, SparseVolume

pytestmark = pytest.mark.engine

_TYPES = {
    "files-ext4": "ext4",
    "files-ext2": "ext2",
    "files-xfs": "xfs",
    "files-ntfs": "ntfs",
    "files-fat": "vfat",
    "files-exfat": "exfat",
}
_VOLUMES = {name: SparseVolume.load(f"{name}.xz") for name in _TYPES}
_MOST_READS = 60_000  # of the undamaged volumes, the one that takes most takes about a thousand


def _open(name: str, volume: Source) -> FileTree:
    return open_tree(volume, Identity(_TYPES[name], "filesystem"))


def _read_all(tree: FileTree) -> tuple[int, int]:
    """Every entry and what belongs to it; how many there were and how many bytes of content."""
    count = content = 0
    for entry in itertools.islice(walk(tree, tree.root()), 20_000):
        count += 1
        try:
            tree.xattrs(entry)
            if entry.kind is Kind.FILE and not entry.problem:
                after = 0
                for offset, data in itertools.islice(tree.read(entry), 64):
                    assert offset >= after
                    after = offset + len(data)
                    assert after <= entry.size
                    content += len(data)
            elif entry.kind is Kind.LINK:
                tree.readlink(entry)
        except RescueError:
            continue
    return count, content


@pytest.mark.parametrize("name", _TYPES)
def test_undamaged_volumes_hold_what_was_put_in(name: str) -> None:
    tree = _open(name, _VOLUMES[name])
    count, content = _read_all(tree)
    assert count >= 266
    assert content > 10_000
    assert b"".join(data for _, data in tree.read(tree.entry("file"))) == b"content " * 400
    assert len(list(tree.children(tree.entry("many")))) == 260


@pytest.mark.parametrize("name", _TYPES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flips=FLIPS)
def test_flipped_bytes_in_structures_give_errors_or_answers(name: str, flips: list[Flip]) -> None:
    volume = _VOLUMES[name]
    if not volume.reads:
        _read_all(_open(name, volume))
    twin = volume.copy()
    windows = sorted({offset for offset, _ in volume.reads})
    occupied = [block for block in sorted(twin._blocks) if any(w <= block * 4096 < w + 65536 for w in windows)]
    for which, place, mask in flips:
        position = occupied[which % len(occupied)] * 4096 + place % 4096
        twin.write(bytes([twin.pread(1, position)[0] ^ mask]), position)
    twin.reads.clear()
    with suppress(RescueError):
        _read_all(_open(name, twin))
    assert len(twin.reads) < _MOST_READS


@pytest.mark.parametrize("name", _TYPES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(flips=FLIPS, seed=st.integers(0, 1 << 30))
def test_copies_of_damaged_volumes_stay_in_their_folder(name: str, flips: list[Flip], seed: int, tmp_path: Path) -> None:
    twin = _VOLUMES[name].copy()
    occupied = sorted(twin._blocks)
    for which, place, mask in flips:
        position = occupied[(which + seed) % len(occupied)] * 4096 + place % 4096
        twin.write(bytes([twin.pread(1, position)[0] ^ mask]), position)
    base = tmp_path / str(len(list(tmp_path.iterdir())))
    (base / "out").mkdir(parents=True)
    beside = sorted(os.listdir(base))
    with suppress(RescueError):
        tree = _open(name, twin)
        extract(tree, [tree.root()], base / "out", token=CancelToken(), progress=lambda _: None, notify=lambda _: None)
    assert sorted(os.listdir(base)) == beside


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("times", [240, pytest.param(50_000, marks=pytest.mark.long)])
def test_damaged_numbers_in_structures(times: int) -> None:
    """Files, used maps and owners of damaged places, of every file system that is read here."""
    outcomes = campaign(times, times, hang=900)
    assert outcomes.total() == times
    assert {name for name, what in outcomes if what == "used"} == set(VOLUMES)
