"""A file system that its own program does not get smaller is made anew and filled by its files, and starts as before."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from rescue.devices.table import read_layout
from rescue.model.layout import Partition
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.loop import loop_device
from rescue.system.run import run
from rescue.units import GIB, MIB
from tests.engine.cli.command import Rescue
from tests.engine.devices.loops import mounted, sparse
from tests.engine.fit.stubborn import stubborn_tools
from tests.hashes import digest

pytestmark = pytest.mark.engine

_SETTINGS = (
    "Filesystem features", "Default mount options", "Errors behavior", "Maximum mount count", "Check interval",
    "Reserved blocks uid", "Reserved blocks gid", "Total journal size", "Inode size", "Block size",
)  # fmt: skip
_CODE = {"ext4": (0, 1024), "ntfs": (0x54, 0x1FE)}  # a boot loader in the volume's first sectors


def _parts(path: Path) -> tuple[Partition, ...]:
    with FileSource(path) as source:
        return read_layout(source, 512).data_partitions


def _disk(path: Path, options: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """ext4 and NTFS with boot code and files; both by name."""
    sparse(path, 2 * GIB)
    run(["sfdisk", "--quiet", str(path)], stdin=b"label: dos\nsize=900MiB, type=83\nsize=900MiB, type=7\n")
    files = {f"file-{number}": os.urandom(random.Random(number).randrange(3 * MIB)) for number in range(12)}
    code = {name: os.urandom(high - low) for name, (low, high) in _CODE.items()}
    ext, ntfs = _parts(path)
    with loop_device(str(path), offset=ext.start, size=ext.size, writable=True) as node:
        run(["mkfs.ext4", "-q", *options, "-J", "size=16", "-L", "root", node])
        run(["tune2fs", "-e", "remount-ro", "-c", "30", "-i", "7d", "-u", "12", "-g", "13", "-o", "journal_data,^acl", node])
        with mounted(node, path.parent / "ext") as point:
            for name, content in files.items():
                (point / name).write_bytes(content)
            os.chown(point / "file-2", 1234, 4321)
            with (point / "swapfile").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 32 * MIB)
            run(["mkswap", str(point / "swapfile")])
    with loop_device(str(path), offset=ntfs.start, size=ntfs.size, writable=True) as node:
        run(["mkfs.ntfs", "-q", "-F", "-f", "-L", "win", "-p", str(ntfs.start // 512), "-H", "255", "-S", "63", node])
        for name, content in files.items():
            (path.parent / name).write_bytes(content)
            run(["ntfscp", "-q", node, str(path.parent / name), name])
    with FileSink(path) as sink:
        sink.pwrite(code["ext4"], ext.start + _CODE["ext4"][0])
        for start in (ntfs.start, ntfs.end - 512):  # there is a copy of it behind the file system
            sink.pwrite(code["ntfs"], start + _CODE["ntfs"][0])
    return files, code


def _ids(path: Path, part: Partition) -> list[str]:
    said = run(["blkid", "-p", "-o", "export", "-O", str(part.start), "-S", str(part.size), str(path)]).text
    return [line for line in said.splitlines() if line.startswith(("UUID=", "LABEL=", "TYPE="))]


def _settings(path: Path, part: Partition) -> list[str]:
    with loop_device(str(path), offset=part.start, size=part.size) as node:
        said = run(["dumpe2fs", "-h", node]).text
    return [line for line in said.splitlines() if line.startswith(_SETTINGS)]


@pytest.mark.parametrize("options", [(), ("-b", "1024")], ids=["4k", "1k"])
def test_what_its_own_program_does_not_make_smaller_is_made_anew(options: tuple[str, ...], tmp_path: Path) -> None:
    path, target = tmp_path / "disk.raw", sparse(tmp_path / "target.raw", 400 * MIB)
    files, code = _disk(path, options)
    before, settings = digest(path), _settings(path, _parts(path)[0])
    ids = [_ids(path, part) for part in _parts(path)]
    said = Rescue(tmp_path / "jobs", stubborn_tools(tmp_path / "bin")).ok("clone", path, target, "--yes")
    assert said.err.count("filled by its files instead") == 2
    assert digest(path) == before
    ext, ntfs = _parts(target)
    assert [_ids(target, part) for part in (ext, ntfs)] == ids
    assert _settings(target, ext) == settings
    content = target.read_bytes()
    for part, kind in ((ext, "ext4"), (ntfs, "ntfs")):
        low, high = (part.start + place for place in _CODE[kind])
        assert content[low:high] == code[kind]
    assert content[ntfs.start : ntfs.start + 512] == content[ntfs.end - 512 : ntfs.end]
    with loop_device(str(target), offset=ext.start, size=ext.size) as node:
        run(["e2fsck", "-f", "-n", node])
        with mounted(node, tmp_path / "new", "-o", "ro") as point:
            assert {file.name: file.read_bytes() for file in point.iterdir() if file.name.startswith("file-")} == files
            swap = (point / "swapfile").stat()
            assert swap.st_blocks * 512 >= swap.st_size == 32 * MIB
            assert (point / "file-2").stat().st_uid == 1234
    with loop_device(str(target), offset=ntfs.start, size=ntfs.size) as node:
        run(["ntfsfix", "-n", node])
        assert {name: run(["ntfscat", node, name]).stdout for name in files} == files
        assert Path(node).read_bytes()[28:32] == (ntfs.start // 512).to_bytes(4, "little")


def test_what_cannot_be_made_anew_either_is_left_with_nothing_written(tmp_path: Path) -> None:
    """Attributes in inodes of their own are a feature that it is not made anew with."""
    path, target = tmp_path / "disk.raw", sparse(tmp_path / "target.raw", 400 * MIB)
    _disk(path, ("-O", "ea_inode"))
    told = Rescue(tmp_path / "jobs", stubborn_tools(tmp_path / "bin"))("clone", path, target, "--yes")
    assert told.code == 1
    assert "did not get as small" in told.err
    assert not target.stat().st_blocks


def test_what_would_have_no_room_made_anew_is_left_with_nothing_written(tmp_path: Path) -> None:
    """Next to the smallest size that resize2fs can reach a new one has no room for its own tables."""
    path = sparse(tmp_path / "disk.raw", 601 * MIB)
    run(["sfdisk", "--quiet", str(path)], stdin=b"label: dos\nsize=600MiB, type=83\n")
    (part,) = _parts(path)
    with loop_device(str(path), offset=part.start, size=part.size, writable=True) as node:
        run(["mkfs.ext4", "-q", "-b", "4096", "-J", "size=4", "-i", "1048576", "-m", "0", node])
        with mounted(node, tmp_path / "ext") as point:
            for number in range(16):
                (point / f"file-{number}").write_bytes(os.urandom(10 * MIB))
    target = sparse(tmp_path / "target.raw", 171 * MIB)
    told = Rescue(tmp_path / "jobs", stubborn_tools(tmp_path / "bin"))("clone", path, target, "--yes")
    assert told.code == 1, told
    assert "did not get as small" in told.err
    assert not target.stat().st_blocks
