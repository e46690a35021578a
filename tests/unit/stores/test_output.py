"""A file that grows: past the page cache where that is possible, by it otherwise, always the same bytes."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescue.stores import output
from rescue.stores.output import OutputFile
from rescue.units import KIB, MIB

_DATA = random.Random(1).randbytes(3 * MIB)
_WAYS = ("direct", "refused", "remote")


def opened(path: Path, way: str, patch: pytest.MonkeyPatch, position: int = 0) -> OutputFile:
    """``refused``: the file system opens files for direct I/O, and then does not take it (as ntfs3 and some FUSE ones do)."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if way == "remote":
        patch.setattr(output, "reopen_direct", lambda _fd, _mode: -1)
    file = OutputFile(fd, position)
    if way == "refused" and file._direct >= 0:
        refused, real = file._direct, os.pwrite

        def pwrite(fd: int, data: memoryview, offset: int) -> int:
            if fd == refused:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return real(fd, data, offset)

        patch.setattr(os, "pwrite", pwrite)
    return file


@pytest.mark.parametrize("way", _WAYS)
@given(
    start=st.sampled_from([0, 1, 4095, 4096, 100 * KIB + 7]),
    sizes=st.lists(st.sampled_from([1, 511, 4096, 64 * KIB, 64 * KIB - 1, 200 * KIB + 3, MIB + 1]), max_size=8),
    pushes=st.sets(st.integers(0, 8)),
)
def test_the_bytes_are_those_that_were_written(
    way: str, start: int, sizes: list[int], pushes: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("output") / "a"
    path.write_bytes(_DATA[:start])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_GATHERED", 64 * KIB)
        file = opened(path, way, patch, start)
        expected = bytearray(_DATA[:start])
        for number, size in enumerate(sizes):
            piece = _DATA[number * 1000 :][:size]
            file.write(memoryview(piece))
            expected += piece
            assert file.position == len(expected)
            if number in pushes:
                file.push()
                assert path.read_bytes() == expected
        if way == "refused" and not pushes and len(expected) - start >= 128 * KIB:  # so one write began on a block at least
            assert file._direct < 0
        file.sync()
        file.close()
    assert path.read_bytes() == expected


def test_on_a_local_disk_it_passes_the_cache_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = []
    real = os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        ways.append((fd == file._direct, len(data), offset))
        return real(fd, data, offset)

    file = opened(tmp_path / "a", "direct", monkeypatch)
    if file._direct < 0:
        assert os.major(os.stat(tmp_path).st_dev) == 0, "a file system on a disk that takes no direct I/O"
        return
    monkeypatch.setattr(os, "pwrite", pwrite)
    for _ in range(3):
        file.write(memoryview(_DATA))
    file.write(memoryview(b"x"))
    file.sync()
    file.close()
    assert ways == [(True, 8 * MIB, 0), (True, 1 * MIB, 8 * MIB), (False, 1, 9 * MIB)]


@pytest.mark.parametrize("taken", [0, 4096, 12 * KIB])
def test_after_an_error_it_says_how_much_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    file = opened(tmp_path / "a", "direct", monkeypatch)
    real = os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if offset == taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: taken - offset], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space"):
        file.write(memoryview(_DATA * 3))
    assert file.position == taken == os.stat(tmp_path / "a").st_size
    file.push()  # nothing waits any more
    file.close()
