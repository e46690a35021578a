"""Disks with sectors of 512 and of 4096 bytes, one onto the other: what the kernel and the file systems' own tools say of it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.devices.table import read_layout
from rescue.model.layout import Layout
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

# Name, MiB, type in sfdisk's words for a GPT and for an MBR.
_PARTS = (
    ("vfat", 300, "uefi", "ef"),
    ("ext4", 200, "linux", "83"),
    ("ext4-1k", 120, "linux", "83"),
    ("swap", 32, "swap", "82"),
    ("xfs", 400, "linux", "83"),
    ("btrfs", 300, "linux", "83"),
    ("exfat", 64, "linux", "07"),
    ("ntfs", 96, "linux", "07"),
)
_SIZE = 1700 * MIB


@dataclass(frozen=True)
class Source:
    """A disk file with sectors of 512 bytes, the files in each of its file systems, and their UUIDs."""

    path: Path
    files: dict[str, bytes]
    uuids: dict[str, str]


def _layout(path: Path, sector: int) -> Layout:
    with FileSource(path) as source:
        return read_layout(source, sector)


def _uuid(node: str) -> str:
    return run(["blkid", "--probe", "--output", "value", "--match-tag", "UUID", node]).text.strip()


def _fill(node: str, kind: str, files: dict[str, bytes], folder: Path) -> None:
    match kind:
        case "vfat":
            run(["mkfs.vfat", "-F", "32", "-n", "ESP", node])
            for name, content in files.items():
                (folder / name).write_bytes(content)
                run(["mcopy", "-i", node, str(folder / name), "::"])
        case "swap":
            run(["mkswap", "--label", "swap", node])
        case "exfat":
            run(["mkfs.exfat", "-L", "data", node])
        case "ntfs":
            run(["mkntfs", "-q", "-F", "-Q", "-p", "2048", "-H", "255", "-S", "63", node])
            for name, content in files.items():
                (folder / name).write_bytes(content)
                run(["ntfscp", "-q", node, str(folder / name), name])
        case _:
            options = {"ext4-1k": ["-q", "-b", "1024", "-L", "boot"], "ext4": ["-q", "-b", "4096"]}.get(kind, ["-q", "-L", kind])
            run([f"mkfs.{kind.removesuffix('-1k')}", *options, node])
            with mounted(node, folder / kind) as point:
                for name, content in files.items():
                    (point / name).write_bytes(content)
                os.link(point / "file-1", point / "link")
                os.setxattr(point / "file-1", "user.a", b"b")
                os.chown(point / "file-2", 1234, 4321)


@pytest.fixture(scope="module", params=["gpt", "dos"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Everything that Linux makes, on a disk with sectors of 512 bytes. On an MBR four of the partitions are logical."""
    folder = tmp_path_factory.mktemp(f"sectors-{request.param}")
    path = sparse(folder / "disk.raw", _SIZE)
    lines = [f"label: {request.param}"]
    for number, (_, size, guid, code) in enumerate(_PARTS):
        if request.param == "dos" and number == 3:
            lines.append("type=5")
        lines.append(f"size={size}MiB, type={guid if request.param == 'gpt' else code}")
    run(["sfdisk", "--quiet", str(path)], stdin="\n".join(lines).encode())
    files = {f"file-{number}": random.Random(number).randbytes(300_000 * number + 1) for number in range(8)}
    uuids = {}
    for (kind, *_), part in zip(_PARTS, _layout(path, 512).data_partitions, strict=True):
        with loop_device(str(path), offset=part.start, size=part.size, writable=True) as node:
            _fill(node, kind, files, folder)
            uuids[kind] = _uuid(node)
    return Source(path, files, uuids)


@contextmanager
def _node(path: Path, start: int, size: int, sector: int) -> Iterator[str]:
    """As the kernel would show it on a disk with such sectors: what counts in smaller blocks cannot be mounted there."""
    with loop_device(str(path), offset=start, size=size, sector_size=sector) as node:
        yield node


