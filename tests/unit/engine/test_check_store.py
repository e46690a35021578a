"""All images of a store are checked, each chunk once, and whoever depends on damage is named."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rescue.engine import check_store as module
from rescue.engine.check_store import Checked, check_store
from rescue.engine.sharing import doubtful
from rescue.errors import CancelledError
from rescue.images.chain import Chain
from rescue.images.format import Kind, Row, RowKind
from rescue.images.segment import pack_row
from rescue.model.progress import CancelToken
from rescue.stores.folder import FolderStore
from tests.unit.images.days import first_day, three_days
from tests.unit.images.disks import write_image


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full image, second.rimg upon it, third.rimg (differential), fourth.rimg upon second; and somebody's notes."""
    folder = tmp_path_factory.mktemp("story")
    days = three_days(folder).days
    write_image(days[1].next(4).disk(), folder / "fourth.rimg", Kind.INCREMENTAL, folder / "second.rimg")
    (folder / "notes.txt").write_text("mine")
    return folder


@pytest.fixture
def folder(story: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(story, tmp_path / "store"))


def checked(folder: Path) -> dict[str, Checked]:
    told: list[Checked] = []
    seen: list[tuple[int, int]] = []
    results = check_store(
        FolderStore(folder), token=CancelToken(), progress=lambda done, total: seen.append((done, total)), found=told.append
    )
    assert told == results
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    return {result.name: result for result in results}


def states(results: dict[str, Checked]) -> dict[str, str]:
    return {name: result.state for name, result in results.items()}


