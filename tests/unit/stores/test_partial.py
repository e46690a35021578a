"""What a dead process left is looked into by one at a time, and continued at any byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.errors import RefusedError, RescueError, UsageError
from rescue.stores.folder import FolderStore
from rescue.system.joined import open_source
from rescue.units import MIB
from tests.unit.stores.crashes import deaths

DATA = os.urandom(4 * MIB + 777)
OTHER = os.urandom(4 * MIB)
NAME = "x.rimg"


def interrupted(folder: Path, data: bytes = DATA, split: int = MIB) -> FolderStore:
    store = FolderStore(folder)
    writer = store.open_for_write(NAME, split)
    writer.write(data)
    writer.abort(keep=True)
    return store


def content(folder: Path) -> bytes:
    with open_source(folder / NAME) as source:
        return source.pread(source.size, 0)


@pytest.mark.parametrize("split", [0, MIB])
@pytest.mark.parametrize("length", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 4 * MIB, len(DATA)])
def test_it_goes_on_at_any_byte(tmp_path: Path, split: int, length: int) -> None:
    store = interrupted(tmp_path, split=split)
    assert store.names() == []
    with store.open_for_append(NAME, length, split) as writer:
        assert writer.tell() == length
        writer.write(OTHER)
        assert writer.tell() == length + len(OTHER)
        writer.commit()
    assert content(tmp_path) == DATA[:length] + OTHER
    assert not [name for name in os.listdir(tmp_path) if "partial" in name or name.startswith(".")]


def test_it_is_read_before_it_is_continued(tmp_path: Path) -> None:
    store = interrupted(tmp_path)
    left = store.partial(NAME)
    assert left is not None
    with left:
        assert left.size == len(DATA)
        assert left.pread(MIB, MIB - 500) == DATA[MIB - 500 : 2 * MIB - 500]
        assert store.being_written(NAME)
        assert store.partials() == []
        for again in (store.partial, store.open_for_write):
            with pytest.raises(RefusedError, match="Another backup"):
                again(NAME)
        writer = left.append(2 * MIB + 5)
    assert store.being_written(NAME)  # the lock went to the writer
    with writer:
        writer.write(b"end")
        writer.commit()
    assert content(tmp_path) == DATA[: 2 * MIB + 5] + b"end"


def test_what_can_be_continued(tmp_path: Path) -> None:
    store = interrupted(tmp_path)
    (tmp_path / "other.img.zst.partial").write_bytes(b"abc")
    os.utime(tmp_path / "other.img.zst.partial", (5, 5))
    (tmp_path / "done.img.zst.partial").write_bytes(b"old")
    (tmp_path / "done.img.zst").write_bytes(b"complete")
    found = {left.name: left for left in store.partials()}
    assert set(found) == {NAME, "other.img.zst"}
    assert found[NAME].size == len(DATA)
    assert found["other.img.zst"][1:] == (3, 5.0)
    with store.open_for_append("other.img.zst", 2):
        assert [left.name for left in store.partials()] == [NAME]


def test_nothing_to_continue(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert store.partial(NAME) is None
    with pytest.raises(RescueError, match="nothing of"):
        store.open_for_append(NAME, 0)
    assert os.listdir(tmp_path) == []
    (tmp_path / NAME).touch()
    with pytest.raises(RefusedError, match="exists already"):
        store.partial(NAME)
    with pytest.raises(UsageError):
        store.partial("../x")


@pytest.mark.parametrize("length", [-1, len(DATA) + 1])
def test_a_length_that_is_not_there(tmp_path: Path, length: int) -> None:
    store = interrupted(tmp_path)
    with pytest.raises(RescueError, match="has only"):
        store.open_for_append(NAME, length, MIB)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == len(DATA)
    assert not store.being_written(NAME)


@pytest.mark.parametrize(("begun", "asked"), [(0, MIB), (MIB, 2 * MIB), (2 * MIB, MIB)])
def test_other_parts_than_it_was_begun_with_are_refused(tmp_path: Path, begun: int, asked: int) -> None:
    store = interrupted(tmp_path, split=begun)
    with pytest.raises(RefusedError, match="other parts"):
        store.open_for_append(NAME, 3 * MIB, asked)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == len(DATA)
    # Where no cut is needed before the place to go on, the new size of parts is taken.
    with store.open_for_append(NAME, MIB // 2, asked) as writer:
        writer.write(OTHER)
        writer.commit()
    assert content(tmp_path) == DATA[: MIB // 2] + OTHER
    assert (tmp_path / f"{NAME}.001").stat().st_size == asked


def test_without_a_size_the_parts_stay_as_they_are(tmp_path: Path) -> None:
    with interrupted(tmp_path).open_for_append(NAME, len(DATA)) as writer:
        writer.write(OTHER)
        writer.commit()
    assert content(tmp_path) == DATA + OTHER
    assert (tmp_path / f"{NAME}.002").stat().st_size == MIB


def test_parts_behind_a_torn_one_do_not_count(tmp_path: Path) -> None:
    store = interrupted(tmp_path)
    os.truncate(tmp_path / f"{NAME}.003.partial", 1000)
    left = store.partial(NAME)
    assert left is not None
    with left:
        assert left.size == 2 * MIB + 1000
    (tmp_path / f"{NAME}.002.partial").unlink()
    left = store.partial(NAME)
    assert left is not None
    with left:
        assert left.pread(left.size, 0) == DATA[:MIB]
        writer = left.append(left.size, MIB)
    with writer:
        writer.write(OTHER)
        writer.commit()
    assert content(tmp_path) == DATA[:MIB] + OTHER


def test_a_commit_that_was_interrupted_is_continued(tmp_path: Path) -> None:
    """Some parts have their names already."""
    store = interrupted(tmp_path)
    (tmp_path / f".{NAME}.rescue-parts").touch()
    for number in (5, 4, 3):
        (tmp_path / f"{NAME}.00{number}.partial").rename(tmp_path / f"{NAME}.00{number}")
    left = store.partial(NAME)
    assert left is not None
    with left:
        assert left.pread(left.size, 0) == DATA
    with store.open_for_append(NAME, 4 * MIB + 5, MIB) as writer:
        assert sorted(os.listdir(tmp_path)) == [*(f"{NAME}.00{n}.partial" for n in range(2, 6)), f"{NAME}.partial"]
        writer.commit()
    assert content(tmp_path) == DATA[: 4 * MIB + 5]


def test_somebodys_parts_are_no_leftovers(tmp_path: Path) -> None:
    store = interrupted(tmp_path)
    mine = tmp_path / f"{NAME}.003"
    mine.write_bytes(b"mine")
    for again in (store.partial, store.open_for_write):
        with pytest.raises(RefusedError, match=r"003 exists already"):
            again(NAME)
    assert store.partials() == []
    assert mine.read_bytes() == b"mine"


def test_dying_while_it_is_continued(tmp_path: Path) -> None:
    """The first bytes up to the place to go on survive every death, and so they do the next."""
    length = 2 * MIB + 99
    (folder := tmp_path / "store").mkdir()
    interrupted(folder)
    (folder / f".{NAME}.rescue-parts").touch()
    (folder / f"{NAME}.005.partial").rename(folder / f"{NAME}.005")

    def again(folder: Path) -> None:
        with FolderStore(folder).open_for_append(NAME, length, MIB) as writer:
            writer.write(OTHER)
            writer.commit()

    died = 0
    for left in deaths(folder, lambda: again(folder), tmp_path):
        died += 1
        if not FolderStore(left).names():
            partial = FolderStore(left).partial(NAME)
            assert partial is not None
            with partial:
                assert partial.pread(length, 0) == DATA[:length]
            again(left)
        assert content(left) == DATA[:length] + OTHER
        assert sorted({*os.listdir(left)} - {f".{NAME}.rescue-parts"}) == [f"{NAME}.00{n}" for n in range(1, 8)]
    assert died > 20
    assert content(folder) == DATA[:length] + OTHER
    assert sorted(os.listdir(folder)) == [f"{NAME}.00{n}" for n in range(1, 8)]
