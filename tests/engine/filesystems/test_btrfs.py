"""The used map of btrfs as mkfs.btrfs makes it today and made it years ago, against both oracles."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.filesystems.btrfs import used_map
from rescue.model.extents import ExtentMap
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.filesystems.oracle import (
    Case,
    checker,
    copy_while_mounted,
    describe,
    fill,
    fill_by_mount,
    mounted,
    prove,
    read_by_mount,
    read_map,
    restore_onto_noise,
    sparse_file,
    thin_out,
)

pytestmark = pytest.mark.engine

Populate = Callable[[Path], None]

_CHECK = checker("btrfs", "check", "--readonly", "--check-data-csum")


def _make(*options: str) -> Callable[[Path], None]:
    return lambda path: _format(path, *options)


def _format(path: Path, *options: str) -> None:
    run(["mkfs.btrfs", "-q", *options, str(path)])


def _allocated(path: Path) -> ExtentMap:
    """Where every copy of every extent lies, by btrfs's own dump of its chunk and extent trees."""
    chunks: list[tuple[int, int, list[int]]] = []
    for item in _dump(path, "chunk").split("\titem ")[1:]:
        if key := re.search(r"CHUNK_ITEM (\d+)\)", item):
            length = int(re.findall(r"^\t*length (\d+)", item, re.MULTILINE)[0])
            copies = [int(offset) for offset in re.findall(r"stripe \d+ devid 1 offset (\d+)", item)]
            chunks.append((int(key[1]), length, copies))
    superblock = run(["btrfs", "inspect-internal", "dump-super", str(path)]).text
    node_size = int(re.findall(r"^nodesize\s+(\d+)$", superblock, re.MULTILINE)[0])
    found = re.findall(r"key \((\d+) (EXTENT|METADATA)_ITEM (\d+)\)", _dump(path, "extent"))
    allocated: list[tuple[int, int]] = []
    for address, kind, size in found:
        start, length = int(address), int(size) if kind == "EXTENT" else node_size
        base, copies = next((base, copies) for base, room, copies in chunks if base <= start and start + length <= base + room)
        allocated += [(copy + start - base, copy + start - base + length) for copy in copies]
    return ExtentMap(allocated)


def _said_free(path: Path) -> ExtentMap:
    return _allocated(path).complement(path.stat().st_size)


def _counted(path: Path) -> int:
    """What the extent tree lists, and the mebibyte that is never allocated."""
    return _allocated(path).total + 1 * MIB


def _dump(path: Path, tree: str) -> str:
    return run(["btrfs", "inspect-internal", "dump-tree", "-t", tree, str(path)]).text


def _case(name: str, *options: str, mount: str = "", populate: Populate | None = None, size: int = 256 * MIB) -> Case:
    """partclone marks too much, which btrfs's own dump tells, and leaves out the second copy of what is kept twice."""
    return Case(
        name=name,
        size=size,
        make=_make(*options),
        populate=populate or fill_by_mount(mount),
        read_back=read_by_mount(),
        check=_CHECK,
        partclone="btrfs",
        may_lack=_said_free,
        why_lacking="partclone widens extents to 64 KiB, and marks bytes between those of a mixed block group",
        may_exceed=size // 2 if options.count("dup") else 4 * MIB,
        why_exceeding="the first mebibyte, and the second copies of metadata and data, which partclone leaves out",
        counted=_counted,
    )


def _compress(kind: str) -> Populate:
    def populate(path: Path) -> None:
        with mounted(path, f"compress-force={kind}") as folder:
            fill(folder / "noise", 1, 6 * MIB)
            for number in range(40):
                (folder / f"text {number}").write_bytes(b"squeeze this line %d\n" % number * 30_000)

    return populate


def _snapshots(path: Path) -> None:
    """Subvolumes and snapshots that share extents, some deleted, the cleaner perhaps not done."""
    with mounted(path) as folder:
        _btrfs("subvolume", "create", str(folder / "home"))
        fill(folder / "home" / "old", 1, 16 * MIB)
        for number in range(4):
            _btrfs("subvolume", "snapshot", "-r", str(folder / "home"), str(folder / f"snapshot {number}"))
            thin_out(folder / "home" / "old", number)
            fill(folder / "home" / f"new {number}", number + 5, 3 * MIB)
        _btrfs("subvolume", "delete", str(folder / "snapshot 1"))
        _btrfs("subvolume", "delete", str(folder / "snapshot 2"))


def _balance(path: Path) -> None:
    fill_by_mount()(path)
    with mounted(path) as folder:
        _btrfs("balance", "start", "--full-balance", str(folder))
        thin_out(folder / "new", 9)


