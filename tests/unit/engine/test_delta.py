"""Restore over a target that holds some of it: the right bytes at the end, whatever it held, and only what differs written."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from rescue.engine import delta as module
from rescue.engine.deploy import Deployment
from rescue.errors import CancelledError, DamagedError, SourceReadError
from rescue.images.chain import Chain
from rescue.images.format import Row, RowKind
from rescue.model.progress import CancelToken
from rescue.system.blockfile import FileSink, FileSource
from rescue.units import MIB
from tests.unit.images.days import SIZE, Story, restored, three_days


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return three_days(tmp_path_factory.mktemp("days"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is written to targets: (start, end)."""
    found: list[tuple[int, int]] = []
    pwrite = FileSink.pwrite

    def spy(sink: FileSink, data: bytes | memoryview, offset: int) -> None:
        found.append((offset, offset + len(data)))
        pwrite(sink, data, offset)

    monkeypatch.setattr(FileSink, "pwrite", spy)
    return found


def is_right(story: Story, day: int, found: bytes) -> bool:
    disk = story.days[day].disk()
    allocated = disk.layout.gaps
    for _, extents in disk.volumes:
        allocated = allocated.union(extents)
    return all(found[start:end] == disk.content[start:end] for start, end in allocated)


@pytest.mark.parametrize("delta", [True, False, None])
@pytest.mark.parametrize("day", [0, 1, 2])
@pytest.mark.parametrize("before", ["the first day", "the third day", "garbage", "zeros"])
def test_the_right_bytes_whatever_the_target_held(
    story: Story, tmp_path: Path, before: str, day: int, delta: bool | None
) -> None:
    held = {
        "the first day": story.days[0].disk().content, "the third day": story.days[2].disk().content,
        "garbage": random.Random(5).randbytes(SIZE), "zeros": bytes(SIZE),
    }[before]  # fmt: skip
    same = restored(story.path(day), tmp_path / "target", held, delta)
    assert is_right(story, day, (tmp_path / "target").read_bytes())
    assert (same > 0) == ("day" in before and delta is not False)


def test_what_is_the_same_is_told_and_not_written(story: Story, tmp_path: Path, written: list[tuple[int, int]]) -> None:
    target = tmp_path / "target"
    same = restored(story.path(1), target, story.days[1].disk().content, True)
    with Chain(story.path(1)) as chain:
        data = [row for row in chain.rows() if row.kind == RowKind.DATA]
    total = sum(row.length for row in data)
    # Both ends of each partition and the head are wiped first, and so written again.
    assert total - 5 * MIB < same < total
    assert sum(end - start for start, end in written) <= total - same + MIB
    assert is_right(story, 1, target.read_bytes())


def test_a_restore_that_was_cut_off_goes_on(story: Story, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(random.Random(6).randbytes(SIZE))
    token = CancelToken()
    with Deployment(str(story.path(2)), str(target)) as deployment:
        deployment.wipe()
        with pytest.raises(CancelledError):
            deployment.write_data(token, lambda done, total: token.cancel() if 2 * done > total else None)
    half = target.read_bytes()
    same = restored(story.path(2), target, half, None)
    assert same > MIB
    assert is_right(story, 2, target.read_bytes())


def test_what_cannot_be_read_on_the_target_is_written(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    bad = range(5 * MIB, 9 * MIB)
    pread_into = FileSource.pread_into
    healed = False

    def fails(source: FileSource, buffer: memoryview, offset: int) -> None:
        if source.path == str(target) and not healed and offset < bad.stop and offset + len(buffer) > bad.start:
            raise SourceReadError("bad sectors", offset, len(buffer))
        pread_into(source, buffer, offset)

    monkeypatch.setattr(FileSource, "pread_into", fails)
    target.write_bytes(story.days[1].disk().content)
    with Deployment(str(story.path(1)), str(target)) as deployment:
        deployment.wipe()
        deployment.write_data(CancelToken(), lambda done, total: None, True)
        deployment.write_head()
        healed = True  # a write makes the disk give another sector for a bad one
        deployment.read_back(CancelToken(), lambda done, total: None)
        with Chain(story.path(1)) as chain:
            readable = sum(
                r.length for r in chain.rows() if r.kind == RowKind.DATA and not (r.start < bad.stop and r.end > bad.start)
            )
        assert 0 < deployment.same_bytes <= readable
    assert is_right(story, 1, target.read_bytes())


def test_onto_a_bigger_target_that_held_it(story: Story, tmp_path: Path) -> None:
    more = 3 * MIB + 512
    same = restored(story.path(1), tmp_path / "target", story.days[0].disk().content + b"\x5a" * more, True)
    found = (tmp_path / "target").read_bytes()
    assert len(found) == SIZE + more
    assert same
    assert is_right(story, 1, found[:SIZE])


@pytest.mark.parametrize("held", ["the day before", "nothing"])
def test_a_target_that_lies_is_caught(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str) -> None:
    """One chunk that the delta had to write comes to nothing."""
    target = tmp_path / "target"
    pwrite = FileSink.pwrite
    lost: list[int] = []

    def lossy(sink: FileSink, data: bytes | memoryview, offset: int) -> None:
        if not lost and 5 * MIB < offset < 12 * MIB and any(data):
            lost.append(offset)
            return
        pwrite(sink, data, offset)

    monkeypatch.setattr(FileSink, "pwrite", lossy)
    before = story.days[0].disk().content if held == "the day before" else bytes(SIZE)
    with pytest.raises(DamagedError, match="does not give back what was written to it"):
        restored(story.path(1), target, before, True)
    assert lost


def test_a_target_with_nothing_right_is_not_read_for_nothing(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0)
    target = tmp_path / "target"
    target.write_bytes(random.Random(8).randbytes(SIZE))
    shutil.copy(target, tmp_path / "copy")
    read: list[int] = []
    compare = module.Delta._compare

    def spy(delta: module.Delta, run: list[Row], buffer: memoryview) -> list[bool]:
        read.append(sum(row.length for row in run))
        return compare(delta, run, buffer)

    monkeypatch.setattr(module.Delta, "_compare", spy)
    restored(story.path(0), target, target.read_bytes(), True)
    assert is_right(story, 0, target.read_bytes())
    assert sum(read) < SIZE // 2
