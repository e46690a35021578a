"""How much there is to copy: of hostile trees too."""

from __future__ import annotations

import pytest

from rescue.engine.counting import Amount, count
from rescue.errors import CancelledError
from rescue.filesystems.files.tree import Entry, Kind
from rescue.model.progress import CancelToken
from rescue.records import replace
from rescue.units import KIB, MIB
from tests.unit.tui.recorded_files import RecordedTree, file, folder


def test_files_folders_and_bytes() -> None:
    tree = RecordedTree([folder("a"), folder("a/b"), file("a/x", 100), file("a/b/y", 3 * MIB), file("c", 7)])
    assert count(tree, [tree.entry("a"), tree.entry("c")], CancelToken()) == Amount(3, 2, 100 + 3 * MIB + 7)
    assert count(tree, [tree.root()], CancelToken()) == Amount(3, 2, 100 + 3 * MIB + 7)


def test_holes_and_further_names_are_not_content() -> None:
    sparse = replace(file("s", 1 << 62), allocated=64 * KIB)
    first = replace(file("h", 200), inode=5, links=2)
    tree = RecordedTree([sparse, first, replace(first, name="h2", path="h2")])
    assert count(tree, [tree.root()], CancelToken()) == Amount(3, 0, 64 * KIB + 200)


def test_hostile_sizes_stay_numbers_that_a_journal_holds() -> None:
    tree = RecordedTree([file(f"f{number}", 1 << 63) for number in range(5)])
    assert count(tree, [tree.root()], CancelToken()).content_bytes == (1 << 63) - 1


def test_a_limit_says_that_there_is_more() -> None:
    tree = RecordedTree([file(f"f{number}", 1) for number in range(10)])
    assert count(tree, [tree.root()], CancelToken(), 4) == Amount(4, 0, 4, complete=False)
    assert count(tree, [tree.root()], CancelToken(), 10).complete


def test_a_folder_that_cannot_be_read_ends_nothing() -> None:
    tree = RecordedTree([folder("bad"), file("bad/x", 1), file("good", 2)])
    tree.damaged.add("bad")
    assert count(tree, [tree.root()], CancelToken()) == Amount(2, 1, 3)


def test_a_folder_in_itself_ends() -> None:
    loop = Entry("a", "a", Kind.FOLDER, inode=9)
    tree = RecordedTree([loop])
    tree.folders["a"] = [replace(loop, path="a/a")]
    tree.folders["a/a"] = [replace(loop, path="a/a/a")]
    assert count(tree, [loop], CancelToken()).folders == 2


def test_cancelled() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        count(RecordedTree([]), [file("a", 1)], token)