def _share_and_reserve(path: Path) -> None:
    """Reflinks, reserved and punched ranges, no copy on write, quotas."""
    with mounted(path) as folder:
        _btrfs("quota", "enable", str(folder))
        fill(folder / "files", 1, 12 * MIB)
        run(["cp", "--reflink=always", str(folder / "files" / "turn a"), str(folder / "shared")])
        run(["fallocate", "--length", "20M", str(folder / "reserved")])
        run(["fallocate", "--punch-hole", "--offset", "1M", "--length", "1M", str(folder / "files" / "turn b")])
        (folder / "in place").touch()
        run(["chattr", "+C", str(folder / "in place")])
        (folder / "in place").write_bytes(os.urandom(3 * MIB))


def _shrink(path: Path) -> None:
    fill_by_mount()(path)
    with mounted(path) as folder:
        _btrfs("filesystem", "resize", "-64M", str(folder))


def _btrfs(*arguments: str) -> None:
    run(["btrfs", *arguments], timeout=120)


def _change_uuid(path: Path) -> None:
    run(["btrfstune", "-f", "-m", str(path)])
    fill_by_mount()(path)


_CASES = [
    _case("today"),
    _case("metadata once", "-m", "single"),
    _case("data twice", "-m", "dup", "-d", "dup", size=512 * MIB),
    _case("mixed", "-M"),
    _case("mixed, twice", "-M", "-m", "dup", "-d", "dup"),
    _case("striped over one device", "-m", "raid0", "-d", "raid0"),
    _case("nodes of 4 KiB", "-n", "4096"),
    _case("nodes of 64 KiB", "-n", "65536"),
    _case("as ten years ago", "-O", "^no-holes,^skinny-metadata,^extref", "-R", "^free-space-tree", "-m", "single"),
    _case("a space cache in files", "-R", "^free-space-tree", mount="space_cache=v1"),
    _case("xxhash", "--csum", "xxhash"),
    _case("sha256", "--csum", "sha256"),
    _case("blake2", "--csum", "blake2"),
    _case("zstd", populate=_compress("zstd")),
    _case("lzo", populate=_compress("lzo")),
    _case("subvolumes and snapshots", populate=_snapshots, size=384 * MIB),
    _case("after a balance", populate=_balance, size=512 * MIB),
    _case("reflinks, reserved ranges, quotas", populate=_share_and_reserve),
    _case("smaller than its partition", populate=_shrink, size=512 * MIB),
    _case("a changed UUID", populate=_change_uuid),
    _case("an odd number of sectors", size=256 * MIB - 7 * 512),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_both_oracles_agree(case: Case, tmp_path: Path) -> None:
    prove(case, tmp_path, used_map)


def test_a_block_group_tree(tmp_path: Path) -> None:
    if "block-group-tree" not in run(["mkfs.btrfs", "-O", "list-all"]).stderr.decode():
        pytest.skip("this mkfs.btrfs makes no block group tree")
    prove(_case("block group tree", "-O", "block-group-tree"), tmp_path, used_map)


def test_converted_from_ext4(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", str(path)])
        fill_by_mount()(path)
        run(["btrfs-convert", str(path)], timeout=120)

    prove(dataclasses.replace(_case("converted", populate=_add, size=512 * MIB), make=make), tmp_path, used_map)


def _add(path: Path) -> None:
    with mounted(path) as folder:
        fill(folder / "later", 8, 4 * MIB)


def test_a_copy_of_a_mounted_one_is_whole_and_holds_every_synced_file(tmp_path: Path) -> None:
    for _ in range(5):
        original = tmp_path / "original"
        original.unlink(missing_ok=True)
        _format(sparse_file(original, 256 * MIB))
        promised = copy_while_mounted(original, tmp_path / "copy")
        used = read_map(tmp_path / "copy", used_map)
        if used.whole_because:
            break
        # The kernel wrote all down by itself between the last fsync and the copy, as it does every 30 s: there is no log then.
    assert used.extents.total == 256 * MIB
    assert "log" in used.whole_because
    restored = restore_onto_noise(tmp_path / "copy", used.extents, tmp_path / "restored")
    with mounted(restored) as folder:
        found = describe(folder)
    files = {name: what for name, what in promised.items() if what.startswith("file")}  # no one can fsync a symbolic link
    assert len(files) > 200
    assert {name: found.get(name) for name in files} == files


def test_several_devices_are_whole(tmp_path: Path) -> None:
    paths = [sparse_file(tmp_path / name, 256 * MIB) for name in ("one", "two")]
    run(["mkfs.btrfs", "-q", *map(str, paths)])
    for path in paths:
        assert "several devices" in read_map(path, used_map).whole_because


def test_a_seed_is_whole(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 256 * MIB)
    _format(path)
    run(["btrfstune", "-S", "1", str(path)])
    assert "seed" in read_map(path, used_map).whole_because
