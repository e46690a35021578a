"""``rescue wipe`` on disk files with real file systems; wipefs is the judge of what is left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import attached, mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


def _found(path: Path, offset: int = 0) -> str:
    return run(["blkid", "-p", "-O", str(offset), str(path)], ok=(0, 2)).text


@pytest.fixture
def used(disk: Path, tmp_path: Path) -> Path:
    """A copy of the disk, to be wiped."""
    return Path(shutil.copy(disk, tmp_path / "used.raw"))


def test_quick_leaves_nothing_that_a_system_would_find(rescue: Rescue, used: Path) -> None:
    starts = [
        row["start"] for row in msgspec.json.decode(run(["sfdisk", "--json", str(used)]).stdout)["partitiontable"]["partitions"]
    ]
    assert any(_found(used, start * 512) for start in starts)
    result = rescue.ok("wipe", used, "--method", "quick", "--yes", "--json")
    facts = msgspec.json.decode(result.out)["facts"]
    assert facts["read_back"] is True
    assert facts["erased_bytes"] < 16 * MIB
    assert run(["wipefs", "--no-act", str(used)]).text == ""
    assert not any(_found(used, start * 512) for start in starts)
    run(["sfdisk", "--dump", str(used)], ok=(1,))
    assert "blank" in rescue.ok("disks", used).out


def test_zeros_leaves_zeros(rescue: Rescue, used: Path, tmp_path: Path) -> None:
    result = rescue.ok("wipe", used, "--method", "zeros", "--yes")
    assert "overwritten with zeros" in result.out
    assert "read back" in result.out
    assert digest(used) == digest(sparse(tmp_path / "zeros", used.stat().st_size))


@pytest.mark.parametrize("method", ["zeros", "quick"])
@pytest.mark.parametrize("through", ["file", "loop"])
def test_what_a_file_held_is_gone_from_the_file_system_that_holds_it(
    rescue: Rescue, tmp_path: Path, method: str, through: str
) -> None:
    holder = sparse(tmp_path / "holder.raw", 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(holder)])
    with attached(holder) as node, mounted(node, tmp_path / "mnt") as point:
        inner = sparse(point / "inner.raw", 32 * MIB)
        with inner.open("r+b") as file:
            for offset in (0, 31 * MIB, *([5 * MIB] if method == "zeros" else [])):
                file.seek(offset)
                file.write(b"SECRET-MARKER-17" * (MIB // 16))
            os.fsync(file.fileno())
        blocks = inner.stat().st_blocks
        assert b"SECRET-MARKER-17" in holder.read_bytes()
        if through == "file":
            rescue.ok("wipe", inner, "--method", method, "--yes")
            assert inner.stat().st_blocks == blocks  # in place, and holes stay holes
        else:
            with attached(inner) as device:
                rescue.ok("wipe", device, "--method", method, "--yes")
        os.sync()
        assert not any(inner.read_bytes())
    assert b"SECRET-MARKER-17" not in holder.read_bytes()


def test_zeros_on_a_block_device(rescue: Rescue, used: Path, tmp_path: Path) -> None:
    with attached(used) as node:
        assert "protected" in rescue("wipe", used, "--method", "quick", "--yes").err  # the loop device holds it
        rescue.ok("wipe", node, "--method", "zeros", "--yes")
    assert digest(used) == digest(sparse(tmp_path / "zeros", used.stat().st_size))


def test_a_dry_run_and_an_unconfirmed_one_change_nothing(rescue: Rescue, used: Path) -> None:
    before = digest(used)
    shown = rescue.ok("wipe", used, "--method", "quick", "--dry-run").out
    assert "Partition 2, ext4, “root”" in shown
    assert msgspec.json.decode(rescue.ok("wipe", used, "--method", "zeros", "--dry-run", "--json").out)["kind"] == "wipe"
    refused = rescue("wipe", used, "--method", "quick")
    assert refused.code == 3
    assert "nobody is here to confirm" in refused.err
    assert digest(used) == before


def test_what_is_in_use_is_refused(rescue: Rescue, tmp_path: Path) -> None:
    path = sparse(tmp_path / "x.raw", 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(path)])
    before = digest(path)
    with attached(path) as node, mounted(node, tmp_path / "mnt"):
        for target in (path, node):
            result = rescue("wipe", target, "--method", "quick", "--yes")
            assert result.code == 3, result
            assert "mounted at" in result.err
    run(["e2fsck", "-fn", str(path)])
    assert rescue("wipe", path, "--method", "sanitize", "--yes").code == 3
    assert "is a file" in rescue("wipe", path, "--method", "sanitize", "--yes").err
    assert rescue("wipe", path).code == 2
    assert before


def test_cancelled_it_says_so_and_goes_on(rescue: Rescue, tmp_path: Path) -> None:
    path = sparse(tmp_path / "big.raw", 6 * 1024 * GIB)
    with path.open("r+b") as file:
        file.write(b"x" * MIB)
        file.seek(-MIB, os.SEEK_END)
        file.write(b"y" * MIB)
    command = rescue.start("wipe", path, "--method", "zeros", "--yes", "--no-verify")
    result = rescue.cancelled(command, 0, 1 * GIB)
    assert result.code == 130, result
    assert "only partly wiped" in result.err
    with path.open("rb") as file:
        file.seek(-MIB, os.SEEK_END)
        assert file.read() == b"y" * MIB
