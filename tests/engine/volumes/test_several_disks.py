"""Volume groups and btrfs over several disks: each disk is imaged by what is used of it, when the others are there to look at."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rescue.filesystems.btrfs_devices import used_maps
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import attached
from tests.engine.volumes.stacks import Ext4, ext4, gpt_disk, group, noise, part_of, require_ext4, tree
from tests.hashes import digest, digest_of
from tests.unit.volumes.recorded import BLOCK, record, unpacked

pytestmark = pytest.mark.engine


def _backup(rescue: Rescue, disk: Path, store: Path, *arguments: str | Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(rescue.ok("backup", disk, store, "--name", disk.stem, "--json", *arguments).out)["facts"]
    return facts


def test_a_group_over_two_disks(tmp_path: Path) -> None:
    """A linear and a striped volume that are on both; alone a disk keeps what it has of them whole, and says why."""
    pvs = [noise(tmp_path / f"pv{number}", 96 * MIB) for number in range(2)]
    for pv in pvs:
        with pv.open("r+b") as file:
            file.write(bytes(MIB))
    made = group(
        tmp_path,
        "vg0",
        pvs,
        [("root", "-L", "80M", "%0"), ("root", "extend", "-L", "+20M", "%1"), ("striped", "-l", "6", "-i", "2")],
    )
    content = {
        "root": ext4(tmp_path, "root", sum(p.length for p in made.volumes["root"]), 20),
        "striped": ext4(tmp_path, "striped", sum(p.length for p in made.volumes["striped"]), 4),
    }
    for name, one in content.items():
        made.write(name, one.file)
    disks = [tmp_path / "first.raw", tmp_path / "second.raw"]
    parts = [gpt_disk(disk, pv)[0] for disk, pv in zip(disks, pvs, strict=True)]
    rescue = Rescue(tmp_path / "jobs")
    told = rescue.ok("backup", disks[0], tmp_path, "--dry-run").out
    assert "The rest of it is on other disks, which are not here." in " ".join(told.split())
    told = rescue.ok("backup", disks[0], tmp_path, "--dry-run", "--with", disks[1]).out
    assert "every byte is kept" not in told
    assert f"--with {disks[1]}" in told
    used = 0
    for disk, other in (disks, disks[::-1]):
        used += _backup(rescue, disk, tmp_path, "--with", other)["used_bytes"]
    # 24 MiB of files, journals and inodes of two file systems, and the two heads.
    assert used < 75 * MIB
    assert "root" in rescue.ok("ls", disks[0], "--with", disks[1]).out
    rescue.ok("extract", disks[0], "1/vg0/root:/file-13", tmp_path / "out", "--with", disks[1])
    assert digest(tmp_path / "out" / "file-13") == content["root"].hashes["file-13"]
    rescue.ok("verify", tmp_path / "first.img.zst", "--against", disks[0], "--with", disks[1])
    restored = []
    for disk, place in zip(disks, parts, strict=True):
        target = noise(tmp_path / f"{disk.stem}-target.raw", disk.stat().st_size)
        rescue.ok("restore", tmp_path / f"{disk.stem}.img.zst", target, "--yes")
        restored.append(part_of(target, place, tmp_path / f"{disk.stem}.pv"))
    for name, one in content.items():
        require_ext4(made.read(name, tmp_path / f"{name}.restored", restored), one, tmp_path)


def test_other_disks_that_are_none(tmp_path: Path) -> None:
    """The disk itself, something that is not there: refused as wrong usage, nothing is written."""
    made = ext4(tmp_path, "plain", 16 * MIB, 2)
    disk = tmp_path / "disk.raw"
    gpt_disk(disk, made.file)
    rescue = Rescue(tmp_path / "jobs")
    assert rescue("backup", disk, tmp_path, "--with", disk).code == 2
    assert rescue("backup", disk, tmp_path, "--with", tmp_path / "nothing").code == 2
    rescue.ok("backup", disk, tmp_path, "--with", made.file, "--name", "fine")  # holds nothing that could be a part


def _array_disks(name: str, folder: Path) -> tuple[list[Path], list[tuple[int, int]], Ext4]:
    """An array with an ext4 in it: its first member on one disk, the others on another."""
    recorded = record("md-arrays")[name]
    count = recorded["blocks"]
    made = ext4_of_small_files(folder, count * BLOCK)
    content = made.file.read_bytes()
    members = []
    for number, one in enumerate(recorded["members"]):
        data = bytearray(noise(folder / f"noise-{number}", one["size"]).read_bytes())
        data[one["at"] : one["at"] + 4096] = unpacked(one["superblock"])
        data[: one["at"]] = bytes(one["at"])
        for at, block in one["blocks"]:
            data[at * BLOCK : (at + 1) * BLOCK] = content[block * BLOCK : (block + 1) * BLOCK]
        members.append(folder / f"member-{number}")
        members[-1].write_bytes(data)
    disks = [folder / "first.raw", folder / "second.raw"]
    parts = [*gpt_disk(disks[0], members[0]), *gpt_disk(disks[1], *members[1:])]
    return disks, parts, made


def test_disks_of_a_machine_find_each_other(tmp_path: Path) -> None:
    """What is spread over them is told of the first part of it on each, and nothing is kept whole."""
    folder = tmp_path / "machine"
    folder.mkdir()
    disks, _, _ = _array_disks("raid5-left-symmetric", tmp_path)
    for disk in disks:
        disk.rename(folder / f"{disk.stem}.img")
    told = json.loads(Rescue(tmp_path / "jobs").ok("--disks", folder, "disks", "--json").out)
    assert [volume["whole_because"] for one in told for volume in one["volumes"]] == [""] * 4
    inside = [[inner["type"] for inner in volume["inside"]] for one in told for volume in one["volumes"]]
    assert inside == [["ext4"], ["ext4"], [], []]
    (folder / "second.img").unlink()
    (alone,) = json.loads(Rescue(tmp_path / "jobs").ok("--disks", folder, "disks", "--json").out)
    assert alone["volumes"][0]["whole_because"].endswith("which are not here.")


@pytest.mark.parametrize("name", ["raid0", "raid5-left-symmetric", "raid6-right-asymmetric", "raid10-n2-4", "raid10-f2-3"])
def test_an_array_over_two_disks(name: str, tmp_path: Path) -> None:
    """Put together by what the kernel was seen to write where, never by our own reader."""
    recorded = record("md-arrays")[name]
    disks, parts, made = _array_disks(name, tmp_path)
    rescue = Rescue(tmp_path / "jobs")
    assert "which are not here." in " ".join(rescue.ok("backup", disks[0], tmp_path, "--dry-run").out.split())
    for disk, other in (disks, disks[::-1]):
        facts = _backup(rescue, disk, tmp_path, "--with", other)
        size = sum(end - start for start, end in (parts[:1] if disk == disks[0] else parts[1:]))
        assert facts["used_bytes"] < size - 64 * KIB
    restored = []
    for number, place in enumerate(parts):
        disk = disks[min(number, 1)]
        target = tmp_path / f"{disk.stem}-target.raw"
        if not target.exists():
            noise(target, disk.stat().st_size)
            rescue.ok("restore", tmp_path / f"{disk.stem}.img.zst", target, "--yes")
        restored.append(part_of(target, place, tmp_path / f"restored-{number}").read_bytes())
    back = bytearray(recorded["blocks"] * BLOCK)
    for found, one in zip(restored, recorded["members"], strict=True):
        for at, block in one["blocks"]:
            back[block * BLOCK : (block + 1) * BLOCK] = found[at * BLOCK : (at + 1) * BLOCK]
    whole = tmp_path / "restored.ext4"
    whole.write_bytes(back)
    require_ext4(whole, made, tmp_path)


def ext4_of_small_files(folder: Path, size: int) -> Ext4:
    """An ext4 that fits into a small array; what is free in it is not zeros."""
    (folder / "small").mkdir()
    hashes = {}
    for number in range(8):
        data = random.Random(number).randbytes(9000)
        (folder / "small" / f"file-{number}").write_bytes(data)
        hashes[f"file-{number}"] = digest_of(data)
    file = noise(folder / "small.ext4", size)
    run(["mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^has_journal", "-E", "nodiscard", "-d", str(folder / "small"), str(file)])
    return Ext4(file, hashes)


_PROFILES = [
    ("single", "raid1", 2), ("raid0", "raid1", 2), ("raid1", "raid1", 2), ("raid10", "raid10", 4), ("raid1c3", "raid1c3", 3),
    ("raid5", "raid5", 3), ("raid6", "raid6", 4), ("raid0", "dup", 3), ("raid5", "raid1", 4),
]  # fmt: skip


@contextmanager
def _mounted(nodes: Sequence[str], point: Path, options: str) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    devices = ",".join(f"device={node}" for node in nodes)
    run(["mount", "-t", "btrfs", "-o", f"{devices},{options}", nodes[0], str(point)])
    try:
        yield point
    finally:
        run(["umount", str(point)])


@contextmanager
def _loops(files: Sequence[Path]) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(attached(file)) for file in files]


def _btrfs(folder: Path, data: str, meta: str, count: int) -> tuple[list[Path], dict[str, str]]:
    files = [noise(folder / f"device-{number}", (200 + 32 * number) * MIB) for number in range(count)]
    hashes = tree(folder / "tree", count, 16)
    with _loops(files) as nodes:
        run(["mkfs.btrfs", "-q", "-f", "-K", "-d", data, "-m", meta, *nodes])
        with _mounted(nodes, folder / "point", "rw") as point:
            for file in (folder / "tree").iterdir():
                (point / file.name).write_bytes(file.read_bytes())
            (point / "gone").write_bytes(bytes(10 * MIB))
            run(["sync", "-f", str(point)])
            (point / "gone").unlink()
    return files, hashes


def _require_btrfs(files: Sequence[Path], hashes: dict[str, str], folder: Path) -> None:
    with _loops(files) as nodes:
        run(["btrfs", "device", "scan", "--forget"], ok=(0, 1))
        run(["btrfs", "check", "--force", "--readonly", nodes[0]], timeout=300)
        with _mounted(nodes, folder / "restored", "ro") as point:
            found = {path.name: digest(path) for path in point.glob("file-*")}
    assert found == hashes


@pytest.mark.parametrize(("data", "meta", "count"), _PROFILES)
def test_btrfs_of_every_profile(data: str, meta: str, count: int, tmp_path: Path) -> None:
    """What the used maps of its devices do not name can be anything."""
    files, hashes = _btrfs(tmp_path, data, meta, count)
    with ExitStack() as stack:
        maps = used_maps([stack.enter_context(FileSource(str(file))) for file in files])
    kept = []
    for file, used in zip(files, maps, strict=True):
        assert used.whole_because == ""
        copy = noise(file.with_suffix(".kept"), file.stat().st_size)
        with file.open("rb") as source, copy.open("r+b") as target:
            for start, end in used.extents:
                source.seek(start)
                target.seek(start)
                target.write(source.read(end - start))
        file.unlink()
        kept.append(copy)
    total = sum(used.extents.total for used in maps)
    assert total < 16 * MIB * 4 + count * 12 * MIB
    _require_btrfs(kept, hashes, tmp_path)


def test_btrfs_over_partitions_of_two_disks(tmp_path: Path) -> None:
    """Two devices on one disk, the third on another."""
    files, hashes = _btrfs(tmp_path, "raid5", "raid1", 3)
    disks = [tmp_path / "first.raw", tmp_path / "second.raw"]
    parts = [*gpt_disk(disks[0], *files[:2]), *gpt_disk(disks[1], files[2])]
    rescue = Rescue(tmp_path / "jobs")
    alone = rescue.ok("backup", disks[0], tmp_path, "--dry-run").out
    assert "It spans several devices." in " ".join(alone.split())
    used = 0
    for disk, other in (disks, disks[::-1]):
        used += _backup(rescue, disk, tmp_path, "--with", other)["used_bytes"]
    assert used < 60 * MIB
    restored = []
    for number, place in enumerate(parts):
        disk = disks[number // 2]
        target = tmp_path / f"{disk.stem}-target.raw"
        if not target.exists():
            noise(target, disk.stat().st_size)
            rescue.ok("restore", tmp_path / f"{disk.stem}.img.zst", target, "--yes")
        restored.append(part_of(target, place, tmp_path / f"restored-{number}"))
    _require_btrfs(restored, hashes, tmp_path)
