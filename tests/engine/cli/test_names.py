"""Images, folders and disks whose names are no UTF-8."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small disk with a file system, of such a name."""
    path = sparse(tmp_path / os.fsdecode(b"disk\xfd.img"), 16 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(path)])
    return path


def test_every_command_takes_them(rescue: Rescue, small: Path, tmp_path: Path) -> None:
    store = tmp_path / os.fsdecode(b"store\xfe")
    store.mkdir()
    made = json.loads(rescue.ok("backup", small, store, "--json").out)
    full = store / os.fsdecode(b"k\xffk.img.zst")
    Path(os.fsdecode(bytes.fromhex(made["facts"]["image_bytes"]))).rename(full)
    with small.open("r+b") as disk:
        disk.seek(9 * MIB)
        disk.write(b"changed")
    rescue.ok("backup", small, store, "--name", "upon")
    assert [image["name"] for image in json.loads(rescue.ok("list", store, "--json").out)] == ["upon.rimg", "k\\xffk.img.zst"]
    assert json.loads(rescue.ok("info", full, "--json").out)["name_bytes"] == b"k\xffk.img.zst".hex()
    rescue.ok("verify", store)
    assert "k\\xffk.img.zst is whole" in rescue.ok("verify", full).out
    rescue.ok("restore", store / "upon.rimg", tmp_path / os.fsdecode(b"back\xfc.img"))
    assert digest(tmp_path / os.fsdecode(b"back\xfc.img")) == digest(small)
    rescue.ok("export", full, tmp_path / os.fsdecode(b"out\xfb.raw"))
    rescue.ok("consolidate", store / "upon.rimg", store, "--name", "alone")
    pruned = json.loads(rescue.ok("prune", store, "--keep-last", "1", "--yes", "--json").out)
    assert b"k\xffk.img.zst".hex() in pruned["facts"]["removed_bytes"]
    assert sorted(path.name for path in store.iterdir() if not path.name.endswith(".json")) == ["alone.img.zst"]
    rescue.ok("backup", small, store, "--name", "hard", "--salvage")
    rescue.ok("partition", small, "table gpt", "create", "--yes", "--save", tmp_path / "saved")


def test_a_new_name_has_to_be_text(rescue: Rescue, small: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    result = rescue("backup", small, store, "--name", os.fsdecode(b"bad\xff"))
    assert result.code == 2
    assert "bad\\xff.img.zst cannot be the name of an image: it holds bytes that are no UTF-8." in result.err
    assert not list(store.iterdir())
