"""Right before the first write: what is read must not be stored on what is written, however it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rescue.devices.fingerprint import fingerprint
from rescue.devices.open import file_disk
from rescue.errors import RefusedError
from rescue.jobs import guard
from rescue.model.clone import CloneDisk
from rescue.model.disk import Disk, Protection
from rescue.model.fitting import FitDisk
from rescue.model.layout import Layout
from rescue.model.plan import DeployImage, Plan, Step
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.units import MIB
from tests.unit.planning.machines import LAPTOP

_LAYOUT = Layout(MIB, 512, "none")


@pytest.fixture
def target(tmp_path: Path) -> Disk:
    """A file as a disk."""
    path = tmp_path / "target.raw"
    path.write_bytes(bytes(MIB))
    return file_disk(str(path))


def _plan(target: Disk, step: Step) -> Plan:
    with FileSource(target.path) as source:
        return Plan("restore", (step,), (), target=target, fingerprint=fingerprint(target, source))


@pytest.mark.parametrize(
    ("step", "read"),
    [
        (DeployImage("", "/mnt/x.img.zst", "/t"), "/mnt/x.img.zst"),
        (CloneDisk("", LAPTOP, "/t", ()), LAPTOP.path),
        (FitDisk("", "/mnt/x.img.zst", LAPTOP, "/t", _LAYOUT, ()), "/mnt/x.img.zst"),
        (FitDisk("", "", LAPTOP, "/t", _LAYOUT, ()), LAPTOP.path),
    ],
)
def test_what_is_read_must_not_be_on_the_target(step: Step, read: str, target: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def protections(disk: Disk, images: Sequence[str]) -> list[Protection]:
        assert disk.path == target.path
        asked.extend(images)
        return [Protection("it holds the image", "Choose another disk.")]

    monkeypatch.setattr(guard, "protections", protections)
    with pytest.raises(RefusedError, match="it holds the image"):
        guard.check_target(_plan(target, step))
    assert asked == [read]


def test_a_target_that_changed_or_went_is_refused(target: Disk) -> None:
    step = FitDisk("", "", LAPTOP, target.path, _LAYOUT, ())
    plan = _plan(target, step)
    guard.check_target(plan)
    with Path(target.path).open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(RefusedError):
        guard.check_target(plan)
    gone = replace(target, path=target.path + "-gone")
    with pytest.raises(RefusedError, match="not there any more"):
        guard.check_target(Plan("restore", (step,), (), target=gone, fingerprint=plan.fingerprint))
