"""A job as others see it: by its folder alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from rescue.errors import RescueError
from rescue.jobs.folder import JOURNAL, LOCK, PLAN, jobs_root, make_folder
from rescue.jobs.job import FolderJob, list_jobs
from rescue.jobs.journal import JournalReader, JournalWriter
from rescue.model.progress import Event, Finished, Message, Progress
from tests.unit.jobs.test_execute import BACKUP, RESTORE

EVENTS: list[Event] = [
    Progress("Erase", 0, 0, 10),
    Message("warning", "Ünïcode\nand lines."),
    Progress("Erase", 0, 10, 10, 5.0, 0.0),
]
DONE = Finished("succeeded", 0, "Done.", "", {"verified": True, "names": ["a"], "bytes": 7})


@contextmanager
def living(folder: Path) -> Iterator[None]:
    """Hold the lock that a job's process holds as long as it lives."""
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a job that has not said anything."""
    made = make_folder(tmp_path / "jobs", "restore")
    (made / PLAN).write_bytes(msgspec.json.encode(RESTORE))
    return made


def write(folder: Path, *events: Event) -> None:
    """Append to the journal."""
    writer = JournalWriter(folder / JOURNAL)
    for event in events:
        writer.write(event)
    writer.close()


def test_the_journal_gives_back_what_was_written(folder: Path) -> None:
    reader = JournalReader(folder / JOURNAL)
    assert reader.read() == []
    write(folder, *EVENTS)
    assert reader.read() == EVENTS
    write(folder, DONE)
    assert reader.read() == [DONE]
    assert reader.read() == []


def test_half_a_line_waits(folder: Path) -> None:
    line = msgspec.json.encode(DONE) + b"\n"
    reader = JournalReader(folder / JOURNAL)
    (folder / JOURNAL).write_bytes(line[:20])
    assert reader.read() == []
    (folder / JOURNAL).write_bytes(line)
    assert reader.read() == [DONE]


def test_two_follow_one_job(folder: Path) -> None:
    one, two = FolderJob(folder), FolderJob(folder)
    assert one.plan == RESTORE
    with living(folder):
        write(folder, *EVENTS)
        assert one.alive()
        assert one.events() == EVENTS
        assert one.events() == []
        assert one.wait(0) is None
        write(folder, DONE)
        assert one.events() == [DONE]
    assert two.events() == [*EVENTS, DONE]
    assert not two.alive()
    assert two.wait(0) == DONE
    assert two.events() == []


def test_a_job_that_was_killed_has_failed_and_says_the_state(folder: Path) -> None:
    job = FolderJob(folder)
    with living(folder):
        write(folder, Progress("Write the data", 1, 5, 10))
        assert len(job.events()) == 1
    (finished,) = job.events()
    assert isinstance(finished, Finished)
    assert (finished.state, finished.exit_code) == ("failed", 1)
    assert "killed" in finished.message
    assert "only partly written" in finished.hint
    assert job.wait(0) == finished
    assert job.events() == []


def test_killed_before_it_said_anything(folder: Path) -> None:
    with living(folder):
        pass
    (finished,) = FolderJob(folder).events()
    assert isinstance(finished, Finished)
    assert finished.hint.startswith("Nothing was written to /dev/sdb.")


def test_a_killed_backup_names_what_it_left(folder: Path) -> None:
    (folder / PLAN).write_bytes(msgspec.json.encode(BACKUP))
    write(folder, Progress("Back up", 0, 5, 10))
    event = FolderJob(folder).events()[-1]
    assert isinstance(event, Finished)
    assert "/mnt/usb/a.img.zst is not an image yet" in event.hint


def test_cancelling_a_job_that_is_gone_does_nothing(folder: Path) -> None:
    FolderJob(folder).cancel()


def test_the_list_is_newest_first_and_skips_what_is_no_job(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    assert list_jobs(root) == []
    made = []
    for number in range(3):
        folder = make_folder(root, "backup")
        (folder / PLAN).write_bytes(msgspec.json.encode(RESTORE))
        os.utime(folder / PLAN, (number, number))
        made.append(folder)
    make_folder(root, "backup")
    (make_folder(root, "backup") / PLAN).write_bytes(b"{")
    assert [job.folder for job in list_jobs(root)] == made[::-1]


def test_folders_are_private(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run" / "jobs", "backup")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_folder_of_jobs_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "jobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RescueError):
        make_folder(tmp_path / "jobs", "backup")


def test_where_jobs_are() -> None:
    assert jobs_root({}, 0) == Path("/run/rescue/jobs")
    assert jobs_root({"XDG_RUNTIME_DIR": "/run/user/1000"}, 0) == Path("/run/rescue/jobs")
    assert jobs_root({"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000) == Path("/run/user/1000/rescue/jobs")
    assert jobs_root({}, 1000).name == "jobs"
    assert jobs_root({"RESCUE_JOBS": "/x/y"}, 0) == Path("/x/y")
