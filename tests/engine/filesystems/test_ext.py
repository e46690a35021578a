"""The used maps of ext2, ext3 and ext4 as mke2fs makes them today and made them years ago, against both oracles."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.filesystems.ext import used_map
from rescue.system.run import run
from rescue.units import KIB, MIB, TIB
from tests.engine.filesystems.oracle import (
    Case,
    Tree,
    checker,
    copy_while_mounted,
    describe,
    fill,
    fill_by_mount,
    mounted,
    noise_file,
    partclone_map,
    prove,
    read_by_mount,
    read_map,
    sparse_file,
)

pytestmark = pytest.mark.engine

_CHECK = checker("e2fsck", "-fn")


def _make(*options: str, kind: str = "ext4") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        run(["mke2fs", "-q", "-F", "-t", kind, *options, str(path)])

    return make


def _make_revision_0(path: Path) -> None:
    # Newer mke2fs make none of revision 0 any more.
    run(["mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", "-I", "128", "-O", "none", str(path)])
    run(["debugfs", "-w", "-R", "set_super_value rev_level 0", str(path)])


def _case(name: str, *options: str, kind: str = "ext4", size: int = 96 * MIB, amount: int = 24 * MIB) -> Case:
    make, populate = _make(*options, kind=kind), fill_by_mount(amount=amount)
    return Case(name, size, make, populate, read_by_mount(), _CHECK, partclone="extfs")


def _counted(path: Path) -> int:
    """Used bytes by the superblock's own counts."""
    said = run(["dumpe2fs", "-h", str(path)]).text
    blocks, free, size = (
        int(re.findall(rf"^{word}: +(\d+)$", said, re.MULTILINE)[0]) for word in ("Block count", "Free blocks", "Block size")
    )
    return (blocks - free) * size


def _bigalloc(name: str, *options: str) -> Case:
    """partclone 0.3.23 refuses bigalloc ("bitmap errors")."""
    case = _case(name, *options, size=256 * MIB)
    return dataclasses.replace(case, partclone="", counted=_counted)


def _fill_by_debugfs(path: Path) -> None:
    """Fill without mounting: this kernel takes no blocks larger than its pages."""
    folder = path.with_name("to write")
    fill(folder, 7, 24 * MIB, xattrs=False)
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.is_symlink())
    commands = [f'write "{folder / name}" "{name}"' for name in names] + [f'rm "{name}"' for name in names[::2]]
    commands += [f'write "{folder / names[0]}" "again {number}"' for number in range(3)]
    script = path.with_name("commands")
    script.write_text("\n".join(commands) + "\n")
    run(["debugfs", "-w", "-f", str(script), str(path)], timeout=120)
    script.unlink()
    run(["rm", "-r", str(folder)])


def _read_by_debugfs(path: Path) -> Tree:
    folder = path.with_name("read back")
    folder.mkdir()
    run(["debugfs", "-R", f'rdump / "{folder}"', str(path)], timeout=120)
    tree = describe(folder)
    run(["rm", "-r", str(folder)])
    return tree


def _unmountable(name: str, *options: str) -> Case:
    return Case(name, 256 * MIB, _make(*options), _fill_by_debugfs, _read_by_debugfs, _CHECK, partclone="extfs")


