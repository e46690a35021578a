"""Any disk onto any disk: partitions are fitted, file systems shrunk on the way and grown afterwards, by the command line."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.devices.table import read_layout
from rescue.model.extents import ExtentMap
from rescue.model.layout import Partition
from rescue.system.blockfile import FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.cli.failing import failing_disk
from tests.engine.devices.loops import mounted, sparse
from tests.hashes import digest

pytestmark = pytest.mark.engine

_SIZE = 3 * GIB
_PARTS = (("U", 48, "vfat"), ("L", 900, "ext4"), ("L", 900, "ntfs"), ("S", 64, "swap"), ("L", 900, "btrfs"), ("L", 120, ""))
_FILES = 12


@dataclass(frozen=True)
class Source:
    """A disk file, the files in each of its file systems with their hashes, and its image."""

    path: Path
    sums: str
    image: Path


@pytest.fixture(scope="module", params=["gpt", "dos"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """ESP, ext4, NTFS, swap, btrfs and a partition of noise. On an MBR the last ones are logical."""
    folder = tmp_path_factory.mktemp(f"fit-{request.param}")
    tree = folder / "tree"
    tree.mkdir()
    for number in range(_FILES):
        (tree / f"file-{number}").write_bytes(os.urandom(random.Random(number).randrange(4 * MIB)))
    path = sparse(folder / "disk.raw", _SIZE)
    kinds = {"U": "uefi", "L": "linux", "S": "swap"} if request.param == "gpt" else {"U": "ef", "L": "83", "S": "82"}
    lines = [f"label: {request.param}"]
    for number, (kind, size, _) in enumerate(_PARTS):
        if request.param == "dos" and number == 3:
            lines.append("type=5")
        lines.append(f"size={size}MiB, type={kinds[kind]}")
    run(["sfdisk", "--quiet", str(path)], stdin="\n".join(lines).encode())
    volume = folder / "volume"
    for partition, (_, _, filesystem) in zip(_parts(path), _PARTS, strict=True):
        sparse(volume, partition.size)
        match filesystem:
            case "vfat":
                run(["mkfs.vfat", "-n", "ESP", str(volume)])
                run(["mcopy", "-i", str(volume), *map(str, sorted(tree.iterdir())), "::"])
            case "ext4":
                run(["mkfs.ext4", "-q", "-F", "-L", "root", "-d", str(tree), str(volume)])
            case "ntfs":
                run(["mkfs.ntfs", "-q", "-F", "-f", "-L", "win", "-p", str(partition.start // 512), str(volume)])
                for file in tree.iterdir():
                    run(["ntfscp", "-q", str(volume), str(file), file.name])
            case "swap":
                run(["mkswap", "-L", "swap", str(volume)])
            case "btrfs":
                run(["mkfs.btrfs", "-q", "-L", "data", "-r", str(tree), str(volume)])
            case _:
                volume.write_bytes(os.urandom(partition.size))
        run(["dd", f"if={volume}", f"of={path}", "bs=1M", f"seek={partition.start}", "oflag=seek_bytes", "conv=notrunc,sparse"])
        volume.unlink()
    Rescue(folder / "jobs").ok("backup", path, folder, "--name", "disk", "--no-verify")
    return Source(path, _sums(tree), folder / "disk.img.zst")


def _parts(path: Path) -> tuple[Partition, ...]:
    with FileSource(path) as source:
        return read_layout(source, 512).data_partitions


def _sums(folder: Path) -> str:
    return "".join(f"{file.name} {digest(file)}\n" for file in sorted(folder.iterdir()) if file.is_file())


def _holds(path: Path, source: Source, folder: Path) -> None:
    """Every file system is sound by its own check and fills its partition, and every file in it is the same."""
    before, after = _parts(source.path), _parts(path)
    assert [(p.number, p.type, p.uuid, p.name) for p in after] == [(p.number, p.type, p.uuid, p.name) for p in before]
    _sound(path, source, folder)


def _sound(path: Path, source: Source, folder: Path) -> None:
    """The same of what is there."""
    after = {p.number: p for p in _parts(path)}
    for old, (_, _, filesystem) in zip(_parts(source.path), _PARTS, strict=True):
        new = after.get(old.number)
        if new is None:
            continue
        assert new.start % MIB == 0 or (new.start, new.end) == (old.start, old.end)
        with loop_device(str(path), offset=new.start, size=new.size) as node:
            match filesystem:
                case "vfat":
                    run(["fsck.fat", "-n", str(node)])
                case "ext4":
                    run(["e2fsck", "-f", "-n", str(node)])
                    with mounted(node, folder / "ext4", "-o", "ro"):
                        assert _sums(folder / "ext4") == source.sums
                        assert _fills(folder / "ext4", new.size)
                case "ntfs":
                    run(["ntfsfix", "-n", str(node)])
                    out = folder / "ntfs"
                    out.mkdir()
                    for line in source.sums.splitlines():
                        name = line.split()[0]
                        (out / name).write_bytes(run(["ntfscat", str(node), name]).stdout)
                    assert _sums(out) == source.sums
                    shutil.rmtree(out)
                    with open(node, "rb") as boot:
                        assert int.from_bytes(boot.read(512)[28:32], "little") == new.start // 512
                case "swap":
                    assert b"swap" in run(["blkid", "-p", "-o", "export", str(node)]).stdout
                case "btrfs":
                    run(["btrfs", "check", "--readonly", str(node)])
                    with mounted(node, folder / "btrfs", "-o", "ro"):
                        assert _sums(folder / "btrfs") == source.sums
                        assert _fills(folder / "btrfs", new.size)
                case _:
                    with source.path.open("rb") as one, path.open("rb") as other:
                        one.seek(old.start)
                        other.seek(new.start)
                        assert one.read(old.size) == other.read(new.size)


def _fills(folder: Path, size: int) -> bool:
    found = os.statvfs(folder)
    if size < 200 * MIB:  # its own structures take more than a tenth
        return found.f_blocks > 0
    return found.f_blocks * found.f_frsize > size * 0.9


@pytest.mark.parametrize("size", [1300 * MIB, 6 * GIB])
@pytest.mark.parametrize("how", ["restore", "clone"])
def test_smaller_and_larger(how: str, size: int, source: Source, tmp_path: Path) -> None:
    before = digest(source.path)
    target = sparse(tmp_path / "target.raw", size)
    taken = source.image if how == "restore" else source.path
    done = Rescue(tmp_path / "jobs").ok(how, taken, target, "--fit", "auto", "--yes", "--json")
    assert "fitted to it" in done.out
    _holds(target, source, tmp_path)
    assert digest(source.path) == before


def test_what_cannot_be_read_of_a_volume_that_becomes_smaller_is_named(source: Source, tmp_path: Path) -> None:
    """It is a file's, which resize2fs does not need to see: the copy finds it."""
    ext4 = next(p for p, (_, _, kind) in zip(_parts(source.path), _PARTS, strict=True) if kind == "ext4")
    with loop_device(str(source.path), offset=ext4.start, size=ext4.size) as node:
        block = int(run(["debugfs", "-R", "bmap file-3 2", str(node)]).text.split()[-1])
    bad = ext4.start + block * 4096
    disk, target = tmp_path / "failing.raw", sparse(tmp_path / "target.raw", 1300 * MIB)
    with failing_disk(source.path, disk, ExtentMap([(bad, bad + 4096)])):
        result = Rescue(tmp_path / "jobs")("clone", disk, target, "--yes")
    assert result.code == 1
    said = re.search(rf"{disk} cannot be read at byte (\d+), which is byte (\d+) of partition {ext4.number} ", result.err)
    assert said is not None, result.err
    assert bad - 8 * MIB <= int(said[1]) <= bad
    assert int(said[1]) - int(said[2]) == ext4.start
    assert not _parts(target)


