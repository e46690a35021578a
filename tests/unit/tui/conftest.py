"""What the interface's tests need: one time zone, one terminal, a clock that stands still, a recorded machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.screen import Screen

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


def _not_drawn(screen: Screen[object]) -> None:
    """Instead of Screen._compositor_refresh: nobody looks at a terminal here, and drawing is half of the time.

    :meth:`Person.screen` draws all of the screen, whatever was drawn before.
    """
    screen._compositor._dirty_regions.clear()
    screen._dirty_widgets.clear()


@pytest.fixture(scope="session", autouse=True)
def _light_apps() -> Iterator[None]:
    """What makes an app cheap to start, show and end: nothing is drawn before somebody looks, style sheets are parsed once."""
    parsed: dict[object, list[RuleSet]] = {}
    parse = Stylesheet._parse_rules

    def parse_once(sheet: Stylesheet, css: str, *where: Any, **how: Any) -> list[RuleSet]:
        key = (tuple(sheet._variables.items()), css, where, tuple(how.items()))
        if key not in parsed:
            parsed[key] = parse(sheet, css, *where, **how)
        return parsed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Screen, "_compositor_refresh", _not_drawn)
        patch.setattr(Stylesheet, "_parse_rules", parse_once)
        # Apps are full of cycles; without this every collection walks over all the modules too.
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()


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
