"""Parts as one source: every byte at its place, and a part that is missing, short or foreign is named."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from rescue.errors import DamagedError, FormatError, RescueError, SourceReadError
from rescue.system.blockfile import FileSource
from rescue.system.joined import JoinedSource, files_of, open_source, part_name

DATA = os.urandom(100_003)
CUT = 7_000  # 15 parts: more than are kept open


def cut(folder: Path, name: str = "x.img") -> Path:
    for number, start in enumerate(range(0, len(DATA), CUT), 1):
        (folder / f"{name}.{number:03}").write_bytes(DATA[start : start + CUT])
    return folder / name


@pytest.mark.parametrize("suffix", ["", ".001"])
def test_any_range(tmp_path: Path, suffix: str) -> None:
    path = cut(tmp_path)
    chance = random.Random(1)
    with open_source(f"{path}{suffix}") as source:
        assert isinstance(source, JoinedSource)
        assert source.size == len(DATA)
        for _ in range(300):
            start, end = sorted((chance.randrange(len(DATA) + 1), chance.randrange(len(DATA) + 1)))
            assert source.pread(end - start, start) == DATA[start:end]
        for edge in range(CUT, len(DATA), CUT):
            assert source.pread(2, edge - 1) == DATA[edge - 1 : edge + 1]
        assert source.pread(0, len(DATA)) == b""
        source.drop_cache()
        source.drop_cache(CUT - 1, 2)
        for offset, length in ((0, len(DATA) + 1), (len(DATA), 1), (-1, 1)):
            with pytest.raises(FormatError, match="outside"):
                source.pread(length, offset)


def test_many_threads_and_few_descriptors(tmp_path: Path) -> None:
    wrong = []
    before = len(os.listdir("/proc/self/fd"))
    with open_source(cut(tmp_path)) as source:

        def read(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(300):
                start, end = sorted((chance.randrange(len(DATA)), chance.randrange(len(DATA))))
                if source.pread(end - start, start) != DATA[start:end]:
                    wrong.append((start, end))

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(os.listdir("/proc/self/fd")) - before <= 8
    assert wrong == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("number", [1, 2, 9])
def test_a_missing_part_is_named(tmp_path: Path, number: int) -> None:
    path = cut(tmp_path)
    (tmp_path / f"x.img.{number:03}").unlink()
    for given in (path, tmp_path / "x.img.001"):
        with pytest.raises(DamagedError, match=rf"x\.img\.00{number} is missing"):
            open_source(given)


def test_a_part_that_is_too_short_or_too_long_is_named(tmp_path: Path) -> None:
    path = cut(tmp_path)
    os.truncate(tmp_path / "x.img.004", CUT - 1)
    with pytest.raises(DamagedError, match=r"x\.img\.004 is 6999 bytes long"):
        open_source(path)
    os.truncate(tmp_path / "x.img.004", CUT)
    os.truncate(tmp_path / "x.img.015", CUT + 1)
    with pytest.raises(DamagedError, match=r"x\.img\.015 is 7001 bytes long"):
        open_source(path)


def test_parts_that_are_no_files(tmp_path: Path) -> None:
    path = cut(tmp_path)
    (tmp_path / "x.img.002").unlink()
    os.mkfifo(tmp_path / "x.img.002")
    with pytest.raises(DamagedError, match=r"x\.img\.002 is not a file"):
        open_source(path)
    (tmp_path / "x.img.002").unlink()
    (tmp_path / "x.img.002").symlink_to("nowhere")
    with pytest.raises(RescueError, match=r"x\.img\.002"):
        open_source(path)


def test_a_part_that_shrinks_later_gives_the_place_in_the_whole(tmp_path: Path) -> None:
    with open_source(cut(tmp_path)) as source:
        source.pread(1, 3 * CUT)
        os.truncate(tmp_path / "x.img.004", 10)
        with pytest.raises(SourceReadError, match="earlier than its size") as caught:
            source.pread(100, 3 * CUT)
        assert (caught.value.offset, caught.value.length) == (3 * CUT + 10, 90)


def test_a_file_of_the_name_itself_comes_first(tmp_path: Path) -> None:
    path = cut(tmp_path)
    path.write_bytes(b"whole")
    with open_source(path) as source:
        assert isinstance(source, FileSource)
        assert source.pread(5, 0) == b"whole"
    assert files_of(path) == (path,)
    with open_source(tmp_path / "x.img.001") as source:
        assert source.size == len(DATA)


def test_which_files_there_are(tmp_path: Path) -> None:
    cut(tmp_path)
    (tmp_path / "x.img.1000").touch()
    (tmp_path / "x.img.000").touch()
    (tmp_path / "x.img.002.partial").touch()
    (tmp_path / "x.img.old.001").touch()
    assert [file.name for file in files_of(tmp_path / "x.img")] == [f"x.img.{n:03}" for n in range(1, 16)]
    assert files_of(tmp_path / "x.img.001") == files_of(tmp_path / "x.img")
    assert files_of(tmp_path / "x.img.002") == (tmp_path / "x.img.002",)
    assert files_of(tmp_path / "nothing") == ()
    assert files_of(tmp_path / "nothing" / "x") == ()
    with pytest.raises(RescueError, match="Cannot open"):
        open_source(tmp_path / "nothing")
    with pytest.raises(RescueError, match="Cannot open"):
        open_source(tmp_path / "nothing.001")


def test_a_folder_whose_name_ends_like_a_part(tmp_path: Path) -> None:
    folder = tmp_path / "backups.001"
    folder.mkdir()
    assert files_of(folder) == (folder,)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.001", ("a", 1)), ("a.b.999", ("a.b", 999)), ("a.001.002", ("a.001", 2)), ("a\n.001", ("a\n", 1))],
)
def test_names_of_parts(name: str, expected: tuple[str, int]) -> None:
    assert part_name(name) == expected


@pytest.mark.parametrize("name", ["a", ".001", "a.000", "a.01", "a.0001", "a.٠٠١", "a.001 ", "a.00x"])
def test_names_of_no_parts(name: str) -> None:
    assert part_name(name) is None
