"""Everything that fitting makes is in one folder, by which its mounts and loop devices are known; nothing of it may stay."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.system.run import run


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    # pytest's own folders have names that are too long for a socket.
    with tempfile.TemporaryDirectory(prefix="p-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        assert os.listdir(folder) == []
        assert folder not in Path("/proc/self/mounts").read_text()
        attached = run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).text
        assert folder not in attached
        assert str(tmp_path) not in attached
        monkeypatch.undo()
