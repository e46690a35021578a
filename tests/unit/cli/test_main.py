"""Arguments in, exit codes and text out."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from rescue.cli import follow
from rescue.cli.main import main
from rescue.cli.new_file import blank_file
from rescue.model.plan import CaptureDisk, Plan, ReadBack
from rescue.model.progress import Finished, Message, Progress
from rescue.model.survey import DiskSurvey
from rescue.services import Job
from rescue.units import GIB, MIB
from tests.unit.cli.recorded import RecordedMachine
from tests.unit.planning.machines import LAPTOP


class Terminal(io.StringIO):
    """A text stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture
def machine() -> RecordedMachine:
    """A laptop's disk, the rescue stick, a blank disk."""
    return RecordedMachine()


def rescue(machine: RecordedMachine, *arguments: str) -> int:
    """Run one command."""
    return main(arguments, lambda: machine)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("backup", "/dev/sda"),
        ("backup", "/dev/sda", "/x", "--nonsense"),
        ("backup", "/dev/sda", "/x", "--level", "much"),
        ("verify",),
        ("verify", "x", "--progress", "dots"),
        ("restore", "x"),
        ("clone", "/dev/sda"),
    ],
)
def test_wrong_usage_is_2(machine: RecordedMachine, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        rescue(machine, *arguments)
    assert exit_.value.code == 2
    assert "usage: rescue" in capsys.readouterr().err
    assert machine.started == []


def test_without_a_command_and_without_a_terminal(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_help_lists_only_what_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for command in ("disks", "backup", "restore", "clone", "verify", "info", "list"):
        assert f"\n    {command} " in text


def test_disks_fit_80_columns_and_say_what_is_protected(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine, "disks") == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "/dev/nvme0n1 (Samsung SSD 980, 512.0 GiB, serial S649NX0R)" in text
    assert "  3  NTFS                Windows  399.0 GiB  210.0 GiB used  Windows 11\n" in text
    assert "Protected: the rescue system runs from it" in text
    assert "  blank" in text


def test_disks_as_json(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine, "disks", "--json") == 0
    laptop, stick, _ = json.loads(capsys.readouterr().out)
    assert (laptop["path"], laptop["serial"], laptop["size"]) == ("/dev/nvme0n1", "S649NX0R", 512 * GIB)
    assert laptop["partitions"][0]["start"] == MIB
    assert laptop["volumes"][2]["used"] == 210 * GIB
    assert stick["rescue_medium"]
    assert stick["protected"][0]["reason"] == "the rescue system runs from it"


def test_info_and_list(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine, "info", "/mnt/usb/laptop.img.zst") == 0
    text = capsys.readouterr().out
    assert "Made     2026-11-22 10:57 UTC on laptop\n" in text
    assert "Windows" in text
    assert rescue(machine, "info", "/mnt/usb/laptop.img.zst", "--json") == 0
    assert json.loads(capsys.readouterr().out)["content"]["label"] == "gpt"
    assert rescue(machine, "list", "/mnt/usb") == 0
    text = capsys.readouterr().out
    assert "2026-11-22 10:57  full  90.0 GiB  proved  laptop.img.zst\n" in text
    assert "    before the update\n" in text
    assert "    It is not complete.\n" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert rescue(machine, "list", "/mnt/usb", "--json") == 0
    assert [i["problem"] for i in json.loads(capsys.readouterr().out)] == ["", "It is not complete."]


def test_a_dry_run_starts_nothing(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine, "backup", "/dev/nvme0n1", "/mnt/usb", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "1. Read /dev/nvme0n1" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert rescue(machine, "restore", "/x.img.zst", "/dev/nvme0n1", "--dry-run") == 0
    assert "- Partition 3, NTFS, “Windows”" in capsys.readouterr().out
    assert rescue(machine, "restore", "/x.img.zst", "/dev/sdb", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"][0]["type"] == "wipe-target"
    assert machine.started == []


def test_options_reach_the_plan(machine: RecordedMachine) -> None:
    code = rescue(machine, "backup", "/dev/nvme0n1", "/mnt/usb", "--name", "x", "--level", "9", "--comment", "hm", "--no-verify")
    assert code == 0
    (step,) = machine.started[0].plan.steps
    assert step == CaptureDisk("Back up /dev/nvme0n1", LAPTOP, "/mnt/usb", "x.img.zst", 9, "hm")
    assert rescue(machine, "restore", "/x.img.zst", "/dev/sdb", "--yes", "--no-verify") == 0
    assert not any(isinstance(s, ReadBack) for s in machine.started[1].plan.steps)


@pytest.mark.parametrize(("failures", "code", "plans"), [(1, 0, 2), (2, 0, 3), (9, 3, 3)])
def test_a_backup_is_planned_anew_when_what_it_builds_on_was_removed(
    failures: int, code: int, plans: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Finished("failed", 3, "There is no image x.", "", {"plan_anew": True})

    class Machine(RecordedMachine):
        def start(self, plan: Plan) -> Job:
            self.events = [gone] if len(self.started) < failures else [Finished("succeeded", 0, "It is done.")]
            return super().start(plan)

    machine = Machine()
    assert rescue(machine, "backup", "/dev/nvme0n1", "/mnt/usb") == code
    assert len(machine.started) == plans
    said = capsys.readouterr()
    assert (said.out, said.err) == (("It is done.\n", "") if not code else ("", "rescue: There is no image x.\n"))


def test_success_is_on_standard_output(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine, "verify", "/x.img.zst") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("It is done.\n", "")


@pytest.mark.parametrize("code", [1, 3, 4, 5])
def test_failure_is_on_standard_error_with_its_code(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    machine = RecordedMachine([Finished("failed", code, "It broke.", "Mend it.")])
    assert rescue(machine, "verify", "/x.img.zst") == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "rescue: It broke.\nMend it.\n")


def test_the_verdict_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    machine = RecordedMachine([Finished("failed", 4, "It broke.", "Mend it.", {"verified": False})])
    assert rescue(machine, "verify", "/x.img.zst", "--json") == 4
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["state"], verdict["exit_code"], verdict["facts"]) == ("failed", 4, {"verified": False})


def test_a_refusal_starts_nothing(machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine, "restore", "/x.img.zst", "/dev/sda", "--yes") == 3
    assert "the rescue system runs from it" in capsys.readouterr().err
    assert rescue(machine, "restore", "/x.img.zst", "/dev/sdz", "--yes") == 2
    assert machine.started == []


def test_nobody_to_confirm(machine: RecordedMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("WXA1\n"))
    assert rescue(machine, "restore", "/x.img.zst", "/dev/sdb") == 3
    assert "--yes" in capsys.readouterr().err
    assert machine.started == []


@pytest.mark.parametrize(("typed", "code"), [("WXA1\n", 0), ("wxa1\n", 3), ("y\n", 3), ("\n", 3), ("", 3)])
def test_the_typed_confirmation(
    machine: RecordedMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert rescue(machine, "restore", "/x.img.zst", "/dev/sdb") == code
    assert len(machine.started) == (code == 0)
    said = capsys.readouterr().err
    assert "1. Erase everything on /dev/sdb" in said
    assert "its serial, WXA1: " in said


def test_progress_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    machine = RecordedMachine(
        [
            Progress("Check the image", 0, 5, 10, 2.5, 2.0),
            Message("warning", "Hm."),
            Finished("succeeded", 0, "It is done."),
        ]
    )
    assert rescue(machine, "verify", "/x.img.zst", "--progress", "json") == 0
    assert [json.loads(line) for line in capsys.readouterr().err.splitlines()] == [
        {"step": "Check the image", "done": 5, "total": 10, "rate": 2.5, "eta": 2.0},
        {"level": "warning", "message": "Hm."},
    ]


def test_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("COLUMNS", "100")
    machine = RecordedMachine(
        [Progress("Check", 0, 5 * MIB, 10 * MIB, 2.0 * MIB, 3.0), Message("info", "Hm."), Finished("succeeded", 0, "It is done.")]
    )
    assert rescue(machine, "verify", "/x.img.zst") == 0
    bar, message, _ = stderr.getvalue().split("\n")
    assert bar.strip() == "[##########----------]  50 %  Check, 5.0 MiB of 10.0 MiB, 2.0 MiB/s, 3 s left"
    assert message == "Hm."


def test_the_bar_is_cut_to_the_terminal() -> None:
    assert len(follow.progress_line(Progress("Check the image", 0, 5 * MIB, 10 * MIB, 2.0 * MIB, 3.0), 40)) == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_the_job_to_stop_and_waits_for_it(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    machine = RecordedMachine(
        [Progress("Write", 1, count, 1000) for count in range(1000)], [Finished("cancelled", 130, "Cancelled.", "How to go on.")]
    )
    timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
    timer.start()
    try:
        assert rescue(machine, "restore", "/x.img.zst", "/dev/sdb", "--yes") == 130
    finally:
        timer.cancel()
    assert machine.started[0].cancelled == 1
    assert capsys.readouterr().err == "Stopping…\nrescue: Cancelled.\nHow to go on.\n"


def test_a_target_file_is_created_and_kept(tmp_path: Path, machine: RecordedMachine) -> None:
    target = tmp_path / "disk.raw"
    machine.surveys.append(_survey_of(target))
    machine.events = [Progress("Erase", 0, 0, 0), Finished("failed", 1, "It broke.")]
    assert rescue(machine, "restore", "/x.img.zst", str(target)) == 1
    assert target.stat().st_size == LAPTOP.size
    assert target.stat().st_blocks == 0


def test_a_target_file_is_gone_when_the_restore_did_not_begin(tmp_path: Path, machine: RecordedMachine) -> None:
    target = tmp_path / "disk.raw"
    machine.surveys.append(_survey_of(target))
    machine.events = [Finished("failed", 3, "Refused.")]
    assert rescue(machine, "restore", "/x.img.zst", str(target)) == 3
    assert not target.exists()
    machine.surveys.pop()
    assert rescue(machine, "restore", "/x.img.zst", str(target)) == 2
    assert not target.exists()


def test_a_dry_run_creates_no_file(tmp_path: Path, machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "disk.raw"
    assert rescue(machine, "restore", "/x.img.zst", str(target), "--dry-run") == 0
    assert not target.exists()
    assert "the disk is blank" in capsys.readouterr().out


def test_a_target_file_where_none_can_be(tmp_path: Path, machine: RecordedMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue(machine, "restore", "/x.img.zst", str(tmp_path / "missing" / "disk.raw"), "--yes") == 2
    assert "There is no folder" in capsys.readouterr().err


def test_a_bug_is_a_sentence_and_a_file(
    tmp_path: Path, machine: RecordedMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> list[DiskSurvey]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(machine, "survey", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert rescue(machine, "disks") == 1
    (crash,) = tmp_path.iterdir()
    assert "ZeroDivisionError: oh" in crash.read_text()
    assert str(crash) in capsys.readouterr().err


def _survey_of(path: Path) -> DiskSurvey:
    return blank_file(str(path), LAPTOP.size)
