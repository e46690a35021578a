"""What the tests with virtual machines share: the ISO, a folder for what they leave behind, one for disks."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
KEPT = _ROOT / "build" / "vm"


@pytest.fixture(scope="session")
def iso() -> Path:
    """The ISO under test: ``RESCUE_ISO``, else ``build/rescue.iso``."""
    path = Path(os.environ.get("RESCUE_ISO", _ROOT / "build" / "rescue.iso")).absolute()
    if not path.exists():
        pytest.fail(f"There is no ISO at {path}: run make iso.")
    return path


@pytest.fixture
def artifacts(request: pytest.FixtureRequest) -> Path:
    """``build/vm/TEST``, empty at the start: logs, screenshots and measurements that stay."""
    folder = KEPT / re.sub(r"[^A-Za-z0-9_-]+", "-", request.node.name).strip("-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def disks() -> Iterator[Path]:
    """A folder for disk files, several GiB when written to, gone after the test."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="disks-", dir=KEPT) as folder:
        yield Path(folder)
