"""A resize in place: there is no other copy, so nothing that stops the job may end what writes on it."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from rescue.engine.btrfs_identity import as_another
from rescue.engine.editing import resize_volume
from rescue.engine.resizing import shrink_btrfs
from rescue.errors import CancelledError
from rescue.filesystems.ext_superblock import read_superblock
from rescue.filesystems.identify import identify
from rescue.model.source import SliceSource
from rescue.system.blockfile import FileSource
from rescue.system.run import PATH, run
from rescue.units import MIB
from tests.engine.devices.loops import attached
from tests.engine.filesystems.oracle import describe, fill
from tests.engine.fit.volumes import START, make, opened

pytestmark = pytest.mark.engine


def _slow(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program of this name first that says that it began, takes a second longer, and does what it does."""
    begun = folder / "begun"
    real = shutil.which(program, path=PATH)
    shim = folder / program
    shim.write_text(f'#!/bin/sh\ntouch {begun}\nsleep 1\nexec {real} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setattr("rescue.system.process.PATH", f"{folder}:{PATH}")
    return begun


@pytest.mark.parametrize(("kind", "program"), [("ext4", "resize2fs"), ("ntfs", "ntfsresize")])
@pytest.mark.parametrize("larger", [False, True])
def test_what_has_begun_to_write_is_waited_for(
    kind: str, program: str, larger: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 400 * MIB
    disk = make(tmp_path / "disk", kind, size, behind=200 * MIB)
    with opened(disk.path, disk.start, disk.end, kind) as root:
        fill(root / "files", 1, 60 * MIB)
        tree = describe(root)
    begun = _slow(tmp_path, program, monkeypatch)

    def stop() -> None:
        if begun.exists():
            raise CancelledError("stopped")

    new = 550 * MIB if larger else 200 * MIB
    said = resize_volume(str(disk.path), disk.start, disk.end, disk.start + new, disk.identity, stop)
    assert begun.exists()
    assert said
    with opened(disk.path, START, START + new, kind, "ro") as root:
        assert describe(root) == tree
    with attached(disk.path, "--offset", str(START), "--sizelimit", str(new)) as node:
        run(["e2fsck", "-f", "-n", node] if kind == "ext4" else ["ntfsfix", "-n", node])
    if kind == "ext4":
        with FileSource(disk.path) as source:
            found = read_superblock(SliceSource(source, START, START + new))
        assert found.blocks * found.block_size == new


def test_stopped_before_it_began_nothing_is_written(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "ext4", 400 * MIB)

    def stop() -> None:
        raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        resize_volume(str(disk.path), disk.start, disk.end, disk.start + 200 * MIB, disk.identity, stop)
    assert identify(str(disk.path), disk.start, 400 * MIB) == disk.identity


@pytest.mark.parametrize("kind", ["btrfs", "btrfs-xxhash"])
def test_a_btrfs_is_again_who_it_was_when_a_cut_off_resize_is_repeated(kind: str, tmp_path: Path) -> None:
    """It has another UUID for as long as its kernel driver works on it."""
    disk = make(tmp_path / "disk", kind, 600 * MIB)
    with opened(disk.path, disk.start, disk.end, "btrfs") as root:
        fill(root / "files", 1, 60 * MIB)
        tree = describe(root)
    with attached(disk.path, "--offset", str(disk.start), "--sizelimit", str(600 * MIB)) as node:
        before = _first_superblock(node)
        context = as_another(node)
        context.__enter__()  # and never left: the power is cut
        assert _first_superblock(node) != before
        assert uuid.UUID(disk.identity.uuid).bytes not in _first_superblock(node)[32:48]
        shrink_btrfs(node, 400 * MIB, lambda: None)
        run(["btrfs", "check", node])
    assert identify(str(disk.path), disk.start, 600 * MIB) == disk.identity
    with opened(disk.path, disk.start, disk.end, "btrfs", "ro") as root:
        assert describe(root) == tree


def _first_superblock(node: str) -> bytes:
    with FileSource(node) as volume:
        return volume.pread(4096, 64 << 10)
