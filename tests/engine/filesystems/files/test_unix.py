"""ext2/3/4, xfs and (mounted) btrfs in the ways that their mkfs makes them: what is copied out is what a mount shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from rescue.filesystems.files.mounted import MountedTree
from rescue.filesystems.files.tree import search
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.filesystems.files.content import assert_same, describe, fill_unix
from tests.engine.filesystems.files.opened import copied, opened
from tests.engine.filesystems.oracle import mounted, sparse_file

pytestmark = pytest.mark.engine

_CASES: dict[str, tuple[Sequence[str], int]] = {
    "ext4": (("mkfs.ext4", "-q", "-F", "-b", "4096"), 256 * MIB),
    "ext4-inline": (
        ("mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "inline_data,ea_inode,metadata_csum_seed", "-I", "512"),
        256 * MIB,
    ),
    "ext4-1k": (("mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^64bit,meta_bg,^resize_inode", "-g", "512"), 256 * MIB),
    "ext4-bigalloc": (("mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "bigalloc", "-C", "16384"), 384 * MIB),
    "ext3": (("mkfs.ext3", "-q", "-F", "-b", "4096", "-I", "256"), 256 * MIB),
    "ext2-1k": (("mkfs.ext2", "-q", "-F", "-b", "1024", "-I", "256", "-O", "^filetype"), 256 * MIB),
    "xfs": (("mkfs.xfs", "-q", "-f"), 400 * MIB),
    "xfs-big": (
        ("mkfs.xfs", "-q", "-f", "-i", "size=512,nrext64=1", "-m", "bigtime=1", "-n", "size=16384", "-b", "size=1024"),
        400 * MIB,
    ),
}
_SAME_BLOCKS = ("ext4", "ext4-inline", "ext3", "xfs")


def _made(folder: Path, name: str) -> Path:
    command, size = _CASES[name]
    path = sparse_file(folder / f"{name}.img", size)
    run([*command, str(path)], timeout=120)
    return path


@pytest.mark.parametrize("name", _CASES)
def test_copy_is_what_a_mount_shows(tmp_path: Path, name: str) -> None:
    path = _made(tmp_path, name)
    with mounted(path) as folder:
        fill_unix(folder, many=20_000 if name in ("ext4", "xfs") else 300)
    with opened(path) as tree, mounted(path, "ro,noatime") as folder:
        result = copied(tree, "", tmp_path / "out")
        shutil.rmtree(tmp_path / "out" / "lost+found", ignore_errors=True)
        assert not result.failed
        assert not result.lost
        assert not list(tree.notes)
        for part in sorted(child.name for child in folder.iterdir() if child.name != "lost+found"):
            assert_same(tmp_path / "out" / part, folder / part, holes=name in _SAME_BLOCKS)
            found, theirs = os.stat(tmp_path / "out" / part), os.stat(folder / part)
            assert (found.st_mode, found.st_mtime_ns) == (theirs.st_mode, theirs.st_mtime_ns)


@pytest.mark.parametrize("name", ["ext4", "ext2-1k", "xfs-big"])
def test_entries_tell_what_stat_tells(tmp_path: Path, name: str) -> None:
    path = _made(tmp_path, name)
    with mounted(path) as folder:
        fill_unix(folder)
    with opened(path) as tree, mounted(path, "ro,noatime") as folder, MountedTree(folder) as theirs:
        for place in ("", "sizes", "sparse", "links", "nodes", "attributes", "times"):
            ours = {child.name: child for child in tree.children(tree.entry(place))}
            there = {child.name: child for child in theirs.children(theirs.entry(place))}
            assert sorted(ours) == sorted(there)
            for child, entry in ours.items():
                expected = there[child]
                for field in ("kind", "mode", "uid", "gid", "modified", "changed", "inode", "links", "device", "allocated"):
                    assert getattr(entry, field) == getattr(expected, field), (place, child, field)
                assert entry.size == expected.size
                shown = {key: value for key, value in theirs.xattrs(expected).items() if not key.startswith("trusted.SGI_ACL")}
                assert tree.xattrs(entry) == shown
        assert [entry.path for entry in search(tree, ["SECOND", "link"], 10)] == ["links/second link"]
        assert len(list(search(tree, ["a name"], 10))) == 10


def test_links_on_the_way_stay_inside(tmp_path: Path) -> None:
    path = _made(tmp_path, "ext4")
    with mounted(path) as folder:
        (folder / "usr/bin").mkdir(parents=True)
        (folder / "usr/bin/tool").write_text("tool")
        (folder / "bin").symlink_to("usr/bin")
        (folder / "abs").symlink_to("/usr")
        (folder / "out").symlink_to("../../../../usr")
        (folder / "loop").symlink_to("loop")
    with opened(path) as tree:
        for place in ("bin/tool", "abs/bin/tool", "out/bin/tool", "usr/../bin/./tool", "/usr//bin/tool"):
            assert tree.entry(place).path == "usr/bin/tool"
        assert tree.entry("bin").kind.value == "link"


def test_large_attributes_and_values_in_inodes_of_their_own(tmp_path: Path) -> None:
    for name in ("ext4-inline", "xfs", "xfs-big"):
        path = _made(tmp_path, name)
        values = {f"user.{index}": bytes([index]) * (20_000 + index) for index in range(3)}
        values |= {f"user.some {index}": bytes([index]) * 200 for index in range(40)} if name != "ext4-inline" else {}
        with mounted(path) as folder:
            (folder / "file").touch()
            for key, value in values.items():
                os.setxattr(folder / "file", key, value)
        with opened(path) as tree:
            assert tree.xattrs(tree.entry("file")) == values


def test_btrfs_is_read_from_its_mount(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "btrfs.img", 512 * MIB)
    run(["mkfs.btrfs", "-q", "-f", str(path)])
    with mounted(path) as folder:
        run(["btrfs", "subvolume", "create", str(folder / "sub")])
        (folder / "sub/file").write_text("in a subvolume")
        (folder / "file").write_text("outside")
        os.link(folder / "sub/file", folder / "sub/second")
        (folder / "all").mkdir()
        fill_unix(folder / "all")
    with mounted(path, "ro,noatime") as folder, MountedTree(folder, "btrfs") as tree:
        result = copied(tree, "", tmp_path / "out")
        assert not result.failed
        assert not result.lost
        assert_same(tmp_path / "out", folder)
        assert (tmp_path / "out/sub/second").stat().st_nlink == 2


def test_xfs_version_4(tmp_path: Path) -> None:
    """This kernel may not mount it: filled by its own mkfs, from a prototype."""
    files = {f"file{index}": os.urandom(10 + 4000 * index) for index in range(12)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    lines = ["/", "0 0", "d--755 3 4"]
    lines += [f"{name} ---640 1 2 {tmp_path / name}" for name in files]
    lines += ["short l--777 0 0 target", f"long l--777 0 0 {'t' * 900}", "null c--666 0 0 1 3", "fifo p--600 0 0"]
    lines += ["many d--700 5 6", *(f"name-{index:04} ---600 0 0 /dev/null" for index in range(2000)), "$", "$"]
    (tmp_path / "prototype").write_text("\n".join(lines) + "\n")
    path = sparse_file(tmp_path / "xfs.img", 400 * MIB)
    run(["mkfs.xfs", "-q", "-f", "-m", "crc=0", "-p", str(tmp_path / "prototype"), str(path)])
    with opened(path) as tree:
        assert not copied(tree, "", tmp_path / "out").failed
        for name, data in files.items():
            assert (tmp_path / "out" / name).read_bytes() == data
            found = (tmp_path / "out" / name).stat()
            assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o640, 1, 2)
        assert os.readlink(tmp_path / "out/short") == "target"
        assert os.readlink(tmp_path / "out/long") == "t" * 900
        assert (tmp_path / "out/null").stat().st_rdev == os.makedev(1, 3)
        assert sorted(os.listdir(tmp_path / "out/many")) == [f"name-{index:04}" for index in range(2000)]


def test_an_unclean_ext4_says_so(tmp_path: Path) -> None:
    path = _made(tmp_path, "ext4")
    run(["debugfs", "-w", "-R", "set_super_value feature_incompat 0x2c6", str(path)])
    with opened(path) as tree:
        assert any("newest changes" in note for note in tree.notes)


def test_descriptions_notice_a_difference(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/file").write_text("a")
    before = describe(tmp_path / "one")
    os.setxattr(tmp_path / "one/file", "user.x", b"1")
    assert describe(tmp_path / "one") != before
