"""A folder as a store: what is complete has its name, what is not has not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rescue.errors import RefusedError, RescueError, TargetWriteError, UsageError
from rescue.stores.folder import FolderStore
from rescue.units import MIB


def test_commit_gives_the_object_its_name(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with store.open_for_write("a.img.zst") as writer:
        writer.write(b"hello ")
        writer.write(memoryview(b"world"))
        assert writer.tell() == 11
        assert store.names() == []
        assert os.listdir(tmp_path) == ["a.img.zst.partial"]
        writer.commit()
    assert store.names() == ["a.img.zst"]
    assert os.listdir(tmp_path) == ["a.img.zst"]
    assert store.path("a.img.zst").read_bytes() == b"hello world"


def test_leaving_without_commit_removes_everything(tmp_path: Path) -> None:
    with FolderStore(tmp_path).open_for_write("a.img.zst") as writer:
        writer.write(b"hello")
    assert os.listdir(tmp_path) == []


def test_many_windows_keep_every_byte(tmp_path: Path) -> None:
    block = os.urandom(MIB)
    with FolderStore(tmp_path).open_for_write("a") as writer:
        for _ in range(70):
            writer.write(block)
        writer.commit()
    assert (tmp_path / "a").read_bytes() == block * 70


def test_two_writers_of_one_name(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert not store.being_written("a")
    with store.open_for_write("a") as first:
        first.write(b"first")
        assert store.being_written("a")
        with pytest.raises(RefusedError, match="Another backup is writing"):
            FolderStore(tmp_path).open_for_write("a")
        first.commit()
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_taken_name_is_refused_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with store.open_for_write("a") as writer:
        writer.write(b"new")
        (tmp_path / "a").write_bytes(b"old")
        with pytest.raises(RefusedError, match="exists already"):
            writer.commit()
    with pytest.raises(RefusedError, match="exists already"):
        store.open_for_write("a")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_partial_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.partial").write_bytes(b"x" * 1000)
    store = FolderStore(tmp_path)
    assert not store.being_written("a")
    with store.open_for_write("a") as writer:
        writer.write(b"new")
        writer.commit()
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_link_in_place_of_the_partial_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "a.partial").symlink_to(victim)
    with pytest.raises(RescueError, match="cannot be created"):
        FolderStore(tmp_path).open_for_write("a")
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "a.partial", "a\x00b"])
def test_what_cannot_be_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        FolderStore(tmp_path).path(name)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        FolderStore(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        FolderStore(tmp_path / "file")


@pytest.mark.parametrize(
    ("code", "text"), [(errno.ENOSPC, "is full"), (errno.EFBIG, "files larger"), (errno.EIO, "does not take data any more")]
)
@pytest.mark.parametrize("size", [1, 16 * MIB])
def test_a_failing_medium_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str, size: int) -> None:
    def fail(_fd: int, _data: memoryview, _offset: int) -> int:
        raise OSError(code, os.strerror(code))

    writer = FolderStore(tmp_path).open_for_write("a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(TargetWriteError, match=text):  # noqa: PT012 - when it is noticed depends on the size
            writer.write(bytes(size))
            writer.commit()
    assert writer.tell() == 0
    writer.abort()
    assert os.listdir(tmp_path) == []
