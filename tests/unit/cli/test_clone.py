"""``rescue clone``: arguments in, exit codes and text out."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rescue.cli.main import main
from rescue.cli.new_file import blank_file
from rescue.model.clone import CloneDisk, CloneReadBack
from rescue.model.progress import Event, Finished, Progress
from rescue.model.survey import DiskSurvey
from rescue.records import replace
from rescue.units import GIB
from tests.unit.cli.recorded import RecordedMachine
from tests.unit.planning.machines import LAPTOP, LAPTOP_SURVEY, fingerprint


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _WithFiles(RecordedMachine):
    def survey_one(self, name: str, beside: Sequence[str] = ()) -> DiskSurvey:
        """Disks, and files as large as the laptop's disk."""
        return super().survey_one(name, beside) if name.startswith("/dev/") else blank_file(name, LAPTOP.size)


def rescue(machine: RecordedMachine, *arguments: str) -> int:
    """Run one command."""
    return main(["clone", *arguments], lambda: machine)


def test_a_dry_run_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    machine = RecordedMachine()
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdb", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "1. Erase everything on /dev/sdb (WD Blue, 512.0 GiB, serial WXA1)." in text
    assert "Lost on /dev/sdb" in text
    assert "the same identifiers" in text
    assert "Command: rescue clone /dev/nvme0n1 /dev/sdb" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdb", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "clone"
    assert machine.started == []


def test_without_a_terminal_it_wants_yes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    machine = RecordedMachine()
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdb") == 3
    assert "--yes" in capsys.readouterr().err
    assert machine.started == []
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdb", "--yes") == 0
    assert len(machine.started) == 1


@pytest.mark.parametrize(("typed", "code"), [("WXA1", 0), ("9NX0R", 3), ("", 3)])
def test_the_serial_of_the_target_is_typed(monkeypatch: pytest.MonkeyPatch, typed: str, code: int) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(f"{typed}\n"))
    machine = RecordedMachine()
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdb") == code
    assert len(machine.started) == (code == 0)


def test_the_options_reach_the_plan() -> None:
    machine = RecordedMachine()
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdb", "--yes", "--delta", "--no-verify") == 0
    (step,) = (step for step in machine.started[0].plan.steps if isinstance(step, CloneDisk))
    assert step.delta is True
    assert not any(isinstance(step, CloneReadBack) for step in machine.started[0].plan.steps)
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdb", "--yes", "--no-delta") == 0
    (step,) = (step for step in machine.started[1].plan.steps if isinstance(step, CloneDisk))
    assert step.delta is False


@pytest.mark.parametrize("target", ["/dev/nvme0n1", "/dev/sda"])
def test_the_source_and_the_medium_are_refused(target: str) -> None:
    machine = RecordedMachine()
    assert rescue(machine, "/dev/nvme0n1", target, "--yes") == 3
    assert machine.started == []


def test_a_smaller_target_is_refused_with_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    machine = RecordedMachine()
    small = replace(LAPTOP, path="/dev/sdc", size=LAPTOP.size - GIB, serial="Z")
    machine.surveys.append(replace(LAPTOP_SURVEY, disk=small, fingerprint=fingerprint(small)))
    assert rescue(machine, "/dev/nvme0n1", "/dev/sdc", "--yes") == 3
    assert "is 1.0 GiB too small" in capsys.readouterr().err


@pytest.mark.parametrize("began", [True, False])
def test_a_new_file_is_made_and_goes_when_nothing_began(tmp_path: Path, began: bool) -> None:
    target = tmp_path / "copy.img"
    failed = Finished("failed", 1, "It did not work.")
    events: list[Event] = [Progress("Erase", 0, 0, 0), failed] if began else [failed]
    machine = _WithFiles(events)
    assert rescue(machine, "/dev/nvme0n1", str(target)) == 1
    assert target.exists() == began
    if began:
        assert target.stat().st_size == LAPTOP.size
        assert target.stat().st_blocks == 0
