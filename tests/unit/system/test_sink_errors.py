"""Why a target took no data, told apart as a person needs it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rescue.errors import TargetWriteError
from rescue.system.blockfile import FileSink


@pytest.mark.parametrize(
    ("size_now", "code", "said"),
    [
        (4096, errno.ENOSPC, "is full"),
        (0, errno.ENOSPC, "unplugged"),  # what Linux answers when a virtio disk was pulled out under an open descriptor
        (4096, errno.EIO, "unplugged"),
        (4096, errno.EROFS, "Read-only"),
    ],
)
def test_reason(size_now: int, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full is full only while the disk still has its size."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with FileSink(path) as sink:
        os.truncate(path, size_now)
        monkeypatch.setattr(os, "pwrite", refuse)
        with pytest.raises(TargetWriteError, match=said):
            sink.pwrite(b"data", 0)
