"""Extraction of hostile trees, made in memory: nothing leaves the folder, nothing there is replaced unasked, losses are told."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rescue.engine.extract import ExtractResult, extract
from rescue.engine.extract_target import ATTRIBUTES
from rescue.errors import CancelledError, FormatError, RefusedError, SourceReadError, TargetWriteError
from rescue.filesystems.files.tree import Entry, Kind, resolve
from rescue.model.progress import CancelToken, Message


class FakeTree:
    """A FileTree of entries by the path of their folder; names may be anything, several the same."""

    kind = "fake"
    owners = False
    notes = ()

    def __init__(self, folders: dict[str, list[Entry]], content: dict[str, bytes] | None = None) -> None:
        self.folders = folders
        self.content = content or {}
        self.targets: dict[str, str] = {}
        self.attributes: dict[str, dict[str, bytes]] = {}
        self.failing: dict[str, Exception] = {}

    def root(self) -> Entry:
        """The top."""
        return Entry("", "", Kind.FOLDER, inode=1)

    def entry(self, path: str) -> Entry:
        """By path."""
        return resolve(self, path, lambda folder, name: next((c for c in self.children(folder) if c.name == name), None))

    def children(self, entry: Entry) -> Iterator[Entry]:
        """By the folder's path."""
        yield from self.folders.get(entry.path, [])

    def read(self, entry: Entry) -> Iterator[tuple[int, bytes]]:
        """All at once."""
        if entry.path in self.failing:
            yield 0, b"beginning"
            raise self.failing[entry.path]
        yield 0, self.content.get(entry.path, b"from the image")

    def readlink(self, entry: Entry) -> str:
        """As set."""
        return self.targets[entry.path]

    def xattrs(self, entry: Entry) -> dict[str, bytes]:
        """As set."""
        return self.attributes.get(entry.path, {})

    def left_out(self, entry: Entry) -> tuple[str, ...]:
        """Nothing."""
        return ()


_next_inode = iter(range(100, 10_000))


def _file(
    path: str,
    name: str | None = None,
    *,
    size: int = 14,
    mode: int = 0o644,
    inode: int = 0,
    links: int = 1,
    modified: int = 0,
    accessed: int = 0,
) -> Entry:
    name = path.rsplit("/", 1)[-1] if name is None else name
    number = inode or next(_next_inode)
    return Entry(name, path, Kind.FILE, size=size, mode=mode, inode=number, links=links, modified=modified, accessed=accessed)


def _folder(path: str, name: str | None = None, inode: int = 0) -> Entry:
    return Entry(
        path.rsplit("/", 1)[-1] if name is None else name, path, Kind.FOLDER, mode=0o755, inode=inode or next(_next_inode)
    )


def _link(path: str) -> Entry:
    return Entry(path.rsplit("/", 1)[-1], path, Kind.LINK, mode=0o777, inode=next(_next_inode))


def _copy(tree: FakeTree, dest: Path, path: str = "", *, overwrite: bool = False, said: list[str] | None = None) -> ExtractResult:
    def notify(message: Message) -> None:
        if said is not None:
            said.append(message.text)

    entries = [tree.entry(path)]
    return extract(tree, entries, dest, overwrite=overwrite, token=CancelToken(), progress=lambda _: None, notify=notify)


