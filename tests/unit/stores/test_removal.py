"""Removal: whole or gone, never what something depends on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from rescue.errors import GoneError, RefusedError, RescueError
from rescue.stores.folder import FolderStore
from rescue.system.joined import open_source
from rescue.units import MIB
from tests.unit.stores.crashes import deaths

DATA = os.urandom(3 * MIB + 9)
NAME = "x.img.zst"


def stored(folder: Path, split: int = 0) -> FolderStore:
    store = FolderStore(folder)
    with store.open_for_write(NAME, split) as writer:
        writer.write(DATA)
        writer.commit()
    return store


@pytest.mark.parametrize("split", [0, MIB])
def test_everything_of_it_goes(tmp_path: Path, split: int) -> None:
    (tmp_path / "x.img.zst.notes").write_text("mine")
    (tmp_path / "y.img.zst.001").write_text("mine")
    stored(tmp_path, split).remove(NAME)
    assert sorted(os.listdir(tmp_path)) == ["x.img.zst.notes", "y.img.zst.001"]


@pytest.mark.parametrize("split", [0, MIB])
def test_what_is_held_stays(tmp_path: Path, split: int) -> None:
    store = stored(tmp_path, split)
    before = sorted(os.listdir(tmp_path))
    with store.hold(NAME), store.hold(NAME):
        with pytest.raises(RefusedError, match="builds on it"):
            store.remove(NAME)
        assert sorted(os.listdir(tmp_path)) == before
    store.remove(NAME)
    with pytest.raises(GoneError, match="There is no image"), store.hold(NAME):
        pass
    with pytest.raises(GoneError, match="There is no image"):
        store.remove(NAME)


@pytest.mark.parametrize("split", [0, MIB])
def test_the_last_look_is_under_the_lock(tmp_path: Path, split: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can begin to depend on it between that look and the removal; what the look raises keeps it."""
    store = stored(tmp_path, split)
    monkeypatch.setattr("rescue.stores.removal._WAIT_SECONDS", 0)

    def still_needed() -> None:
        with pytest.raises(RefusedError, match="being removed right now"), store.hold(NAME):
            pass
        raise RescueError("It is needed.")

    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RescueError, match="It is needed"):
        store.remove(NAME, still_needed)
    assert sorted(os.listdir(tmp_path)) == before
    with store.hold(NAME):
        pass


@pytest.mark.parametrize("goes", [False, True])
def test_who_comes_while_it_is_removed_waits(tmp_path: Path, goes: bool) -> None:
    store = stored(tmp_path)
    found: list[str] = []

    def hold() -> None:
        try:
            with store.hold(NAME):
                found.append("held")
        except GoneError:
            found.append("gone")

    thread = threading.Thread(target=hold)

    def look() -> None:
        thread.start()
        thread.join(0.2)
        assert not found
        if not goes:
            raise RefusedError("It is needed.")

    with nullcontext() if goes else pytest.raises(RefusedError, match="It is needed"):
        store.remove(NAME, look)
    thread.join()
    assert found == ["gone" if goes else "held"]


def test_what_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with store.open_for_write(NAME, MIB) as writer:
        writer.write(DATA)
        for refuse in (store.remove, _enter(store)):
            with pytest.raises(GoneError, match="There is no image"):
                refuse(NAME)
        writer.commit()
    assert store.names() == [NAME]


def _enter(store: FolderStore) -> Callable[[str], None]:
    def enter(name: str) -> None:
        with store.hold(name):
            pass

    return enter


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / NAME).symlink_to(tmp_path / "target")
    store = FolderStore(tmp_path)
    assert store.is_link(NAME)
    with pytest.raises(RefusedError, match="is a link"):
        store.remove(NAME)
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert (tmp_path / NAME).is_symlink()


def test_what_is_behind_a_link_is_held(tmp_path: Path) -> None:
    (real := tmp_path / "real").mkdir()
    (links := tmp_path / "links").mkdir()
    store = stored(real, MIB)
    for file in real.iterdir():
        (links / file.name).symlink_to(file)
    assert FolderStore(links).is_link(NAME)
    with FolderStore(links).hold(NAME), pytest.raises(RefusedError, match="builds on it"):
        store.remove(NAME)
    store.remove(NAME)
    with pytest.raises(GoneError), FolderStore(links).hold(NAME):
        pass


@pytest.mark.parametrize("split", [0, MIB])
def test_dying_while_it_is_removed(tmp_path: Path, split: int) -> None:
    (folder := tmp_path / "store").mkdir()
    complete = stored(folder, split)
    seen = []
    for left in deaths(folder, lambda: complete.remove(NAME), tmp_path):
        store = FolderStore(left)
        seen.append(bool(store.names()))
        assert store.incomplete() == []
        assert store.partials() == []
        if store.names():
            with open_source(left / NAME) as source:
                assert source.pread(source.size, 0) == DATA
            continue
        with store.exclusive():
            store.clear_removed()
        assert os.listdir(left) == []
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {False, True}
    assert os.listdir(folder) == []


def test_a_name_whose_removal_was_interrupted_is_free(tmp_path: Path) -> None:
    store = stored(tmp_path, MIB)
    (tmp_path / f"{NAME}.001").rename(tmp_path / f".{NAME}.rescue-parts")
    assert (store.names(), store.incomplete(), store.partials()) == ([], [], [])
    assert store.partial(NAME) is None
    with store.open_for_write(NAME) as writer:
        assert os.listdir(tmp_path) == [f"{NAME}.partial"]
        writer.write(b"new")
        writer.commit()
    assert os.listdir(tmp_path) == [NAME]


def test_one_at_a_time_cleans_up(tmp_path: Path) -> None:
    store = stored(tmp_path)
    with store.exclusive():
        with pytest.raises(RefusedError, match="removed or consolidated right now"), store.exclusive():
            pass
        assert store.names() == [NAME]
        with store.open_for_write("other") as writer:  # backups go on
            writer.commit()
    with store.exclusive():
        pass
    assert sorted(os.listdir(tmp_path)) == ["other", NAME]


def test_the_lock_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    (folder := tmp_path / "store").mkdir()

    def cleaning(folder: Path) -> None:
        with FolderStore(folder).exclusive():
            pass

    pid = os.fork()
    if not pid:
        try:
            held = FolderStore(folder).exclusive()
            held.__enter__()
        except BaseException:  # noqa: BLE001 - nothing may get out of here: there would be two of this test run
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.listdir(folder) == [".rescue.lock"]
    for left in deaths(folder, lambda: cleaning(folder), tmp_path):
        cleaning(left)
        assert os.listdir(left) == []
    assert os.listdir(folder) == []


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / ".rescue.lock").symlink_to(tmp_path / "target")
    with pytest.raises(RescueError, match="cannot be created"), FolderStore(tmp_path).exclusive():
        pass
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_foreign_hidden_files_are_let_alone(tmp_path: Path) -> None:
    for name in (".rescue-parts", "..rescue-parts", ".x.parts", "x.002"):
        (tmp_path / name).write_bytes(b"mine")
    store = FolderStore(tmp_path)
    with store.exclusive():
        store.clear_removed()
    assert sorted(os.listdir(tmp_path)) == ["..rescue-parts", ".rescue-parts", ".x.parts", "x.002"]