def test_what_is_wished_for(source: Source, tmp_path: Path) -> None:
    """One as small as can be, one with a size of its own, one that takes the rest, one left out, and another order."""
    target = sparse(tmp_path / "target.raw", 3 * GIB)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    numbers = [p.number for p in _parts(source.path)]
    esp, ext4, ntfs, swap, btrfs, noise = numbers
    wishes = ["--size", f"{ext4}=min", "--size", f"{ntfs}=500MiB", "--size", f"{btrfs}=max", "--leave-out", str(noise)]
    order = ["--order", ",".join(map(str, (ntfs, esp, ext4, swap, btrfs)))]
    rescue = Rescue(tmp_path / "jobs")
    asked = ["restore", str(source.image), str(target), *wishes, *order, "--overlay", str(overlay)]
    said = json.loads(rescue.ok(*asked, "--dry-run", "--json").out)
    assert said["command"][4:] == ["--fit", "auto", *wishes, *order, "--overlay", str(overlay)]
    assert any(f"in {overlay} until that is done" in sentence for sentence in said["sentences"])
    run(["mount", "-t", "tmpfs", "-o", "size=1M", "small", str(overlay)])
    try:
        for command in (asked, ["clone", str(source.path), *asked[2:]]):
            refused = rescue(*command, "--yes")
            assert refused.code == 3
            assert f"{overlay} has 1.0 MiB free" in refused.err
            assert "is not written, or only partly" not in refused.err
    finally:
        run(["umount", str(overlay)])
    with target.open("rb") as file:
        assert not any(file.read(MIB))
    rescue.ok(*asked, "--yes")
    assert list(overlay.iterdir()) == []
    found = {p.number: p for p in _parts(target)}
    assert [p.number for p in sorted(found.values(), key=lambda p: p.start)] == [ntfs, esp, ext4, swap, btrfs]
    old = {p.number: p for p in _parts(source.path)}
    assert found[ntfs].size == 500 * MIB
    assert found[ext4].size < 200 * MIB
    assert found[swap].size == old[swap].size
    assert found[esp].size == old[esp].size
    assert found[btrfs].end >= 3 * GIB - 2 * MIB
    _sound(target, source, tmp_path)


