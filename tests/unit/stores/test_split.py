"""An object that is cut into parts: complete at once, listed once, and somebody's own parts are never touched."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rescue.errors import RefusedError, TargetWriteError, UsageError
from rescue.stores.folder import FolderStore
from rescue.system.joined import open_source
from rescue.units import MIB
from tests.unit.stores.crashes import deaths

DATA = os.urandom(3 * MIB + 12345)
NAME = "x.img.zst"
PARTS = [f"{NAME}.00{n}" for n in range(1, 5)]


def write(folder: Path, data: bytes = DATA, split: int = MIB, name: str = NAME) -> None:
    with FolderStore(folder).open_for_write(name, split) as writer:
        for start in range(0, len(data), 700_000):
            writer.write(data[start : start + 700_000])
        assert writer.tell() == len(data)
        writer.commit()


def listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_parts_are_plain_cuts(tmp_path: Path) -> None:
    write(tmp_path)
    assert listing(tmp_path) == PARTS
    assert b"".join((tmp_path / name).read_bytes() for name in listing(tmp_path)) == DATA
    store = FolderStore(tmp_path)
    assert store.names() == [NAME]
    assert store.incomplete() == []
    assert store.facts(NAME).size == len(DATA)
    for path in (tmp_path / NAME, tmp_path / PARTS[0]):
        with open_source(path) as source:
            assert source.pread(len(DATA), 0) == DATA


def test_what_fits_into_one_part_is_not_cut(tmp_path: Path) -> None:
    write(tmp_path, DATA[:MIB])
    assert listing(tmp_path) == [NAME]
    assert (tmp_path / NAME).read_bytes() == DATA[:MIB]


@pytest.mark.parametrize("size", [MIB + 1, 2 * MIB, 2 * MIB + 1])
def test_the_last_part_has_what_is_left(tmp_path: Path, size: int) -> None:
    write(tmp_path, DATA[:size])
    assert [(tmp_path / name).stat().st_size for name in listing(tmp_path)] == [
        MIB,
        *([MIB] if size >= 2 * MIB else []),
        *([1] if size % MIB else []),
    ]
    with open_source(tmp_path / NAME) as source:
        assert source.pread(size, 0) == DATA[:size]


@pytest.mark.parametrize("split", [1, MIB - 1, -1])
def test_parts_that_are_too_small(tmp_path: Path, split: int) -> None:
    with pytest.raises(UsageError, match="too small"):
        FolderStore(tmp_path).open_for_write(NAME, split)
    assert listing(tmp_path) == []


def test_no_part_1000(tmp_path: Path) -> None:
    for number in range(1, 1000):
        path = tmp_path / (f"{NAME}.{number:03}.partial" if number > 1 else f"{NAME}.partial")
        path.touch()
        os.truncate(path, MIB)
    with FolderStore(tmp_path).open_for_append(NAME, 999 * MIB - 1, MIB) as writer:
        writer.write(b"x")
        with pytest.raises(TargetWriteError, match=r"more than 999 parts of 1\.0 MiB"):
            writer.write(b"x")
        assert writer.tell() == 999 * MIB
    assert listing(tmp_path) == []


@pytest.mark.parametrize("there", [NAME, PARTS[0], PARTS[2]])
def test_a_name_that_is_taken_by_a_file_or_by_any_part(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"mine")
    for split in (0, MIB):
        with pytest.raises(RefusedError, match=f"{there} exists already"):
            FolderStore(tmp_path).open_for_write(NAME, split)
    assert listing(tmp_path) == [there]
    assert (tmp_path / there).read_bytes() == b"mine"


@pytest.mark.parametrize("there", [NAME, PARTS[0], PARTS[2]])
def test_a_name_that_is_taken_while_it_is_written(tmp_path: Path, there: str) -> None:
    with FolderStore(tmp_path).open_for_write(NAME, MIB) as writer:
        writer.write(DATA)
        (tmp_path / there).write_bytes(b"mine")
        with pytest.raises(RefusedError, match=f"{there} exists already"):
            writer.commit()
    assert listing(tmp_path) == [there]
    assert (tmp_path / there).read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["a.001", "a.img.zst.999"])
def test_the_name_of_a_part_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="means a part"):
        FolderStore(tmp_path).open_for_write(name)


@pytest.mark.parametrize("name", ["a.000", "a.1000", "a.01", "a.٠٠١"])
def test_what_only_looks_like_a_part(tmp_path: Path, name: str) -> None:
    write(tmp_path, b"x", name=name)
    assert FolderStore(tmp_path).names() == [name]


def test_the_longest_name(tmp_path: Path) -> None:
    write(tmp_path, name="x" * 241)
    assert FolderStore(tmp_path).names() == ["x" * 241]
    with pytest.raises(UsageError, match="too long"):
        FolderStore(tmp_path).open_for_write("x" * 242)


def test_two_writers_whether_cut_or_not(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with store.open_for_write(NAME, MIB) as writer:
        writer.write(DATA)
        assert store.names_being_written() == [NAME]
        assert store.names() == []
        for split in (0, MIB):
            with pytest.raises(RefusedError, match="Another backup"):
                store.open_for_write(NAME, split)
    assert listing(tmp_path) == []


def test_parts_that_are_missing_are_reported(tmp_path: Path) -> None:
    write(tmp_path)
    store = FolderStore(tmp_path)
    (tmp_path / PARTS[1]).unlink()
    assert (store.names(), store.incomplete()) == ([], [NAME])
    (tmp_path / PARTS[0]).unlink()
    assert (store.names(), store.incomplete()) == ([], [NAME])
    assert store.facts(NAME).size == len(DATA) - 2 * MIB


def test_a_file_and_parts_of_the_same_name_are_two(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / NAME).write_bytes(b"another")
    store = FolderStore(tmp_path)
    assert store.names() == [NAME, f"{NAME}.001"]
    assert store.facts(NAME).size == 7
    assert store.facts(f"{NAME}.001").size == len(DATA)


def test_an_aborted_object_leaves_nothing_or_everything(tmp_path: Path) -> None:
    for keep in (False, True):
        writer = FolderStore(tmp_path).open_for_write(NAME, MIB)
        writer.write(DATA)
        writer.abort(keep=keep)
        writer.abort()
        assert listing(tmp_path) == (
            [f"{NAME}.002.partial", f"{NAME}.003.partial", f"{NAME}.004.partial", f"{NAME}.partial"] if keep else []
        )
    assert FolderStore(tmp_path).names() == []
    write(tmp_path)
    assert listing(tmp_path) == PARTS


def test_the_medium_fills_up_in_a_later_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def full(fd: int, data: memoryview, offset: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".003.partial"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    with FolderStore(tmp_path).open_for_write(NAME, MIB) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(TargetWriteError, match=f"is full: {2 * MIB} bytes"):
                writer.write(DATA)
        assert writer.tell() == 2 * MIB
    assert listing(tmp_path) == []


def _check_after_death(folder: Path) -> None:
    """Either all of it, or nothing that looks like it."""
    store = FolderStore(folder)
    if store.names():
        assert store.names() == [NAME]
        with open_source(folder / NAME) as source:
            assert source.pread(source.size, 0) == DATA
    assert store.incomplete() == []


def test_dying_while_the_parts_get_their_names(tmp_path: Path) -> None:
    seen = []
    (folder := tmp_path / "store").mkdir()
    for left in deaths(folder, lambda: write(folder), tmp_path):
        _check_after_death(left)
        seen.append(bool(FolderStore(left).names()))
        if not seen[-1]:
            write(left)  # it finds what that one left
        assert [name for name in listing(left) if name != f".{NAME}.rescue-parts"] == PARTS
        _check_after_death(left)
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert set(seen) == {False, True}
    assert listing(folder) == PARTS


def test_the_leftovers_of_a_commit_are_cleaned_by_the_next(tmp_path: Path) -> None:
    """All parts but the first have their names: power cut right before the end."""
    write(tmp_path)
    (tmp_path / PARTS[0]).rename(tmp_path / f"{NAME}.partial")
    marker = tmp_path / f".{NAME}.rescue-parts"
    marker.touch()
    store = FolderStore(tmp_path)
    assert (store.names(), store.incomplete()) == ([], [])
    assert [(p.name, p.size) for p in store.partials()] == [(NAME, len(DATA))]
    write(tmp_path, DATA[::-1][: 2 * MIB])
    assert listing(tmp_path) == PARTS[:2]
    with open_source(tmp_path / NAME) as source:
        assert source.pread(source.size, 0) == DATA[::-1][: 2 * MIB]


def test_a_marker_that_outlived_its_object_harms_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    marker = tmp_path / f".{NAME}.rescue-parts"
    marker.touch()
    store = FolderStore(tmp_path)
    assert store.names() == [NAME]
    with store.exclusive():
        store.clear_removed()
    assert listing(tmp_path) == PARTS
