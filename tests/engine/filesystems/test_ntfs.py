"""The used map of NTFS with every cluster size that mkntfs makes, against both oracles."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rescue.filesystems.ntfs import used_map
from rescue.filesystems.ntfs_mft import Mft
from rescue.model.extents import ExtentMap
from rescue.system.blockfile import FileSource
from rescue.system.run import run
from rescue.units import KIB, MIB
from tests.engine.filesystems.oracle import Case, Tree, describe, fill, prove, read_map, sparse_file, thin_out

pytestmark = pytest.mark.engine

_BACKUP = "partclone leaves out the backup boot sector and what is behind the last cluster"
_COMPRESSED = (0x0800).to_bytes(4, "big")


@contextmanager
def _mounted(path: Path, options: str = "rw") -> Iterator[Path]:
    """The file mounted by ntfs-3g, which needs neither a loop device nor a kernel driver."""
    folder = path.with_name(path.name + ".mount")
    folder.mkdir(exist_ok=True)
    run(["ntfs-3g", "-o", options, str(path), str(folder)])
    try:
        yield folder
    finally:
        run(["umount", str(folder)])
        folder.rmdir()


def _make(*options: str) -> Callable[[Path], None]:
    return lambda path: _format(path, *options)


def _format(path: Path, *options: str) -> None:
    run(["mkntfs", "-q", "-F", "-Q", *options, str(path)])


def _populate(path: Path) -> None:
    """Files, alternate data streams (as extended attributes), a compressed folder, many names in the root directory."""
    with _mounted(path, "rw,compression") as folder:
        fill(folder / "old", 1, 12 * MIB)
        packed = folder / "packed"
        packed.mkdir()
        os.setxattr(packed, "system.ntfs_attrib_be", _COMPRESSED)
        for number in range(5):
            (packed / f"text {number}").write_bytes(b"squeeze this line\n" * 20_000 + random.Random(number).randbytes(30_000))
        status = os.stat(packed / "text 0")
        if os.statvfs(folder).f_bsize <= 4096:  # NTFS compresses in no larger clusters
            assert status.st_blocks * 512 < status.st_size
        for number in range(600):
            (folder / f"in the root {number}").write_bytes(b"x" * (number % 3 * 700))
        thin_out(folder / "old", 2)
        fill(folder / "new", 3, 4 * MIB)


def _read_back(path: Path) -> Tree:
    with _mounted(path, "ro") as folder:
        return describe(folder)


def _check(path: Path) -> None:
    """ntfsresize compares every file's runs with the bitmap; ntfsfix looks at the boot sectors, the mirror and the state."""
    run(["ntfsresize", "--info", "--force", str(path)], timeout=120)
    run(["ntfsfix", "--no-action", str(path)], timeout=120)


def _case(name: str, *options: str, size: int = 96 * MIB) -> Case:
    return Case(
        name, size, _make(*options), _populate, _read_back, _check, partclone="ntfs", may_exceed=512 * KIB, why_exceeding=_BACKUP
    )


_CASES = [
    *(_case(f"clusters of {size}", "-c", str(size)) for size in (512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)),
    _case("sectors of 4096", "-s", "4096", "-c", "4096"),
    _case("sectors of 1024", "-s", "1024", "-c", "2048"),
    _case("large clusters", "-c", "262144", size=192 * MIB),
    _case("an odd number of sectors", size=96 * MIB - 7 * 512),
    _case("compressed from the root on", "-C"),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_both_oracles_agree(case: Case, tmp_path: Path) -> None:
    prove(case, tmp_path, used_map)


def test_the_backup_boot_sector_is_kept_in_a_partition_that_is_larger_than_the_file_system(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 32 * MIB)
    _format(path)
    boot = path.read_bytes()[:512]
    assert path.read_bytes()[-512:] == boot
    os.truncate(path, 48 * MIB)
    kept = read_map(path, used_map).extents
    assert ExtentMap([(32 * MIB - 512, 32 * MIB)]).difference(kept).total == 0
    assert kept.total < 16 * MIB


def test_an_mft_in_hundreds_of_pieces_is_followed(tmp_path: Path) -> None:
    """More pieces than fit into one record: the MFT's own description is spread over records of the MFT."""
    case = Case("scattered", 24 * MIB, _make("-c", "512"), _scatter_the_mft, _read_back, _check, "ntfs", may_exceed=128 * KIB)
    prove(case, tmp_path, used_map)


def _scatter_the_mft(path: Path) -> None:
    with _mounted(path) as folder:
        names = list(_fill_up(folder, "large", b"x" * 1000))
        for name in names[::2]:
            (folder / name).unlink()
        list(_fill_up(folder, "empty", b""))
    with FileSource(path) as volume:
        assert len(Mft(volume).stream.runs) > 300


def _fill_up(folder: Path, stem: str, content: bytes) -> Iterator[str]:
    """Write files until no more fit; their names."""
    for number in range(50_000):
        name = f"{stem} {number}"
        try:
            (folder / name).write_bytes(content)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
        yield name


@pytest.mark.parametrize("header", [b"hibr", b"HIBR", b"RSTR", b"what"])
def test_a_hibernated_windows_is_whole(header: bytes, tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 32 * MIB)
    _format(path)
    with _mounted(path) as folder:
        for number in range(500):
            (folder / f"neighbour {number}").touch()
        (folder / "hiberfil.sys").write_bytes(header + bytes(100_000))
    assert "hibernated" in read_map(path, used_map).whole_because


@pytest.mark.parametrize("header", [b"wake", bytes(4)])
def test_a_windows_that_was_woken_is_not_whole(header: bytes, tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "volume", 32 * MIB)
    _format(path)
    with _mounted(path) as folder:
        (folder / "hiberfil.sys").write_bytes(header + bytes(100_000))
    assert not read_map(path, used_map).whole_because