@pytest.mark.parametrize(
    ("wishes", "code", "says"),
    [
        (["--size", "2=10MiB"], 3, "Partition 2 cannot be made smaller than"),
        (["--size", "2=5GiB"], 3, "the disk is too small by"),
        (["--size", "1=200MiB"], 3, "Partition 1 cannot be made larger than it is, 48.0 MiB"),
        (["--size", "2=300MiB", "--salvage"], 3, "--salvage cannot be fitted"),
        (["--size", "2=300MiB", "--overlay", "/nowhere/at/all"], 2, "/nowhere/at/all is no folder"),
        (["--order", "3,2,1"], 2, "must name every partition"),
    ],
)
def test_what_cannot_be(wishes: list[str], code: int, says: str, source: Source, tmp_path: Path) -> None:
    """Refused with numbers, and nothing is written."""
    target = sparse(tmp_path / "target.raw", 3 * GIB)
    refused = Rescue(tmp_path / "jobs")("restore", source.image, target, *wishes, "--yes")
    assert refused.code == code
    assert says in refused.err
    with target.open("rb") as file:
        assert not any(file.read(MIB))


def test_a_smaller_disk_needs_no_option(source: Source, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", 2 * GIB)
    Rescue(tmp_path / "jobs").ok("restore", source.image, target, "--yes")
    _holds(target, source, tmp_path)


def test_too_small_for_the_data(source: Source, tmp_path: Path) -> None:
    """The refusal says by how much; a disk that is larger by just that does it."""
    rescue = Rescue(tmp_path / "jobs")
    target = sparse(tmp_path / "target.raw", 500 * MIB)
    refused = rescue("restore", source.image, target, "--yes")
    assert refused.code == 3
    assert "The partitions do not fit" in refused.err
    assert digest(target) == digest(sparse(tmp_path / "empty", 500 * MIB))
    needed = int(refused.err.split("at least ")[1].split(" bytes")[0])
    assert rescue("restore", source.image, sparse(target, needed - MIB), "--yes", "--dry-run").code == 3
    rescue.ok("restore", source.image, sparse(target, needed), "--yes")
    _holds(target, source, tmp_path)


def test_same_is_refused_on_a_smaller_disk(source: Source, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", 2 * GIB)
    refused = Rescue(tmp_path / "jobs")("restore", source.image, target, "--fit", "same", "--yes")
    assert refused.code == 3
    assert "too small" in refused.err


def test_the_plan_says_what_changes(source: Source, tmp_path: Path) -> None:
    target = sparse(tmp_path / "target.raw", 2 * GIB)
    plan = json.loads(Rescue(tmp_path / "jobs").ok("restore", source.image, target, "--dry-run", "--json").out)
    assert any("Partition 2 becomes smaller" in sentence for sentence in plan["sentences"])
    assert plan["command"][-2:] == ["--fit", "auto"]


def test_what_no_tool_makes_smaller_is_made_anew(tmp_path: Path) -> None:
    """xfs with hard links and attributes, FAT, and swap that gives way: the same UUIDs, and every file."""
    path = sparse(tmp_path / "disk.raw", 2 * GIB)
    table = "label: gpt\nsize=300MiB, type=linux\nsize=900MiB, type=linux\nsize=700MiB, type=swap\n"
    run(["sfdisk", "--quiet", str(path)], stdin=table.encode())
    fat, xfs, swap = _parts(path)
    files = {f"file-{number}": os.urandom(random.Random(number).randrange(2 * MIB)) for number in range(9)}
    with loop_device(str(path), offset=fat.start, size=fat.size, writable=True) as node:
        run(["mkfs.vfat", "-n", "DATA", node])
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            run(["mcopy", "-i", node, str(tmp_path / name), "::"])
    with loop_device(str(path), offset=xfs.start, size=xfs.size, writable=True) as node:
        run(["mkfs.xfs", "-q", "-L", "xroot", node])
        with mounted(node, tmp_path / "xfs") as point:
            for name, content in files.items():
                (point / name).write_bytes(content)
            os.link(point / "file-1", point / "link")
            os.setxattr(point / "link", "user.a", b"b")
            os.chown(point / "file-2", 1234, 4321)
        uuid = run(["blkid", "-p", "-o", "value", "-s", "UUID", node]).text
    with loop_device(str(path), offset=swap.start, size=swap.size, writable=True) as node:
        run(["mkswap", node])
    rescue = Rescue(tmp_path / "jobs")
    before = digest(path)
    target = sparse(tmp_path / "target.raw", 600 * MIB)
    said = rescue.ok("clone", path, target, "--yes", "--json", "--progress", "json")
    assert "made anew" in said.err
    assert digest(path) == before
    fat, xfs, swap = _parts(target)
    with loop_device(str(target), offset=fat.start, size=fat.size) as node:
        run(["fsck.fat", "-n", node])
        for name, content in files.items():
            assert run(["mtype", "-i", node, f"::{name}"]).stdout == content
    with loop_device(str(target), offset=xfs.start, size=xfs.size) as node:
        run(["xfs_repair", "-n", node])
        assert run(["blkid", "-p", "-o", "value", "-s", "UUID", node]).text == uuid
        with mounted(node, tmp_path / "xfs", "-o", "ro,norecovery") as point:
            assert {file.name: file.read_bytes() for file in point.iterdir() if file.name != "link"} == files
            assert (point / "link").stat().st_ino == (point / "file-1").stat().st_ino
            assert os.getxattr(point / "link", "user.a") == b"b"
            assert (point / "file-2").stat().st_uid == 1234


@pytest.mark.parametrize("how", ["restore", "clone"])
def test_fat_and_exfat_fill_a_larger_disk(how: str, tmp_path: Path) -> None:
    """By their files: an exFAT by itself, a FAT32 when it is asked for, and a damaged one keeps its size."""
    path = sparse(tmp_path / "disk.raw", 200 * MIB)
    table = "label: gpt\nsize=40MiB, type=uefi\nsize=70MiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n"
    run(["sfdisk", "--quiet", str(path)], stdin=table.encode())
    esp, data = _parts(path)
    content = os.urandom(3 * MIB)
    (tmp_path / "file").write_bytes(content)
    with loop_device(str(path), offset=esp.start, size=esp.size, writable=True) as node:
        run(["mkfs.vfat", "-F", "32", "-i", "1234ABCD", node])
        run(["mcopy", "-i", node, str(tmp_path / "file"), "::FILE"])
    with loop_device(str(path), offset=data.start, size=data.size, writable=True) as node:
        run(["mkfs.exfat", "-L", "data", node])
    rescue = Rescue(tmp_path / "jobs")
    taken = path
    if how == "restore":
        rescue.ok("backup", path, tmp_path, "--name", "disk", "--no-verify")
        taken = tmp_path / "disk.img.zst"
    target = sparse(tmp_path / "target.raw", 600 * MIB)
    rescue.ok(how, taken, target, "--fit", "auto", "--size", "1=100MiB", "--yes")
    large, filled = _parts(target)
    assert large.size == 100 * MIB
    assert filled.end >= 598 * MIB
    with loop_device(str(target), offset=large.start, size=large.size) as node:
        run(["fsck.fat", "-n", node])
        assert int.from_bytes(Path(node).read_bytes()[32:36], "little") * 512 == 100 * MIB
        assert run(["mtype", "-i", node, "::FILE"]).stdout == content
        assert "1234-ABCD" in run(["blkid", "-p", node]).text
    with loop_device(str(target), offset=filled.start, size=filled.size) as node:
        run(["fsck.exfat", "-n", node])
        with open(node, "rb") as file:
            assert int.from_bytes(file.read(80)[72:], "little") * 512 == filled.size
    if how == "clone":
        with path.open("r+b") as file:
            file.seek(esp.start + 32 * 512 + 12)  # the first cluster of its file leads out of the file system
            file.write((0x0ABCDEF0).to_bytes(4, "little"))
        refused = rescue("clone", path, target, "--size", "1=100MiB", "--yes")
        assert refused.code == 3
        assert "Partition 1 cannot be made larger than it is" in refused.err
