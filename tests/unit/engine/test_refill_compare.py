"""Two folders held against each other: every kind of difference is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rescue.engine.refill_compare import require_equal
from rescue.engine.refill_times import put_right
from rescue.errors import CancelledError, DamagedError, RescueError


def _fill(folder: Path) -> Path:
    folder.mkdir()
    (folder / "below").mkdir()
    (folder / "below" / "file").write_bytes(b"content" * 300_000)
    (folder / "other").write_bytes(b"other")
    os.link(folder / "other", folder / "second name")
    (folder / "link").symlink_to("other")
    os.mkfifo(folder / "fifo")
    (folder / "lost+found").mkdir()
    return folder


def _same_times(old: Path, new: Path) -> None:
    put_right(old, new, lambda: None)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    old, new = _fill(tmp_path / "old"), _fill(tmp_path / "new")
    os.utime(old / "below" / "file", ns=(10**18 + 1, 10**18 + 123_456_789))
    os.utime(old / "below", ns=(10**18, 10**18 + 7))
    os.utime(old, ns=(10**18, 10**18 + 9))
    return old, new


def test_times_are_put_right_to_the_nanosecond(pair: tuple[Path, Path]) -> None:
    old, new = pair
    with pytest.raises(DamagedError, match="time differs"):
        require_equal(old, new, lambda: None)
    old.chmod(0o710)
    _same_times(old, new)
    require_equal(old, new, lambda: None)
    assert new.stat().st_mtime_ns == 10**18 + 9
    assert (new / "below/file").stat().st_mtime_ns == 10**18 + 123_456_789
    assert (new / "below/file").stat().st_atime_ns >= 10**18


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda new: (new / "other").write_bytes(b"othes"), "content differs: other"),
        (lambda new: (new / "other").write_bytes(b"longer now"), "size differs: other"),
        (lambda new: (new / "below/file").write_bytes(b"content" * 299_999 + b"contenT"), "content differs: below/file"),
        (lambda new: (new / "below/file").unlink(), "one of the two only: below/file"),
        (lambda new: (new / "more").touch(), "one of the two only: more"),
        (lambda new: (new / "below").chmod(0o700), "mode differs: below"),
        (lambda new: (new / "below/file").chmod(0o4755), "mode differs: below/file"),
        (lambda new: ((new / "link").unlink(), (new / "link").symlink_to("thers")), "target differs: link"),
        (lambda new: (new / "second name").unlink(), "only: second name"),
        (lambda new: ((new / "second name").unlink(), (new / "second name").write_bytes(b"other")), "names: other"),
        (lambda new: ((new / "fifo").unlink(), (new / "fifo").touch()), "kind or mode differs: fifo"),
        (lambda new: os.setxattr(new / "other", "user.note", b"x"), "attributes differ: other"),
    ],
)
def test_every_difference_is_found(change: Callable[[Path], object], said: str, pair: tuple[Path, Path]) -> None:
    old, new = pair
    try:
        change(new)
    except OSError:
        pytest.skip("no extended attributes here")
    _same_times(old, new)
    with pytest.raises(DamagedError, match=said):
        require_equal(old, new, lambda: None)


def test_names_of_one_file_that_are_two_are_found(pair: tuple[Path, Path]) -> None:
    old, new = pair
    for folder, first in ((old, "a"), (new, "b")):
        for name in ("a", "b"):
            (folder / name).write_bytes(b"")
            os.utime(folder / name, ns=(10**18, 10**18))  # names of one file here are of two there
        os.link(folder / "a", folder / "c")
        os.link(folder / "b", folder / "d")
        if first == "b":
            for name, of in (("c", "b"), ("d", "a")):
                (folder / name).unlink()
                os.link(folder / of, folder / name)
    _same_times(old, new)
    with pytest.raises(DamagedError, match="not the same file as under its other name"):
        require_equal(old, new, lambda: None)


def test_it_can_be_stopped_and_leaves_nothing_open(pair: tuple[Path, Path]) -> None:
    def stop() -> None:
        raise CancelledError("stopped")

    before = len(os.listdir("/proc/self/fd"))
    for function in (require_equal, put_right):
        with pytest.raises((CancelledError, DamagedError)):
            function(*pair, stop)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    for function in (require_equal, put_right):
        with pytest.raises(RescueError):
            function(tmp_path / "a", tmp_path / "b", lambda: None)
