"""Shares the command of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.cli.command import Rescue


@pytest.fixture
def rescue(tmp_path: Path) -> Rescue:
    """The command."""
    return Rescue(tmp_path / "jobs")
