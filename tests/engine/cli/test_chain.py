"""Backups upon backups as a person makes them: real file systems, days apart, restored and compared byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import sparse

pytestmark = pytest.mark.engine

_READER = Path(__file__).parents[3] / "docs" / "read-image.py"
_OFFSET = MIB
_SIZE = 96 * MIB


def _disk(folder: Path) -> Path:
    path = sparse(folder / "laptop.raw", _SIZE + 2 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=f"label: gpt\nstart=2048, size={_SIZE // 512}, type=L\n".encode())
    tree = folder / "tree"
    tree.mkdir()
    for number in range(30):
        (tree / f"file-{number}").write_bytes(bytes([number]) * 700_000 + number.to_bytes(4, "little") * 70_000)
    run(["mkfs.ext4", "-q", "-F", "-d", str(tree), "-E", f"offset={_OFFSET}", str(path), "96m"])
    return path


def _a_day_passes(path: Path, number: int) -> None:
    """One file goes, another comes, by the file system's own tool."""
    new = path.with_name(f"new-{number}")
    new.write_bytes(number.to_bytes(4, "big") * 400_000)
    script = f"rm file-{number}\nwrite {new} new-{number}\n"
    run(["debugfs", "-w", "-f", "/dev/stdin", f"{path}?offset={_OFFSET}"], stdin=script.encode())
    run(["e2fsck", "-fn", f"{path}?offset={_OFFSET}"])


def _files(path: Path) -> str:
    return run(["debugfs", "-R", "ls -p /", f"{path}?offset={_OFFSET}"]).text


def test_three_days(rescue: Rescue, tmp_path: Path) -> None:
    disk, dest, target = _disk(tmp_path), tmp_path / "dest", tmp_path / "target"
    dest.mkdir()
    given: dict[str, tuple[bytes, str]] = {}
    for number, (name, kind) in enumerate((("one.img.zst", "full"), ("two.rimg", "incremental"), ("three.rimg", "differential"))):
        if number:
            _a_day_passes(disk, number)
        rescue.ok("backup", disk, dest, "--name", name, "--kind", kind)
        rescue.ok("verify", dest / name, "--against", disk)
        alone = tmp_path / "alone"
        run([sys.executable, str(_READER), str(dest / name), str(alone)], timeout=120)
        given[name] = (alone.read_bytes(), _files(disk))
        alone.unlink()
    assert (dest / "two.rimg").stat().st_size < (dest / "one.img.zst").stat().st_size
    with subprocess.Popen(["zstd", "-dcq", str(dest / "one.img.zst")], stdout=subprocess.PIPE) as child:
        assert child.communicate()[0] == given["one.img.zst"][0]
    for name, (content, files) in given.items():
        target.unlink(missing_ok=True)
        sparse(target, _SIZE + 2 * MIB)
        rescue.ok("restore", dest / name, target, "--yes", "--no-delta")
        assert target.read_bytes() == content
        assert _files(target) == files
    # From the third day back to the first, by the difference.
    rescue.ok("restore", dest / "one.img.zst", target, "--yes", "--delta")
    assert _files(target) == given["one.img.zst"][1]
    run(["e2fsck", "-fn", f"{target}?offset={_OFFSET}"])
    listed = rescue.ok("list", dest).out
    assert all(name in listed for name in given)


def test_nothing_is_built_upon_damage(rescue: Rescue, tmp_path: Path) -> None:
    """A check finds an image damaged: the next backup is a full one, says why, and can be restored."""
    disk, dest = _disk(tmp_path), tmp_path / "dest"
    dest.mkdir()
    rescue.ok("backup", disk, dest, "--name", "one", "--no-verify")
    with (dest / "one.img.zst").open("r+b") as file:
        file.seek((dest / "one.img.zst").stat().st_size // 2)
        file.write(bytes(64))
    assert rescue("verify", dest).code == 4
    _a_day_passes(disk, 1)
    command = ("backup", disk, dest, "--name", "two")
    assert "one.img.zst failed its last check: nothing is made upon it" in rescue.ok(*command, "--dry-run").out
    refused = rescue(*command, "--kind", "incremental")
    assert refused.code == 3
    rescue.ok(*command)
    rescue.ok("verify", dest / "two.img.zst", "--against", disk)


def test_what_is_missing_is_said_first(rescue: Rescue, tmp_path: Path) -> None:
    disk, dest, target = _disk(tmp_path), tmp_path / "dest", tmp_path / "target"
    dest.mkdir()
    rescue.ok("backup", disk, dest, "--name", "one")
    _a_day_passes(disk, 1)
    rescue.ok("backup", disk, dest, "--name", "two")
    (dest / "one.img.zst").rename(tmp_path / "one.img.zst")
    target.write_bytes(b"\xa5" * (_SIZE + 2 * MIB))
    result = rescue("restore", dest / "two.rimg", target, "--yes")
    assert result.code == 4
    assert "one.img.zst" in result.err
    assert "of partition 1" in result.err
    assert target.read_bytes() == b"\xa5" * (_SIZE + 2 * MIB)
    assert "one.img.zst" in rescue("list", dest).out
    assert rescue("verify", dest / "two.rimg").code == 4
    # Without a whole image of this disk the next one is full again.
    rescue.ok("backup", disk, dest, "--name", "three")
    assert (dest / "three.img.zst").exists()


def test_a_parent_in_another_folder_or_of_another_disk_is_refused(rescue: Rescue, tmp_path: Path) -> None:
    disk, dest, elsewhere = _disk(tmp_path), tmp_path / "dest", tmp_path / "elsewhere"
    dest.mkdir()
    elsewhere.mkdir()
    rescue.ok("backup", disk, elsewhere, "--name", "one")
    result = rescue("backup", disk, dest, "--parent", elsewhere / "one.img.zst")
    assert result.code == 3
    assert "have to be in one folder" in result.err
    other = tmp_path / "other.raw"
    other.write_bytes(disk.read_bytes())
    run(["sfdisk", "--disk-id", str(other), "0F3B1E5C-0000-4000-8000-000000000001"])
    result = rescue("backup", other, elsewhere, "--parent", elsewhere / "one.img.zst")
    assert result.code == 3
    assert "another disk" in result.err
    assert not list(dest.iterdir())


def test_two_backups_at_the_same_moment(rescue: Rescue, tmp_path: Path) -> None:
    disk, dest = _disk(tmp_path), tmp_path / "dest"
    dest.mkdir()
    rescue.ok("backup", disk, dest, "--name", "one")
    _a_day_passes(disk, 1)
    both = [rescue.start("backup", disk, dest, "--name", name) for name in ("two", "three")]
    assert [rescue.finish(process).code for process in both] == [0, 0]
    for name in ("two", "three"):
        assert (dest / f"{name}.rimg").exists()
        rescue.ok("verify", dest / f"{name}.rimg")
        rescue.ok("verify", dest / f"{name}.rimg", "--against", disk)
