"""Whatever happens in a step becomes one verdict, which says in what state things are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.errors import CancelledError, DamagedError, GoneError, RefusedError, RescueError, TargetWriteError
from rescue.jobs.execute import Facts, execute
from rescue.jobs.reporter import Reporter
from rescue.model.edit import FormatVolume, LabelVolume, SaveTables
from rescue.model.layout import Layout
from rescue.model.plan import CaptureDisk, DeployImage, Plan, ReadBack, Step, VerifyImage, WipeTarget, WriteTable
from rescue.model.progress import CancelToken, Event, Finished, Progress
from rescue.model.volume import Identity
from rescue.planning.request import RestoreRequest
from rescue.planning.restore import plan_restore
from rescue.planning.verify import plan_verify
from rescue.units import GIB, MIB
from tests.unit.planning.machines import BLANK_SURVEY, IMAGE, LAPTOP

RESTORE = plan_restore(IMAGE, BLANK_SURVEY, RestoreRequest())
BACKUP = Plan(
    kind="backup",
    steps=(
        CaptureDisk("Back up", LAPTOP, "/mnt/usb", "a.img.zst"),
        VerifyImage("Check the image", "/mnt/usb/a.img.zst"),
    ),
    sentences=(),
    source=LAPTOP,
)
EDIT = Plan(
    kind="partition",
    steps=(
        SaveTables("Keep", "/dev/sdb", "/var/tables", Layout(GIB, 512, "gpt"), (), ()),
        FormatVolume("Make", "/dev/sdb", 1, MIB, 100 * MIB, 512, "ext4"),
        LabelVolume("Label", "/dev/sdb", MIB, 100 * MIB, Identity("ext4"), "home"),
    ),
    sentences=(),
)


class Fake:
    """Performs nothing; fails where it is told to."""

    def __init__(
        self,
        fails: dict[type, Exception] | None = None,
        during: Callable[[Step], None] = lambda _: None,
        after: Callable[[Step], None] = lambda _: None,
    ) -> None:
        self.fails = fails or {}
        self.during = during
        self.after = after
        self.done: list[type] = []

    def guard(self) -> None:
        """Fails when told to."""
        if object in self.fails:
            raise self.fails[object]

    def perform(self, step: Step, token: CancelToken, reporter: Reporter) -> Facts:
        """Fails when told to."""
        self.during(step)
        token.check()
        if type(step) in self.fails:
            raise self.fails[type(step)]
        self.done.append(type(step))
        self.after(step)
        return {"used_bytes": 2048, "stored_size": 1024} if isinstance(step, CaptureDisk) else {}


def run(plan: Plan, performer: Fake, folder: Path, token: CancelToken | None = None) -> tuple[Finished, list[Event]]:
    """Run a plan; the verdict and the events."""
    events: list[Event] = []
    return execute(plan, performer, token or CancelToken(), Reporter(events.append), folder), events


def test_all_steps_in_order(tmp_path: Path) -> None:
    performer = Fake()
    finished, events = run(RESTORE, performer, tmp_path)
    assert performer.done == [WipeTarget, DeployImage, WriteTable, ReadBack]
    assert (finished.state, finished.exit_code) == ("succeeded", 0)
    assert finished.message.endswith("Everything was read back from the disk and is right.")
    assert [e.index for e in events if isinstance(e, Progress)] == [0, 1, 2, 3]


def test_what_was_proved_is_said_only_when_it_was(tmp_path: Path) -> None:
    plan = plan_restore(IMAGE, BLANK_SURVEY, RestoreRequest(verify=False))
    assert "read back" not in run(plan, Fake(), tmp_path)[0].message
    backup = run(BACKUP, Fake(), tmp_path)[0]
    assert backup.message == (
        "/dev/nvme0n1 is backed up as /mnt/usb/a.img.zst: 2.0 KiB kept in 1.0 KiB."
        " The image was read again and every hash in it is right."
    )


@pytest.mark.parametrize(("step", "anew"), [(CaptureDisk, True), (VerifyImage, False)])
def test_a_backup_is_planned_anew_only_when_nothing_is_done(tmp_path: Path, step: type, anew: bool) -> None:
    finished = run(BACKUP, Fake({step: GoneError("There is no image x.")}), tmp_path)[0]
    assert finished.exit_code == 3
    assert finished.facts.get("plan_anew", False) is anew


def test_a_refusal_of_the_guard_writes_nothing(tmp_path: Path) -> None:
    performer = Fake({object: RefusedError("/dev/sdb has changed.", "Choose anew.")})
    finished, events = run(RESTORE, performer, tmp_path)
    assert (finished.state, finished.exit_code) == ("failed", 3)
    assert finished.hint == "Choose anew. Nothing was written to /dev/sdb."
    assert performer.done == []
    assert events == []


@pytest.mark.parametrize(
    ("plan", "at", "error", "code", "state"),
    [
        (RESTORE, DeployImage, TargetWriteError("/dev/sdb is full."), 1, "only partly written"),
        (RESTORE, WriteTable, TargetWriteError("/dev/sdb is gone."), 1, "only partly written"),
        (RESTORE, ReadBack, DamagedError("/dev/sdb gives other bytes."), 4, "not proved"),
        (BACKUP, CaptureDisk, TargetWriteError("/mnt/usb is full."), 1, "/mnt/usb/a.img.zst is not an image yet"),
        (BACKUP, VerifyImage, DamagedError("Damaged."), 4, "not proved"),
        (plan_verify(IMAGE), VerifyImage, DamagedError("Damaged."), 4, "Nothing was changed"),
        (RESTORE, DeployImage, CancelledError("Cancelled."), 130, "Run the same command again"),
        (BACKUP, CaptureDisk, CancelledError("Cancelled."), 130, "/dev/nvme0n1 was not changed"),
    ],
)
def test_the_state_is_said(tmp_path: Path, plan: Plan, at: type, error: RescueError, code: int, state: str) -> None:
    finished, _ = run(plan, Fake({at: error}), tmp_path)
    assert finished.state == ("cancelled" if code == 130 else "failed")
    assert finished.exit_code == code
    assert finished.message == error.message
    assert state in finished.hint
    assert not (tmp_path / "crash.txt").exists()


def test_a_bug_leaves_its_traceback_and_says_where(tmp_path: Path) -> None:
    finished, _ = run(RESTORE, Fake({DeployImage: ZeroDivisionError("oh")}), tmp_path)
    assert (finished.state, finished.exit_code) == ("failed", 1)
    assert str(tmp_path) in finished.hint
    assert "only partly written" in finished.hint
    assert "ZeroDivisionError: oh" in (tmp_path / "crash.txt").read_text()


def test_cancelled_before_it_began(tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    performer = Fake()
    finished, _ = run(RESTORE, performer, tmp_path, token)
    assert (finished.state, finished.exit_code, finished.hint) == ("cancelled", 130, "Nothing was written to /dev/sdb.")
    assert performer.done == []


def test_cancelled_between_two_steps(tmp_path: Path) -> None:
    token = CancelToken()
    performer = Fake(during=lambda step: token.cancel() if isinstance(step, WriteTable) else None)
    finished, _ = run(RESTORE, performer, tmp_path, token)
    assert performer.done == [WipeTarget, DeployImage]
    assert finished.state == "cancelled"


@pytest.mark.parametrize(
    ("plan", "last", "state"),
    [
        (RESTORE, DeployImage, "/dev/sdb is only partly written"),
        (RESTORE, WriteTable, "/dev/sdb was written completely, but it is not proved."),
        (BACKUP, CaptureDisk, "The image /mnt/usb/a.img.zst is complete, but it is not proved."),
        (EDIT, SaveTables, "/dev/sdb was not changed."),
        (EDIT, FormatVolume, "The steps up to here are done, the others were not begun"),
    ],
)
def test_cancelled_when_a_step_was_done(tmp_path: Path, plan: Plan, last: type, state: str) -> None:
    """The step that was done is not called half done, nor the one that was not begun."""
    token = CancelToken()
    performer = Fake(after=lambda step: token.cancel() if isinstance(step, last) else None)
    finished, _ = run(plan, performer, tmp_path, token)
    assert performer.done[-1] is last
    assert (finished.state, finished.exit_code) == ("cancelled", 130)
    assert finished.hint.startswith(state)


def test_a_backup_that_began_nothing_removed_nothing(tmp_path: Path) -> None:
    plan = Plan("backup", (CaptureDisk("Back up", LAPTOP, str(tmp_path), "a.img.zst"),), ())
    finished, _ = run(plan, Fake({CaptureDisk: RefusedError("It exists already.")}), tmp_path)
    assert finished.hint == f"It left no incomplete image. {LAPTOP.path} was not changed."