def flip(path: Path, row: Row) -> None:
    """Damage the data of a chunk."""
    content = bytearray(path.read_bytes())
    content[row.frame_offset + row.frame_length // 2] ^= 1
    path.write_bytes(content)


def rows(path: Path) -> list[Row]:
    with Chain(path) as chain:
        return [row for row in chain.rows() if row.kind == RowKind.DATA]


def test_a_whole_store_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("shared data are read again")

    monkeypatch.setattr(module, "_check_frames", fail)
    results = checked(folder)
    assert states(results) == dict.fromkeys(("fourth.rimg", "full.img.zst", "second.rimg", "third.rimg"), "whole")
    own = 0
    for name in results:
        with Chain(folder / name) as chain:
            own += chain.manifest.statistics.own_bytes
    assert sum(result.checked_bytes for result in results.values()) == own


def test_who_needs_the_damaged_data_is_damaged_and_others_are_not(folder: Path) -> None:
    needed = {name: {(r.frame_offset) for r in rows(folder / name) if r.file == 1} for name in ("second.rimg", "third.rimg")}
    full = rows(folder / "full.img.zst")
    flip(folder / "full.img.zst", full[0])
    results = checked(folder)
    assert results["full.img.zst"].state == "damaged"
    for name, frames in needed.items():
        expected = "damaged" if full[0].frame_offset in frames else "whole"
        assert (results[name].state, results[name].needs) == (expected, ("full.img.zst",))


@pytest.mark.parametrize("copy", ["a-copy.img.zst", "z-copy.img.zst", "a-copy.img.zst.001"])
def test_a_copy_of_what_is_damaged_helps_nobody(folder: Path, copy: str) -> None:
    """The file with the right name is the one that a restore would read."""
    shutil.copy(folder / "full.img.zst", folder / copy)
    used = {row.frame_offset for row in rows(folder / "second.rimg") if row.file == 1}
    flip(folder / "full.img.zst", next(row for row in rows(folder / "full.img.zst") if row.frame_offset in used))
    results = checked(folder)
    assert results[copy.removesuffix(".001")].state == "whole"
    assert (results["full.img.zst"].state, results["second.rimg"].state) == ("damaged", "damaged")
    assert results["second.rimg"].needs == ("full.img.zst",)


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_copy_is_what_is_read_where_the_other_is_gone(folder: Path, is_cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (folder / "full.img.zst").read_bytes()
    (folder / "full.img.zst").unlink()
    half = len(content) // 2 + 1 if is_cut else len(content)
    (folder / "other.img.zst.001").write_bytes(content[:half])
    if is_cut:
        (folder / "other.img.zst.002").write_bytes(content[half:])
    monkeypatch.setattr(module, "_check_frames", None)
    assert set(states(checked(folder)).values()) == {"whole"}


def test_damage_that_others_do_not_need_costs_only_its_own_image(folder: Path) -> None:
    second = [row for row in rows(folder / "second.rimg") if row.file == 0]
    with Chain(folder / "fourth.rimg") as chain:
        number = next(n for n, file in enumerate(chain.files) if file and file.name == "second.rimg")
        used = {row.frame_offset for row in chain.rows() if row.file == number}
    unused = [row for row in second if row.frame_offset not in used]
    flip(folder / "second.rimg", (unused or second)[0])
    results = checked(folder)
    assert states(results) == {
        "fourth.rimg": "whole" if unused else "damaged", "full.img.zst": "whole", "second.rimg": "damaged", "third.rimg": "whole",
    }  # fmt: skip
    assert results["fourth.rimg"].needs == ("second.rimg",)


def test_a_missing_one_costs_those_that_need_it(folder: Path) -> None:
    (folder / "full.img.zst").unlink()
    results = checked(folder)
    assert set(states(results).values()) == {"damaged"}
    assert all("full.img.zst" in result.why for result in results.values())


def test_a_cut_off_one_and_one_that_was_replaced(folder: Path) -> None:
    os.truncate(folder / "fourth.rimg", 5000)
    write_image(first_day(99).disk(), folder / "second.rimg")
    results = checked(folder)
    assert states(results) == {
        "fourth.rimg": "damaged", "full.img.zst": "whole", "second.rimg": "whole", "third.rimg": "whole",
    }  # fmt: skip


def test_what_lacks_a_part_or_is_no_image(folder: Path) -> None:
    (folder / "fourth.rimg").rename(folder / "fourth.rimg.001")
    (folder / "fourth.rimg.003").write_bytes(b"x")
    (folder / "odd.rimg").write_bytes(b"no image")
    (folder / "odd.bin").write_bytes(b"no image")
    results = checked(folder)
    assert (results["fourth.rimg"].state, results["odd.rimg"].state) == ("damaged", "unreadable")
    assert "odd.bin" not in results


def test_it_can_be_cancelled(folder: Path) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        check_store(FolderStore(folder), token=token, progress=lambda done, total: None, found=lambda result: None)


@dataclass
class Told:
    """An index that says what the test wants."""

    files: Sequence[str]
    content: list[Row]

    @property
    def rows(self) -> int:
        return len(self.content)

    def tables(self) -> Iterator[bytes]:
        for start in range(0, len(self.content), 7):
            yield b"".join(map(pack_row, self.content[start : start + 7]))


@pytest.mark.parametrize("at_once", [1, 10, 1 << 20])
def test_a_row_that_the_other_file_does_not_have_is_found(at_once: int) -> None:
    """Each field counts, but for the place on the disk; in one pass or in many."""
    chance = random.Random(1)
    own = [Row(2, 0, 4096, 0, 0, 1000 * n, 900, 4096, chance.randbytes(32)) for n in range(40)]
    base = Told(["base"], own)
    good = Told(["next", "base"], [row._replace(file=1, start=77) for row in own] + [Row(0, 0, 512)])
    wrong = [
        Told(["x", "base"], [own[0]._replace(file=1), own[9]._replace(file=1, **change)])
        for change in (
            {"hash": bytes(32)}, {"length": 512}, {"in_frame": 512}, {"frame_offset": 1}, {"frame_length": 1},
            {"frame_content": 1},
        )
    ]  # fmt: skip
    unknown = Told(["y", "gone", "base"], [own[0]._replace(file=1), own[1]._replace(file=2)])
    assert doubtful([good, *wrong, unknown, base], [base], at_once) == [set(), *[{1}] * 6, {1}, set()]
