"""Files of btrfs out of an image and a disk, which takes mounting: the same as on the source, and nothing is left behind."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.cli.main import main
from rescue.images.chain import Chain
from rescue.images.format import RowKind
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_BIG = 3 * MIB


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = sparse(tmp_path_factory.mktemp("btrfs") / "disk.raw", 256 * MIB)
    run(["mkfs.btrfs", "-q", str(path)])
    with attached(path) as device, mounted(device, path.parent / "point") as point:
        run(["btrfs", "subvolume", "create", str(point / "@home")])
        home = point / "@home" / "anna"
        home.mkdir()
        (home / "big").write_bytes(os.urandom(_BIG))
        (home / "note").write_text("hello")
        os.chown(home / "note", 1000, 1001)
        (home / "note").chmod(0o640)
        os.setxattr(home / "note", "user.colour", b"blue")
        os.link(home / "note", home / "again")
        (home / "way").symlink_to("../../etc/passwd")
    return path


@pytest.fixture(scope="module")
def image(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    Rescue(folder / "jobs").ok("backup", disk, folder, "--name", "b", "--no-verify", "--level", "1")
    return folder / "b.img.zst"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = _traces()
    yield
    deadline = time.monotonic() + 60
    while left := _traces() - before:
        assert time.monotonic() < deadline, left  # those of other tests, which run beside this one, come and go
        time.sleep(0.2)


def _traces() -> set[str]:
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if "rescue-" in line]
    loops = run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]).text
    return {*mounts, *(line for line in loops.splitlines() if "rescue-" in line)}


@pytest.mark.parametrize("what", ["image", "disk"])
def test_listed_and_copied(what: str, rescue: Rescue, image: Path, disk: Path, tmp_path: Path) -> None:
    source = image if what == "image" else disk
    before = digest(source)
    names = {entry["path"] for entry in json.loads(rescue.ok("ls", source, "0:/@home/anna", "--json").out)}
    assert names == {f"@home/anna/{name}" for name in ("big", "note", "again", "way")}
    assert "@home/anna/note" in rescue.ok("ls", source, "0:", "--search", "not").out
    rescue.ok("extract", source, "0:/@home/anna", tmp_path / "out")
    with attached(disk, "--read-only") as device, mounted(device, tmp_path / "point", "-o", "ro") as point:
        assert digest(tmp_path / "out" / "anna" / "big") == digest(point / "@home" / "anna" / "big")
    note = (tmp_path / "out" / "anna" / "note").stat()
    assert (note.st_uid, note.st_gid, stat.S_IMODE(note.st_mode), note.st_nlink) == (1000, 1001, 0o640, 2)
    assert os.getxattr(tmp_path / "out" / "anna" / "note", "user.colour") == b"blue"
    assert os.readlink(tmp_path / "out" / "anna" / "way") == "../../etc/passwd"
    assert digest(source) == before


def test_the_same_btrfs_is_mounted(rescue: Rescue, image: Path, disk: Path, tmp_path: Path) -> None:
    """The kernel must not take the one for the other."""
    copy = tmp_path / "copy.raw"
    run(["cp", "--reflink=auto", str(disk), str(copy)])
    with attached(copy) as device, mounted(device, tmp_path / "point") as point:
        (point / "only-here").touch()
        os.sync()
        assert "only-here" not in rescue.ok("ls", image, "0:/").out
        assert "@home" in rescue.ok("ls", image, "0:/").out


def test_damage_is_named(rescue: Rescue, image: Path, tmp_path: Path) -> None:
    """A file that lies on a damaged place of the image is not copied, and the place is said; the others are."""
    damaged = tmp_path / "damaged.img.zst"
    run(["cp", str(image), str(damaged)])
    with Chain(image) as chain:
        row = max((row for row in chain.rows() if row.kind == RowKind.DATA), key=lambda row: row.frame_length)
    with damaged.open("r+b") as file:
        file.seek(row.frame_offset + row.frame_length // 2)
        file.write(os.urandom(64))
    result = rescue("extract", damaged, "0:/@home/anna", tmp_path / "out")
    assert result.code == 1
    assert "@home/anna/big was not copied" in result.err
    assert f"{damaged} is damaged: the data for" in result.err
    assert (tmp_path / "out" / "anna" / "note").read_text() == "hello"


def test_without_root(image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["ls", str(image), "0:/"]) == 1
    assert "Files on btrfs are read by mounting it, which only root may.\nRun it with sudo." in capsys.readouterr().err
