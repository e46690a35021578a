"""Where an overlay may be: in a folder that is there, and on no disk that is erased or only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.devices.kernel import Kernel
from rescue.engine.overlay import MEMORY
from rescue.errors import RefusedError, UsageError
from rescue.model.disk import Disk
from rescue.records import replace
from rescue.services import fitting
from tests.unit.planning.machines import BLANK, LAPTOP


@pytest.fixture(autouse=True)
def below(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is on a partition of the laptop's disk, and in the file /home/disk.raw."""

    def stands_on(kernel: Kernel, path: str) -> tuple[set[str], set[str]]:
        del kernel, path
        return {"nvme0n1p3", "nvme0n1"}, {"/home/disk.raw"}

    monkeypatch.setattr(fitting, "stands_on", stands_on)


def _checked(folder: Path | str, target: Disk = BLANK, source: Disk | None = None) -> Path:
    return fitting.checked_overlay(str(folder), target, Kernel(), source)


def test_the_memory_unless_a_folder_is_named(tmp_path: Path) -> None:
    assert _checked("") == MEMORY
    assert _checked(tmp_path) == tmp_path


def test_it_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in (tmp_path / "file", tmp_path / "missing", "relative"):
        with pytest.raises(UsageError, match="no folder that can hold an overlay"):
            _checked(name)


def test_it_must_not_be_on_the_target_or_the_source(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"is on /dev/nvme0n1 .* the disk that is to be erased"):
        _checked(tmp_path, LAPTOP)
    with pytest.raises(RefusedError, match="the disk that is only to be read"):
        _checked(tmp_path, BLANK, LAPTOP)
    with pytest.raises(RefusedError, match="the disk that is to be erased"):
        _checked(tmp_path, replace(BLANK, path="/home/disk.raw", is_file=True))