_CASES = [
    _case("today", size=256 * MIB),
    _case("1k blocks", "-b", "1024"),
    _case("2k blocks", "-b", "2048"),
    _case("no 64bit", "-O", "^64bit"),
    _case("many groups of 256 blocks", "-b", "1024", "-g", "256", "-N", "4096"),
    _case("flex_bg of 64 groups", "-b", "1024", "-G", "64"),
    _case("no flex_bg", "-O", "^flex_bg", "-b", "1024"),
    _case("uninit_bg", "-O", "^metadata_csum,uninit_bg", "-b", "1024"),
    _case("uninit_bg without flex_bg", "-O", "^metadata_csum,uninit_bg,^flex_bg,^64bit", "-b", "1024"),
    _case("no checksums at all", "-O", "^metadata_csum,^uninit_bg"),
    _case("meta_bg", "-O", "meta_bg,^resize_inode"),
    _case("meta_bg, 1k blocks", "-O", "meta_bg,^resize_inode", "-b", "1024"),
    _case("meta_bg, uninit_bg, 1k, no flex_bg", "-O", "meta_bg,^resize_inode,^flex_bg,^metadata_csum,uninit_bg", "-b", "1024"),
    _case("sparse_super2", "-O", "sparse_super2", "-b", "1024"),
    _case("no sparse_super", "-O", "^sparse_super,^resize_inode", "-b", "1024"),
    _bigalloc("bigalloc", "-O", "bigalloc", "-C", "65536"),
    _bigalloc("bigalloc, 1k blocks", "-O", "bigalloc", "-b", "1024", "-C", "16384"),
    _bigalloc("bigalloc, 1k blocks, no checksums", "-O", "bigalloc,^metadata_csum", "-b", "1024", "-C", "16384", "-N", "8192"),
    _case("inline data", "-O", "inline_data", "-I", "512"),
    _case("mmp", "-O", "mmp"),
    _case("large attributes, encrypt, verity", "-O", "ea_inode,encrypt,verity,metadata_csum_seed"),
    _case("orphan file, fast commit", "-O", "orphan_file,fast_commit"),
    _case("no journal", "-O", "^has_journal"),
    _case("stride and stripe", "-E", "stride=16,stripe_width=64"),
    _case("a cut last group", size=96 * MIB - 37 * KIB),
    _case("ext2", kind="ext2"),
    _case("ext2, 1k blocks", "-b", "1024", kind="ext2"),
    dataclasses.replace(_case("ext2 of revision 0", kind="ext2"), make=_make_revision_0),
    _case("ext3", kind="ext3"),
    _case("ext3, 1k blocks, small inodes", "-b", "1024", "-I", "128", kind="ext3"),
    _case("small", "-b", "1024", kind="ext2", size=8 * MIB, amount=1 * MIB),
    _unmountable("16k blocks", "-b", "16384"),
    _unmountable("64k blocks", "-b", "65536"),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_both_oracles_agree(case: Case, tmp_path: Path) -> None:
    prove(case, tmp_path, used_map)


def test_a_copy_of_a_mounted_one_is_whole_and_holds_every_synced_file(tmp_path: Path) -> None:
    original = sparse_file(tmp_path / "original", 96 * MIB)
    _make()(original)
    promised = copy_while_mounted(original, tmp_path / "copy")
    used = read_map(tmp_path / "copy", used_map)
    assert used.extents.total == 96 * MIB
    assert "journal" in used.whole_because
    with mounted(tmp_path / "copy") as folder:
        assert describe(folder) == promised


def test_ext2_that_is_mounted_is_whole(tmp_path: Path) -> None:
    original = sparse_file(tmp_path / "original", 32 * MIB)
    _make(kind="ext2")(original)
    copy_while_mounted(original, tmp_path / "copy")
    assert "not cleanly unmounted" in read_map(tmp_path / "copy", used_map).whole_because


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("ssv state 2", "errors"),
        ("ssv state 3", "errors"),
        ("ssv state 0", "not cleanly unmounted"),
        ("feature needs_recovery", "journal"),
        ("feature FEATURE_I20", "does not know"),
        ("feature FEATURE_R20", "does not know"),
        ("ssv free_blocks_count 1000", "add up"),
        ("set_bg 1 free_blocks_count 1", "add up"),
        ("set_bg 0 block_bitmap_csum 1", "checksum"),
        ("set_bg 1 checksum 1", "checksum"),
    ],
)
def test_what_cannot_be_trusted_is_whole(request_: str, said: str, tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", 64 * MIB)
    _make("-b", "1024")(path)
    script = tmp_path / "commands"
    lines = [request_] if "checksum" in request_ else [request_, "set_bg 0 checksum calc", "set_bg 1 checksum calc"]
    script.write_text("\n".join(lines) + "\n")
    run(["debugfs", "-w", "-f", str(script), str(path)])
    used = read_map(path, used_map)
    assert said in used.whole_because
    assert used.extents.total == 64 * MIB


def test_one_that_another_machine_has_mounted_is_whole(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", 64 * MIB)
    _make("-O", "mmp")(path)
    assert not read_map(path, used_map).whole_because
    said = run(["dumpe2fs", "-h", str(path)]).text
    block, size = (int(re.findall(rf"^{word}: +(\d+)$", said, re.MULTILINE)[0]) for word in ("MMP block number", "Block size"))
    with path.open("r+b") as file:  # debugfs would write "clean" again as it ends
        file.seek(block * size + 4)
        file.write((17).to_bytes(4, "little"))
    assert "multiple-mount protection" in read_map(path, used_map).whole_because


def test_features_that_this_kernel_cannot_mount_are_read(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", 64 * MIB)
    _make("-O", "quota,project,casefold")(path)
    assert not partclone_map(path, "extfs").difference(read_map(path, used_map).extents)


def test_the_end_of_a_larger_partition_is_kept(tmp_path: Path) -> None:
    path = noise_file(tmp_path / "original", 64 * MIB)
    run(["mke2fs", "-q", "-F", "-t", "ext4", str(path), "32M"])
    used = read_map(path, used_map)
    assert not used.whole_because
    assert list(used.extents.overlapping(32 * MIB, 64 * MIB)) == [(32 * MIB, 64 * MIB)]
    assert used.extents.total < 48 * MIB


def test_a_partition_that_was_cut_is_whole(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", 64 * MIB)
    _make()(path)
    os.truncate(path, 64 * MIB - 4096)
    assert "larger than the partition" in read_map(path, used_map).whole_because


def test_a_tebibyte_is_mapped_in_about_a_second(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", 1 * TIB)
    _make("-E", "lazy_itable_init=1,lazy_journal_init=1")(path)
    with mounted(path) as folder:
        fill(folder / "some", 1, 8 * MIB)
    started = time.process_time()
    used = read_map(path, used_map)
    spent = time.process_time() - started
    assert not used.whole_because
    assert spent < 4  # a second on an idle machine