@pytest.mark.parametrize("name", ["..", ".", "", "/etc/passwd", "a/b", "../out2", "nul\0in it", "\ud800"])
def test_names_that_could_escape_are_refused_and_told(tmp_path: Path, name: str) -> None:
    tree = FakeTree({"": [_file("x", name), _folder("y", name), _file("good")], "y": [_file("y/inner")]})
    tree.targets["z"] = "target"
    tree.folders[""].append(Entry(name, "z", Kind.LINK, inode=5))
    tree.folders[""].append(Entry(name, "fifo", Kind.FIFO, inode=6))
    result = _copy(tree, tmp_path / "out")
    assert result.failures == 4
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert os.listdir(tmp_path / "out") == ["good"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_planted_first_is_never_used_as_a_folder(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "outside").mkdir()
    tree = FakeTree({"": [_link("trap"), _folder("trap"), _file("trap")], "trap": [_file("trap/escaped")]})
    tree.targets["trap"] = "../outside"
    result = _copy(tree, tmp_path / "out", overwrite=overwrite)
    assert result.failures == 2
    assert not list((tmp_path / "outside").iterdir())
    assert os.readlink(tmp_path / "out/trap") == "../outside"


def test_a_link_that_was_there_before_is_not_followed_either(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/folder").symlink_to("../outside")
    (tmp_path / "out/file").symlink_to("../outside/file")
    tree = FakeTree({"": [_folder("folder"), _file("file")], "folder": [_file("folder/file")]})
    result = _copy(tree, tmp_path / "out", overwrite=True)
    assert [path for path, _ in result.failed] == ["folder"]
    assert (tmp_path / "outside/file").read_text() == "precious"
    assert not (tmp_path / "out/file").is_symlink()


def test_what_exists_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b").write_text("mine")
    tree = FakeTree({"": [_file("a"), _file("b")]})
    with pytest.raises(RefusedError, match="already there"):
        _copy(tree, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["b"]
    assert _copy(tree, tmp_path / "out", overwrite=True).files == 2
    assert (tmp_path / "out/b").read_text() == "from the image"


def test_two_of_one_name_are_told_not_mixed(tmp_path: Path) -> None:
    """As where the target takes "Case" and "case" for the same: the second one would replace the first."""
    tree = FakeTree({"": [_file("one"), _file("one"), _folder("d"), _folder("d")], "d": [_file("d/x")]})
    result = _copy(tree, tmp_path / "out", overwrite=True)
    assert [path for path, _ in result.failed] == ["one", "d"]
    assert "same as another" in result.failed[0][1]
    assert (tmp_path / "out/d/x").exists()


def test_a_folder_in_itself_ends(tmp_path: Path) -> None:
    tree = FakeTree({"": [_folder("a", inode=7)], "a": [_folder("a/a", inode=7), _folder("a/root", inode=1)]})
    result = _copy(tree, tmp_path / "out")
    assert result.folders == 1
    assert result.failures == 2


def test_depth_without_end_is_cut_and_needs_no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rescue.engine.extract._DEPTH_LIMIT", 1200)  # more than there are descriptors or stack

    class Deep(FakeTree):
        def children(self, entry: Entry) -> Iterator[Entry]:
            yield Entry("d", entry.path + "/d" if entry.path else "d", Kind.FOLDER, mode=0o755, inode=next(_endless))

    _endless = iter(range(10**6, 10**7))
    result = _copy(Deep({}), tmp_path / "out")
    assert result.folders == 1200
    assert result.failures == 1
    assert not os.path.lexists(tmp_path / "d")
    _flatten(tmp_path / "out")


def _flatten(folder: Path) -> None:
    """Empty a folder that is deeper than a path may be, which pytest's own removal cannot."""
    while (inner := folder / "d").is_dir():
        os.rename(inner, folder.parent / "next")
        folder.rmdir()
        os.rename(folder.parent / "next", folder)


def test_unreadable_files_are_told_and_leave_nothing(tmp_path: Path) -> None:
    tree = FakeTree({"": [_file("bad"), _file("worse"), _file("good"), Entry("odd", "odd", Kind.UNKNOWN, problem="It is odd.")]})
    tree.failing = {"bad": FormatError("torn"), "worse": SourceReadError("gone", 0, 1)}
    said: list[str] = []
    result = _copy(tree, tmp_path / "out", said=said)
    assert result.failed == (("bad", "torn"), ("worse", "gone"), ("odd", "It is odd."))
    assert os.listdir(tmp_path / "out") == ["good"]
    assert any(text.startswith("bad was not copied") for text in said)


def test_a_full_target_stops_with_a_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TargetWriteError, match=r"is full\. a was not copied"):
        _copy(FakeTree({"": [_file("a"), _file("b")]}), tmp_path / "out")
    assert not os.listdir(tmp_path / "out")


def test_cancelling_leaves_no_half_file(tmp_path: Path) -> None:
    token = CancelToken()
    tree = FakeTree({"": [_file("a")]})
    with pytest.raises(CancelledError):
        extract(tree, [tree.root()], tmp_path / "out", token=token, progress=lambda _: token.cancel(), notify=lambda _: None)
    # The only piece was written when it was cancelled: that file is complete.
    assert os.listdir(tmp_path / "out") == ["a"]
    token.cancel()
    with pytest.raises(CancelledError):
        extract(tree, [tree.root()], tmp_path / "out2", token=token, progress=lambda _: None, notify=lambda _: None)
    assert not os.listdir(tmp_path / "out2")


def test_what_is_lost_is_told_once_with_a_count(tmp_path: Path) -> None:
    tree = FakeTree({"": [_file(f"f{index}") for index in range(5)]})
    tree.attributes = {f"f{index}": {"nonsense.name": b"1"} for index in range(5)}
    said: list[str] = []
    result = _copy(tree, tmp_path / "out", said=said)
    assert result.lost == {ATTRIBUTES: 5}
    assert [text for text in said if "Not kept" in text] == [f"Not kept: {ATTRIBUTES}, of 5 entries."]


def test_holes_modes_times_and_second_names(tmp_path: Path) -> None:
    size = 8 << 20
    first = _file("sparse", size=size, mode=0o640, inode=9, links=2, modified=10**18 + 5, accessed=10**18 + 3)
    second = _file("d/second", size=size, inode=9, links=2)
    result = _copy(FakeTree({"": [first, _folder("d")], "d": [second]}), tmp_path / "out")
    found = (tmp_path / "out/sparse").stat()
    assert (found.st_size, stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (size, 0o640, 10**18 + 5)
    assert found.st_blocks * 512 < 1 << 20
    assert (tmp_path / "out/d/second").stat().st_ino == found.st_ino
    assert result.files == 2
    assert result.content_bytes == 14
