"""NTFS (filled and shown by ntfs-3g), exFAT (exfat-fuse) and FAT (mtools): what is copied out is what those show."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rescue.errors import FormatError
from rescue.filesystems.files.ntfs_tree import LARGE_STREAMS
from rescue.filesystems.files.tree import Kind
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.filesystems.files.opened import copied, opened
from tests.engine.filesystems.oracle import sparse_file

pytestmark = pytest.mark.engine

_COMPRESSED = 0x800


@contextmanager
def _fuse(program: str, path: Path, options: str = "") -> Iterator[Path]:
    folder = path.with_name(path.name + ".mount")
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        # exfat-fuse takes nothing but a block device.
        node = str(path) if program == "ntfs-3g" else stack.enter_context(_writable_loop(path))
        run([program, *(["-o", options] if options else []), node, str(folder)])
        try:
            yield folder
        finally:
            run(["umount", str(folder)])


@contextmanager
def _writable_loop(path: Path) -> Iterator[str]:
    node = run(["losetup", "--find", "--show", str(path)]).text.strip()
    try:
        yield node
    finally:
        run(["losetup", "--detach", node])


def _describe(folder: Path) -> dict[str, tuple[str, int, str]]:
    """Kind, time to two seconds (which FAT keeps) and content of all below a folder."""
    answer = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            answer[str(path.relative_to(folder))] = ("link", 0, os.readlink(path))
        elif path.is_file():
            moment = path.stat().st_mtime_ns // 10**9 // 2
            answer[str(path.relative_to(folder))] = ("file", moment, hashlib.blake2b(path.read_bytes()).hexdigest())
        else:
            answer[str(path.relative_to(folder))] = (str(stat.S_IFMT(path.lstat().st_mode)), 0, "")
    return answer


def _fill_plain(folder: Path, *, many: int) -> None:
    rng = random.Random(3)
    for size in (0, 1, 100, 700, 4095, 4096, 4097, 100_000, 2 * MIB + 5):
        (folder / f"size {size}.bin").write_bytes(rng.randbytes(size))
    for name in ("A Long Name with Spaces and more.text", "ünïcödé €.txt", "x" * 250, "lower.txt", "UPPER.TXT", "Mixed.TxT"):
        (folder / name).write_text(name)
    deep = folder
    for level in range(12):
        deep = deep / f"folder {level}"
        deep.mkdir()
        (deep / "file").write_text(str(level))
    (folder / "many").mkdir()
    for index in range(many):
        (folder / "many" / f"a name of some length {index:05}.txt").write_text(str(index))
    # Two that grow in turns are in pieces.
    with (folder / "one").open("wb") as one, (folder / "two").open("wb") as two:
        for index in range(60):
            for file in (one, two):
                file.write(rng.randbytes(20_000 + index))
                file.flush()
                os.fsync(file.fileno())
    os.utime(folder / "one", ns=(10**18 + 2 * 10**9, 10**18 + 2 * 10**9))


@pytest.mark.parametrize("cluster", [4096, 65536])
def test_ntfs(tmp_path: Path, cluster: int) -> None:
    path = sparse_file(tmp_path / "ntfs.img", 256 * MIB)
    run(["mkfs.ntfs", "-q", "-F", "-f", "-c", str(cluster), str(path)], timeout=120)
    rng = random.Random(5)
    with _fuse("ntfs-3g", path, "compression,streams_interface=xattr") as folder:
        _fill_plain(folder, many=3000)
        (folder / "Case").write_text("upper")
        (folder / "case").write_text("lower")
        with (folder / "sparse").open("wb") as file:
            file.seek(20 * MIB)
            file.write(rng.randbytes(100_000))
            file.truncate(50 * MIB)
        (folder / "link").symlink_to("lower.txt")
        (folder / "streams").write_text("the main one")
        os.setxattr(folder / "streams", "user.Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
        os.setxattr(folder / "streams", "user.large", rng.randbytes(1500))
        (folder / "linked").write_text("several names")
        for index in range(60):  # so many names need an attribute list
            os.link(folder / "linked", folder / f"{'n' * 150} {index}")
        if cluster == 4096:
            (folder / "packed").mkdir()
            os.setxattr(folder / "packed", "system.ntfs_attrib_be", (0x10 | _COMPRESSED).to_bytes(4, "big"))
            words = [rng.randbytes(9) for _ in range(50)]
            (folder / "packed/words").write_bytes(b"".join(rng.choice(words) for _ in range(60_000)))
            (folder / "packed/noise").write_bytes(rng.randbytes(300_000))
            (folder / "packed/zeros").write_bytes(bytes(400_000) + b"end" + bytes(70_000))
            (folder / "packed/text").write_bytes(Path(__file__).read_bytes() * 9)
    with opened(path) as tree, _fuse("ntfs-3g", path, "ro,streams_interface=xattr") as folder:
        if cluster == 4096:
            assert tree.entry("packed/words").allocated < 400_000  # else nothing was compressed
        result = copied(tree, "", tmp_path / "out")
        assert not result.failed
        assert not result.lost
        assert _describe(tmp_path / "out") == _describe(folder)
        assert (tmp_path / "out/linked").stat().st_nlink == 61
        assert tree.entry("linked").links == 61
        for name in ("user.Zone.Identifier", "user.large"):
            assert os.getxattr(tmp_path / "out/streams", name) == os.getxattr(folder / "streams", name)
        assert (tmp_path / "out/sparse").stat().st_blocks * 512 < 300_000
        for entry in tree.children(tree.root()):
            theirs = (folder / entry.name).lstat()
            assert entry.inode == theirs.st_ino
            assert entry.modified // 1000 == theirs.st_mtime_ns // 1000
        assert tree.entry("LOWER.txt").name == "lower.txt"
        assert tree.entry("case").name == "case"


def test_ntfs_streams_too_large_for_an_attribute_are_told(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "ntfs.img", 32 * MIB)
    run(["mkfs.ntfs", "-q", "-F", "-f", str(path)], timeout=120)
    (tmp_path / "stream").write_bytes(b"s" * 200_000)
    (tmp_path / "main").write_text("main")
    run(["ntfscp", str(path), str(tmp_path / "main"), "file"])
    run(["ntfscp", "-N", "big", str(path), str(tmp_path / "stream"), "file"])
    with opened(path) as tree:
        assert copied(tree, "file", tmp_path / "out").lost == {LARGE_STREAMS: 1}
    assert (tmp_path / "out/file").read_text() == "main"


@pytest.mark.parametrize(("bits", "size"), [("12", 8 * MIB), ("16", 96 * MIB), ("32", 96 * MIB)])
def test_fat(tmp_path: Path, bits: str, size: int) -> None:
    path = sparse_file(tmp_path / "fat.img", size)
    run(["mkfs.vfat", "-F", bits, *(["-s", "1"] if bits == "32" else []), str(path)])
    there = tmp_path / "there"
    there.mkdir()
    _fill_plain(there, many=500)
    for extra in there.iterdir():
        run(["mcopy", "-s", "-m", "-i", str(path), str(extra), "::/"], env={"TZ": "UTC", "LC_ALL": "C.UTF-8"})
    run(["mdel", "-i", str(path), "::/size 100000.bin"])
    run(["mcopy", "-m", "-i", str(path), str(there / "size 2097157.bin"), "::/in pieces"], env={"TZ": "UTC", "LC_ALL": "C.UTF-8"})
    shutil.copy2(there / "size 2097157.bin", there / "in pieces")
    (there / "size 100000.bin").unlink()
    with opened(path) as tree:
        result = copied(tree, "", tmp_path / "out")
        assert not result.failed
        ours, theirs = _describe(tmp_path / "out"), _describe(there)
        assert sorted(ours) == sorted(theirs)
        for name, (kind, moment, content) in theirs.items():
            assert ours[name][0] == kind
            assert ours[name][2] == content, name
            assert abs(ours[name][1] - moment) <= 1
        assert tree.entry("a LONG name WITH spaces and more.TEXT").kind is Kind.FILE


def test_fat_chains_that_end_early_are_errors(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "fat.img", 8 * MIB)
    run(["mkfs.vfat", "-F", "12", str(path)])
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    run(["mcopy", "-i", str(path), str(tmp_path / "file"), "::/file"])
    with opened(path) as tree:
        first = tree.entry("file").handle
        assert isinstance(first, int)
    with path.open("r+b") as file:  # entry of the first cluster: end of chain
        boot = file.read(64)
        place = int.from_bytes(boot[14:16], "little") * 512 + first * 3 // 2
        file.seek(place)
        pair = int.from_bytes(file.read(2), "little")
        pair = pair | 0xFFF0 if first & 1 else pair | 0x0FFF
        file.seek(place)
        file.write(pair.to_bytes(2, "little"))
    with opened(path) as tree:
        with pytest.raises(FormatError, match="shorter"):
            list(tree.read(tree.entry("file")))
        assert [path for path, _ in copied(tree, "", tmp_path / "out").failed] == ["file"]
        assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("cluster", [4 * KIB, 128 * KIB])
def test_exfat(tmp_path: Path, cluster: int) -> None:
    path = sparse_file(tmp_path / "exfat.img", 256 * MIB)
    run(["mkfs.exfat", "-c", str(cluster), str(path)])
    with _fuse("mount.exfat-fuse", path) as folder:
        _fill_plain(folder, many=1000)
    with opened(path) as tree, _fuse("mount.exfat-fuse", path, "ro") as folder:
        result = copied(tree, "", tmp_path / "out")
        assert not result.failed
        assert _describe(tmp_path / "out") == _describe(folder)
        assert tree.entry("MIXED.txt").name == "Mixed.TxT"


def test_content_that_windows_keeps_elsewhere_is_refused_by_name(tmp_path: Path) -> None:
    """CompactOS and files of a cloud, as Windows leaves them: a hole with a reparse point. No zeros are given out for them."""
    path = sparse_file(tmp_path / "volume", 32 * MIB)
    run(["mkfs.ntfs", "--fast", "--force", "--quiet", str(path)])
    compact = struct.pack("<IHHIIII", 0x80000017, 16, 0, 1, 2, 1, 0)  # WOF_EXTERNAL_INFO, FILE_PROVIDER_EXTERNAL_INFO_V1
    cloud = struct.pack("<IHH", 0x9000601A, 8, 0) + bytes(8)
    with _fuse("ntfs-3g", path, "streams_interface=windows") as root:
        for name, point, attributes in (("compact", compact, 0x200), ("cloud", cloud, 0x401600), ("here", cloud, 0x20)):
            with (root / name).open("wb") as file:
                if name == "here":
                    file.write(b"content")
                else:
                    file.truncate(100_000)
            if name == "compact":
                (root / f"{name}:WofCompressedData").write_bytes(os.urandom(5000))
            os.setxattr(root / name, "system.ntfs_reparse_data", point)
            old = struct.unpack("<I", os.getxattr(root / name, "system.ntfs_attrib"))[0]
            os.setxattr(root / name, "system.ntfs_attrib", struct.pack("<I", old | attributes))
        (root / "plain").write_bytes(b"plain")
    with opened(path) as tree:
        problems = {entry.name: entry.problem for entry in tree.children(tree.root())}
        result = copied(tree, "", tmp_path / "out")
    assert "CompactOS" in problems["compact"]
    assert problems["here"] == problems["plain"] == ""
    assert "not on this disk" in problems["cloud"]
    assert (tmp_path / "out" / "here").read_bytes() == b"content"
    assert not (tmp_path / "out" / "compact").exists()
    assert ("compact", problems["compact"]) in result.failed
    assert not (tmp_path / "out" / "cloud").exists()
