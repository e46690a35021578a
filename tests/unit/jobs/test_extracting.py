"""The step that copies files out: what it tells, and how it ends when not everything could be copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import msgspec
import pytest

from rescue.errors import RefusedError, RescueError
from rescue.filesystems.files.tree import Entry, FileTree
from rescue.images.secrets import NO_SECRETS
from rescue.jobs import extracting
from rescue.jobs.execute import execute
from rescue.jobs.perform import EngineSteps
from rescue.jobs.reporter import Reporter
from rescue.model.plan import ExtractFiles, Plan
from rescue.model.progress import CancelToken, Event, Finished, Message
from rescue.model.volume import Identity, Volume
from tests.unit.tui.recorded_files import RecordedTree, file, folder

EVIL = "bad\x1b\udcff"


class ReadableTree(RecordedTree):
    """Gives each file a content, but not that of the evil name."""

    def read(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """See FileTree."""
        if entry.name == EVIL:
            return super().read(entry)
        return iter([(0, b"x" * entry.size)])


def _run(tree: FileTree, monkeypatch: pytest.MonkeyPatch, folder: Path, *paths: bytes) -> tuple[Finished, list[Event]]:
    @contextmanager
    def files(*_: object) -> Iterator[FileTree]:
        yield tree

    monkeypatch.setattr(extracting, "volume_files", files)
    monkeypatch.setattr(extracting, "_source", lambda *_: nullcontext((None, {})))
    step = ExtractFiles("Copy the files", Volume(1, 0, 1 << 20, Identity("ext4"), 0), paths, str(folder / "out"), image="x")
    plan = Plan("extract", (step,), ())
    # As it travels to the job's process.
    plan = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    events: list[Event] = []
    with Reporter(events.append) as reporter, EngineSteps(plan, "host", NO_SECRETS) as performer:
        finished = execute(plan, performer, CancelToken(), reporter, folder)
    return finished, events


def test_all_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ReadableTree([folder("a"), file("a/one", 10), file("a/two", 20)], notes=("Something \x1b to know.",))
    finished, events = _run(tree, monkeypatch, tmp_path, b"a")
    assert (finished.state, finished.exit_code) == ("succeeded", 0)
    assert finished.message == f"2 files, 1 folder, 30 bytes, copied into {tmp_path}/out."
    assert finished.facts["content_bytes"] == 30
    assert (tmp_path / "out/a/two").read_bytes() == b"x" * 20
    assert Message("warning", "Something \\x1b to know.") in events


def test_what_could_not_be_copied_is_named_and_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ReadableTree([folder("a"), file("a/one", 10), file(f"a/{EVIL}", 20)])
    finished, events = _run(tree, monkeypatch, tmp_path, b"a")
    assert (finished.state, finished.exit_code) == ("failed", 1)
    assert finished.message.startswith("Not everything was copied: 1 thing could not be. 1 file, 1 folder, 10 bytes")
    assert finished.facts["failures"] == 1
    assert (tmp_path / "out/a/one").read_bytes() == b"x" * 10
    # The journal can hold all of it.
    said = b"".join(msgspec.json.encode(event) for event in [*events, finished])
    assert b"a/bad\\\\x1b\\\\xff was not copied" in said


def test_what_is_there_meanwhile_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b").write_text("mine")
    tree = ReadableTree([file("a", 10), file("b", 20)])
    finished, _ = _run(tree, monkeypatch, tmp_path, b"a", b"b")
    assert (finished.state, finished.exit_code) == ("failed", RefusedError.exit_code)
    assert "out/b is already there" in finished.message
    assert (tmp_path / "out/b").read_text() == "mine"
    assert not (tmp_path / "out/a").exists()


def test_a_plan_of_nothing_is_an_error(tmp_path: Path) -> None:
    step = ExtractFiles("Copy the files", Volume(1, 0, 1, Identity(), 0), (b"",), str(tmp_path))
    with Reporter(lambda _: None) as reporter, pytest.raises(RescueError, match="does not say"):
        extracting.extract_files(step, NO_SECRETS, CancelToken(), reporter)
