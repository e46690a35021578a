"""The used map of xfs as mkfs.xfs makes it today and made it years ago, against both oracles."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from blake3 import blake3

from rescue.filesystems.xfs import used_map
from rescue.system.loop import loop_device
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
    prove,
    read_by_mount,
    read_map,
    sparse_file,
)

pytestmark = pytest.mark.engine

_CHECK = checker("xfs_repair", "-n", "-f")
_SIZE = 320 * MIB
_OPTIONS = "nouuid"
_WHY_MORE = "partclone leaves out the blocks in reserve (AGFL), and what is behind the end of the file system"


def _make(*options: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        run(["mkfs.xfs", "-q", "-f", *options, str(path)])

    return make


def _case(name: str, *options: str, size: int = _SIZE, amount: int = 24 * MIB) -> Case:
    populate, read_back = fill_by_mount(_OPTIONS, amount=amount), read_by_mount(f"ro,{_OPTIONS}")
    return Case(name, size, _make(*options), populate, read_back, _CHECK, partclone="xfs", why_exceeding=_WHY_MORE)


def _fragment(path: Path) -> None:
    """Free every second of thousands of blocks, so that the free-space trees have more than one level."""
    with mounted(path, _OPTIONS) as folder:
        (folder / "holes").write_bytes(random.Random(1).randbytes(24 * MIB))
        os.sync()
        commands = "\n".join(f"fpunch {offset} {2 * KIB}" for offset in range(0, 24 * MIB, 4 * KIB))
        run(["xfs_io", str(folder / "holes")], stdin=commands.encode(), timeout=120)


def _share(path: Path) -> None:
    with mounted(path, _OPTIONS) as folder:
        fill(folder / "old", 1, 16 * MIB)
        run(["cp", "--reflink=always", str(folder / "old/turn a"), str(folder / "shared")])
        with (folder / "shared").open("r+b") as file:
            for offset in range(0, 4 * MIB, 64 * KIB):
                file.seek(offset)
                file.write(b"changed")
        (folder / "old/turn b").unlink()


def _make_version_4(*options: str) -> Callable[[Path], None]:
    """This kernel mounts no version 4, so the files are written by mkfs itself."""

    def make(path: Path) -> None:
        folder = path.with_name("content")
        folder.mkdir()
        chance = random.Random(4)
        lines = ["ignored", "0 0", "d--755 0 0"]
        for number in range(60):
            file = folder / f"file-{number}"
            file.write_bytes(chance.randbytes(chance.choice([0, 30, 5000, 70_000, 900_000])))
            lines.append(f"{file.name} ---644 0 0 {file}")
        prototype = path.with_name("prototype")
        prototype.write_text("\n".join([*lines, "$"]) + "\n")
        run(["mkfs.xfs", "-q", "-f", "-m", "crc=0", *options, "-p", str(prototype), str(path)])
        run(["rm", "-r", str(folder), str(prototype)])

    return make


def _read_by_extents(path: Path) -> Tree:
    """Hash each file through the extents that xfs_db lists."""
    listed = run(["xfs_db", "-r", "-f", "-c", "blockget -n", "-c", "ncheck", str(path)]).text
    inodes = [(int(found[0]), found[1]) for found in re.findall(r"^\s*(\d+) (file-\d+)$", listed, re.MULTILINE)]
    commands = [word for inode, _ in inodes for word in ("-c", f"inode {inode}", "-c", "p core.size", "-c", "bmap")]
    answers = run(["xfs_db", "-r", "-f", "-c", "sb 0", "-c", "p blocksize agblocks", *commands, str(path)]).text
    head, *parts = answers.split("core.size = ")
    block_size, group_blocks = (int(number) for number in re.findall(r"= (\d+)", head))
    tree = {}
    with path.open("rb") as file:
        for (_, name), part in zip(inodes, parts, strict=True):
            size, digest = int(part.split()[0]), blake3()
            for group, block, count in re.findall(r"\((\d+)/(\d+)\) count (\d+)", part):
                file.seek((int(group) * group_blocks + int(block)) * block_size)
                digest.update(file.read(int(count) * block_size))
            tree[name] = f"{size} {digest.hexdigest()}"
    assert len(tree) == 60
    return tree


def _nothing_more(path: Path) -> None:
    """For a file system that was filled as it was made."""
    del path


def _version_4(name: str, *options: str) -> Case:
    make = _make_version_4(*options)
    return Case(name, _SIZE, make, _nothing_more, _read_by_extents, _CHECK, partclone="xfs", why_exceeding=_WHY_MORE)


_CASES = [
    _case("today"),
    _case("rmapbt, nrext64", "-m", "rmapbt=1", "-i", "nrext64=1"),
    _case("years ago", "-m", "bigtime=0,reflink=0,inobtcount=0,rmapbt=0,finobt=0", "-i", "sparse=0"),
    _case("1k blocks", "-b", "size=1024"),
    _case("64k blocks", "-b", "size=65536", size=512 * MIB),
    _case("4k sectors", "-s", "size=4096"),
    _case("RAID geometry", "-d", "su=64k,sw=4", "-l", "su=64k,size=16m", "--unsupported"),
    _case("widest log stripe", "-l", "su=256k"),
    _case("many groups", "-d", "agcount=18", "--unsupported"),
    _case("large inodes, small log", "-i", "size=2048", "-l", "size=16m", "--unsupported"),
    _case("a cut last group", "-d", "agsize=67108864", "--unsupported", size=_SIZE - 33 * MIB - 3 * KIB),
    _version_4("version 4"),
    _version_4("version 4, 512-byte blocks", "-b", "size=512"),
    _version_4("version 4, log version 1", "-l", "version=1", "-i", "attr=1,projid32bit=0"),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_both_oracles_agree(case: Case, tmp_path: Path) -> None:
    prove(case, tmp_path, used_map)


@pytest.mark.parametrize(
    ("name", "options", "populate"),
    [("shared extents", (), _share), ("fragmented free space", ("-b", "size=1024", "-d", "agcount=2"), _fragment)],
)
def test_special_contents(name: str, options: tuple[str, ...], populate: Callable[[Path], None], tmp_path: Path) -> None:
    case = Case(name, _SIZE, _make(*options), populate, read_by_mount(f"ro,{_OPTIONS}"), _CHECK, partclone="xfs")
    prove(case, tmp_path, used_map)


def test_a_copy_of_a_mounted_one_is_whole_and_holds_every_synced_file(tmp_path: Path) -> None:
    original = sparse_file(tmp_path / "original", _SIZE)
    _make()(original)
    promised = copy_while_mounted(original, tmp_path / "copy")
    used = read_map(tmp_path / "copy", used_map)
    assert used.extents.total == _SIZE
    assert "log has not been replayed" in used.whole_because
    with mounted(tmp_path / "copy", _OPTIONS) as folder:
        assert describe(folder) == promised


@pytest.mark.parametrize("options", [("-l", "size=13m"), ("-l", "size=16m,su=64k")], ids=["plain log", "striped log"])
def test_the_log_is_judged_as_xfs_logprint_does_wherever_its_head_is(options: tuple[str, ...], tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", _SIZE)
    _make(*options, "--unsupported")(path)
    chance = random.Random(9)
    heads: list[int] = []
    states: set[bool] = set()
    for turn in range(48):
        with mounted(path, _OPTIONS) as folder:
            for number in range(chance.randrange(1000)):
                (folder / f"{turn} {number} {'x' * chance.randrange(150)}").touch()
                if number % 25 == 0:
                    os.sync()
            os.sync()
            copy = tmp_path / "copy"
            run(["cp", "--sparse=always", str(path), str(copy)])
        for file in (path, copy):
            with loop_device(str(file), offset=0, size=_SIZE) as node:
                said = run(["xfs_logprint", "-t", node], timeout=120).text
            clean = "<CLEAN>" in said
            assert clean or "<DIRTY>" in said
            assert (read_map(file, used_map).whole_because == "") == clean, said[:400]
            heads.append(int(re.findall(r"head: (\d+)", said)[0]))
            states.add(clean)
    assert sum(later < earlier for earlier, later in pairwise(heads[::2])) >= 2, "the log never wrapped"
    assert states == {True, False}


@pytest.mark.parametrize("command", [["xfs_admin", "-U", "generate"], ["xfs_repair", "-L"]], ids=" ".join)
def test_a_log_that_was_written_anew_by_a_program_is_clean(command: list[str], tmp_path: Path) -> None:
    """It has an unmount record at its beginning, nothing behind it for a while, and then the pass before that."""
    path = sparse_file(tmp_path / "original", _SIZE)
    _make()(path)
    with mounted(path, _OPTIONS) as folder:
        fill(folder / "files", 1, 20 * MIB)
    run([*command, str(path)], timeout=120)
    assert "<CLEAN>" in run(["xfs_logprint", "-t", str(path)], timeout=120).text
    assert read_map(path, used_map).whole_because == ""


def test_parts_on_other_devices_make_it_whole(tmp_path: Path) -> None:
    path, other = sparse_file(tmp_path / "original", _SIZE), sparse_file(tmp_path / "other", 128 * MIB)
    _make("-l", f"logdev={other},size=64m")(path)
    assert "log is on another device" in read_map(path, used_map).whole_because
    _make("-r", f"rtdev={other}")(path)
    assert "realtime" in read_map(path, used_map).whole_because


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (("sb 0", "write -d features_incompat 0x8000003"), "does not know"),
        (("sb 0", "write -d features_ro_compat 0x8000003"), "does not know"),
        (("sb 0", "write -d features_incompat 0x13"), "needing repair"),
        (("sb 0", "write -d inprogress 1"), "not finished"),
    ],
)
def test_what_cannot_be_trusted_is_whole(commands: tuple[str, ...], said: str, tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", _SIZE)
    _make()(path)
    run(["xfs_db", "-x", "-f", *(word for command in commands for word in ("-c", command)), str(path)])
    used = read_map(path, used_map)
    assert said in used.whole_because
    assert used.extents.total == _SIZE


def test_a_group_that_mkfs_counted_wrongly_is_no_reason_to_distrust(tmp_path: Path) -> None:
    """mkfs.xfs 6.1 fills a whole group with the log and still counts ten free blocks in it: fewer are found than counted."""
    path = sparse_file(tmp_path / "original", _SIZE)
    _make("-d", "su=64k,sw=4", "-l", "su=64k", "--unsupported")(path)
    assert not read_map(path, used_map).whole_because


def test_the_end_of_a_larger_partition_is_kept(tmp_path: Path) -> None:
    path = noise_file(tmp_path / "original", 340 * MIB)
    _make("-d", "size=320m")(path)
    used = read_map(path, used_map)
    assert not used.whole_because
    assert list(used.extents.overlapping(320 * MIB, 340 * MIB)) == [(320 * MIB, 340 * MIB)]


def test_a_partition_that_was_cut_is_whole(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", _SIZE)
    _make()(path)
    os.truncate(path, _SIZE - 4096)
    assert "larger than the partition" in read_map(path, used_map).whole_because


def test_a_large_one_is_mapped_in_about_a_second(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "original", 15 * TIB)
    _make("-K")(path)
    started = time.process_time()
    used = read_map(path, used_map)
    assert time.process_time() - started < 2
    assert not used.whole_because