def _holds(path: Path, sector: int, source: Source, folder: Path) -> None:
    layout = _layout(path, sector)
    assert layout.sector_size == sector
    old = _layout(source.path, 512)
    assert not layout.problems
    assert [(p.number, p.type, p.uuid, p.name) for p in layout.data_partitions] == [
        (p.number, p.type, p.uuid, p.name) for p in old.data_partitions
    ]
    for (kind, *_), part in zip(_PARTS, layout.data_partitions, strict=True):
        with _node(path, part.start, part.size, sector) as node:
            assert _uuid(node) == source.uuids[kind]
            match kind:
                case "vfat":
                    run(["fsck.fat", "-n", node])
                    for name, content in source.files.items():
                        assert run(["mtype", "-i", node, f"::{name}"]).stdout == content
                    _boot_says(node, sector, part.start)
                case "exfat":
                    run(["fsck.exfat", "-n", node])
                    with open(node, "rb") as file:
                        boot = file.read(512)
                    assert 1 << boot[108] == sector
                    assert int.from_bytes(boot[64:72], "little") == part.start // sector
                case "ntfs":
                    run(["ntfsfix", "--no-action", node])
                    run(["ntfsresize", "--info", "--force", "--no-progress-bar", node])
                    for name, content in source.files.items():
                        assert run(["ntfscat", node, name]).stdout == content
                    _boot_says(node, sector, part.start)
                case "swap":
                    assert "swap" in run(["blkid", "-p", node]).text
                case _:
                    _check(kind, node)
                    options = "ro,norecovery" if kind == "xfs" else "ro"
                    with mounted(node, folder / kind, "-o", options) as point:
                        assert {
                            f.name: f.read_bytes() for f in point.iterdir() if f.is_file() and f.name != "link"
                        } == source.files
                        assert (point / "link").stat().st_ino == (point / "file-1").stat().st_ino
                        assert os.getxattr(point / "link", "user.a") == b"b"
                        assert (point / "file-2").stat().st_gid == 4321


def _check(kind: str, node: str) -> None:
    match kind:
        case "xfs":
            run(["xfs_repair", "-n", node])
        case "btrfs":
            run(["btrfs", "check", "--readonly", node])
        case _:
            run(["e2fsck", "-f", "-n", node])


def _boot_says(node: str, sector: int, start: int) -> None:
    with open(node, "rb") as file:
        boot = file.read(512)
    assert int.from_bytes(boot[11:13], "little") == sector
    assert int.from_bytes(boot[28:32], "little") == start // sector


@pytest.mark.parametrize("size", [_SIZE, 2 * GIB])
def test_from_512_to_4096_and_back(size: int, source: Source, tmp_path: Path) -> None:
    rescue = Rescue(tmp_path / "jobs")
    before = digest(source.path)
    rescue.ok("backup", source.path, tmp_path, "--name", "disk", "--no-verify")
    there = sparse(tmp_path / "there.raw", size)
    done = rescue.ok(
        "restore", tmp_path / "disk.img.zst", there, "--sector-size", "4096", "--yes", "--json", "--progress", "json"
    )
    assert json.loads(done.out)["facts"]["read_back"] is True
    assert "made anew" in done.err
    _holds(there, 4096, source, tmp_path)
    if _layout(there, 4096).label == "dos":
        return  # nothing in a file tells of the sectors of an MBR: it cannot be a source
    back = sparse(tmp_path / "back.raw", size)
    rescue.ok("clone", there, back, "--sector-size", "512", "--yes")
    _holds(back, 512, source, tmp_path)
    assert digest(source.path) == before


def test_sfdisk_reads_both_tables(source: Source, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", _SIZE)
    Rescue(tmp_path / "jobs").ok("clone", source.path, target, "--sector-size", "4096", "--yes", "--no-verify")
    told = {}
    for path, sector in ((source.path, 512), (target, 4096)):
        with loop_device(str(path), offset=0, size=_SIZE, sector_size=sector) as node:
            table = json.loads(run(["sfdisk", "--json", node]).text)["partitiontable"]
        assert table["sectorsize"] == sector
        told[sector] = [
            (p["start"] * sector, p["size"] * sector, p["type"], p.get("uuid"))
            for p in table["partitions"]
            if p["type"] not in ("5", "f")
        ]
    assert told[512] == told[4096]


def test_the_kernel_would_not_mount_the_old_ones_there(source: Source) -> None:
    """What is made anew has to be: as it was, the kernel refuses it on sectors of 4096 bytes."""
    for (kind, *_), part in zip(_PARTS, _layout(source.path, 512).data_partitions, strict=True):
        if kind in ("ext4-1k", "xfs"):
            with _node(source.path, part.start, part.size, 4096) as node:
                assert run(["mount", "-o", "ro", node, "/mnt"], ok=(32,)).code == 32


def test_the_plan_says_what_is_made_anew(source: Source, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", _SIZE)
    asked = ("clone", source.path, target, "--sector-size", "4096", "--dry-run", "--json")
    plan = json.loads(Rescue(tmp_path / "jobs").ok(*asked).out)
    text = " ".join(plan["sentences"])
    assert "for sectors of 4096 bytes; it was for 512" in text
    for kind in ("FAT", "exFAT", "xfs", "ext4", "NTFS"):
        assert f"Its {kind} is made anew, with the same UUID" in text
    assert "btrfs" not in text
    assert any("Boot loaders of BIOS computers" in warning for warning in plan["warnings"])
    assert plan["command"][-2:] == ["--sector-size", "4096"]
