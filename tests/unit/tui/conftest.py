"""What the interface's tests need: one time zone, one terminal, a clock that stands still, a recorded machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.tui.recorded import Clock, RecordedMachine


@pytest.fixture(autouse=True)
def _one_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "COLORTERM", "TEXTUAL_THEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def clock() -> Clock:
    """Time that passes when told."""
    return Clock()


@pytest.fixture
def machine(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedMachine:
    """The recorded machine; its mounted places look like a folder with one folder in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backups" / "old").mkdir(parents=True)
    return RecordedMachine(clock, folder=Path("backups"))
