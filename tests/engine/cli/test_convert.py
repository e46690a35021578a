"""GPT to MBR and back: in place with --undo, and on the target of a restore, by the word of sfdisk and sgdisk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rescue.devices.table import read_layout
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_SIZE = 256 * MIB


def _disk(path: Path, table: str) -> Path:
    """Three file systems, and noise where boot loaders lie."""
    sparse(path, _SIZE)
    with path.open("r+b") as file:
        file.write(bytes(range(256)) * (4 * MIB // 256 // 8))
    run(["sfdisk", "--quiet", "--wipe", "always", str(path)], stdin=table.encode())
    with FileSource(path) as source:
        layout = read_layout(source, 512)
    for part in layout.data_partitions:
        with loop_device(str(path), offset=part.start, size=part.size, writable=True) as node:
            run(["mkfs.ext4", "-q", "-F", "-L", f"part-{part.start // MIB}", node])
    return path


def _table(path: Path) -> list[tuple[int, int, str]]:
    found = json.loads(run(["sfdisk", "--json", str(path)]).text)["partitiontable"]
    return [(p["start"], p["size"], p["type"].upper()) for p in found["partitions"]]


def _label(path: Path) -> str:
    return str(json.loads(run(["sfdisk", "--json", str(path)]).text)["partitiontable"]["label"])


def _sound(path: Path, labels: list[str]) -> None:
    with FileSource(path) as source:
        layout = read_layout(source, 512)
    assert not layout.problems
    found = []
    for part in layout.data_partitions:
        with loop_device(str(path), offset=part.start, size=part.size) as node:
            run(["e2fsck", "-f", "-n", node])
            found.append(run(["blkid", "-p", "-o", "value", "-s", "LABEL", node]).text.strip())
    assert found == labels


_MBR = "label: dos\nsize=40MiB, type=83, bootable\nsize=40MiB, type=7\nsize=40MiB, type=82\n"
_LOGICAL = "label: dos\nsize=40MiB, type=83\ntype=5\nsize=40MiB, type=83\nsize=40MiB, type=83\n"
_GPT = "label: gpt\nsize=40MiB, type=linux\nsize=40MiB, type=uefi\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649\n"


@pytest.mark.parametrize("table", [_MBR, _LOGICAL])
def test_an_mbr_becomes_a_gpt_and_the_undo_gives_back_every_byte(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _disk(tmp_path / "disk.raw", table)
    with FileSource(path) as source:
        old = read_layout(source, 512).data_partitions
    labels = [f"part-{p.start // MIB}" for p in old]
    before, places = digest(path), [(p.start // 512, p.size // 512) for p in old]
    rescue = Rescue(tmp_path / "jobs")
    saved = tmp_path / "saved"
    rescue.ok("partition", path, "convert gpt", "--save", saved, "--yes")
    assert _label(path) == "gpt"
    assert [(start, size) for start, size, _ in _table(path)] == places
    assert "No problems found" in run(["sgdisk", "--verify", str(path)]).text
    _sound(path, labels)
    rescue.ok("partition", path, "--undo", saved, "--yes")
    assert digest(path) == before


def test_a_gpt_becomes_an_mbr(tmp_path: Path) -> None:
    path = _disk(tmp_path / "disk.raw", _GPT.replace("size=1MiB", "size=2MiB"))
    before = digest(path)
    rescue = Rescue(tmp_path / "jobs")
    shown = rescue.ok("partition", path, "convert mbr", "--dry-run").out
    text = " ".join(shown.split())
    assert "will not start by itself until" in text
    assert "BIOS boot" in text
    assert digest(path) == before
    saved = tmp_path / "saved"
    rescue.ok("partition", path, "convert mbr", "--save", saved, "--yes")
    assert _label(path) == "dos"
    assert [kind for _, _, kind in _table(path)] == ["83", "EF"]
    # Nothing is left that other systems could take for a GPT.
    assert "gpt" not in run(["wipefs", "--json", str(path)]).text.lower()
    _sound(path, ["part-1", "part-41"])
    rescue.ok("partition", path, "--undo", saved, "--yes")
    assert digest(path) == before


def test_operations_and_a_conversion_in_one_queue(tmp_path: Path) -> None:
    """What has no room is refused with the way out, and that way works."""
    path = _disk(tmp_path / "disk.raw", "label: dos\nsize=40MiB, type=83\ntype=83\n")
    rescue = Rescue(tmp_path / "jobs")
    before = digest(path)
    refused = rescue("partition", path, "convert gpt", "--yes", "--save", tmp_path / "a")
    assert refused.code == 3
    assert "its backup takes the last 16896 bytes of the disk, and partition 2 ends" in refused.err
    assert digest(path) == before
    way = refused.err.split("'")[1]
    assert way.startswith("resize 2 size=")
    rescue.ok("partition", path, way, "convert gpt", "--yes", "--save", tmp_path / "b")
    assert _label(path) == "gpt"
    _sound(path, ["part-1", "part-41"])


@pytest.mark.parametrize("how", ["restore", "clone"])
def test_the_target_gets_a_table_of_the_other_kind(how: str, tmp_path: Path) -> None:
    source = _disk(tmp_path / "disk.raw", _LOGICAL)
    rescue = Rescue(tmp_path / "jobs")
    taken = source
    if how == "restore":
        rescue.ok("backup", source, tmp_path, "--name", "disk", "--no-verify")
        taken = tmp_path / "disk.img.zst"
    target = sparse(tmp_path / "target.raw", _SIZE)
    rescue.ok(how, taken, target, "--table", "gpt", "--yes")
    assert _label(target) == "gpt"
    assert "No problems found" in run(["sgdisk", "--verify", str(target)]).text
    with FileSource(source) as file:
        labels = [f"part-{p.start // MIB}" for p in read_layout(file, 512).data_partitions]
    _sound(target, labels)
    back = sparse(tmp_path / "back.raw", _SIZE)
    rescue.ok("clone", target, back, "--table", "mbr", "--yes")
    assert _label(back) == "dos"
    _sound(back, labels)
    with (
        FileSource(back) as file,
        loop_device(str(back), offset=(part := read_layout(file, 512).data_partitions[-1]).start, size=part.size) as node,
        mounted(node, tmp_path / "mnt", "-o", "ro") as point,
    ):
        assert (point / "lost+found").is_dir()
