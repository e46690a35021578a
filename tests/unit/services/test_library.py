"""A folder is listed by content; what cannot be used says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.errors import CredentialError, DamagedError, UsageError
from rescue.images.reader import ImageReader
from rescue.services.library import list_images
from rescue.stores.folder import FolderStore
from rescue.units import MIB
from tests.unit.images.days import three_days
from tests.unit.images.disks import small_disk, write_image

TINY = small_disk(2, 9 * MIB)


def test_foreign_and_damaged_things_are_listed_with_their_problem(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "a.img.zst.partial").write_bytes(b"x")
    (tmp_path / "empty.img.zst").touch()
    (tmp_path / "disk.qcow2").write_bytes(b"QFI\xfb" + bytes(1000))
    clonezilla = tmp_path / "old-img"
    clonezilla.mkdir()
    (clonezilla / "clonezilla-img").write_text("saved")
    for number, name in enumerate(("empty.img.zst", "disk.qcow2", "old-img")):
        os.utime(tmp_path / name, (1_700_000_000 + number, 1_700_000_000 + number))
    found = list_images(FolderStore(tmp_path))
    assert [i.name for i in found] == ["old-img", "disk.qcow2", "empty.img.zst"]
    assert all(i.problem and i.problem_exit_code for i in found)
    assert "Clonezilla" in found[0].problem
    assert found[2].created == "2023-11-14T22:13:20Z"


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    assert list_images(FolderStore(tmp_path)) == []
    with pytest.raises(UsageError):
        list_images(FolderStore(tmp_path / "missing"))


def test_an_image_in_parts_is_listed_once_with_its_whole_size(tmp_path: Path) -> None:
    path = tmp_path / "disk.img.zst"
    write_image(TINY, path)
    content = path.read_bytes()
    path.unlink()
    third = len(content) // 3 + 1
    for number in range(3):
        (tmp_path / f"disk.img.zst.00{number + 1}").write_bytes(content[number * third : (number + 1) * third])
    (found,) = list_images(FolderStore(tmp_path))
    assert (found.name, found.path, found.stored_size, found.problem) == ("disk.img.zst", str(path), len(content), "")
    (tmp_path / "disk.img.zst.002").unlink()
    (found,) = list_images(FolderStore(tmp_path))
    assert "disk.img.zst.002 is missing" in found.problem
    assert (found.name, found.problem_exit_code) == ("disk.img.zst", 4)
    assert found.stored_size == len(content) - third


@pytest.mark.parametrize("state", ["image", "locked", "damaged"])
def test_what_is_removed_while_it_is_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """By a prune that runs at that moment: it is there when the folder is read, and gone when it is opened or right after."""
    for name in ("a.img.zst", "b.img.zst", "c.img.zst"):
        write_image(TINY, tmp_path / name)
    errors = {"locked": CredentialError("It is encrypted."), "damaged": DamagedError("It is not complete.")}

    def opened(path: Path, *more: object) -> ImageReader:
        if path.name == "b.img.zst":
            path.unlink()
            if state in errors:
                raise errors[state]
        return ImageReader(path)

    monkeypatch.setattr("rescue.services.library.open_image", opened)
    assert [image.name for image in list_images(FolderStore(tmp_path))] == ["c.img.zst", "a.img.zst"]


def test_a_chain_that_is_removed_while_it_is_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes from its newest image on, and the newest are looked at first."""
    three_days(tmp_path)
    monkeypatch.setattr("rescue.services.library._created", lambda header: int(header.kind))

    def opened(path: Path, *more: object) -> ImageReader:
        reader = ImageReader(path)
        if path.name != "full.img.zst":
            path.unlink()
            (tmp_path / "full.img.zst").unlink(missing_ok=True)
        return reader

    monkeypatch.setattr("rescue.services.library.open_image", opened)
    assert list_images(FolderStore(tmp_path)) == []


def test_numbered_files_of_others_are_no_images(tmp_path: Path) -> None:
    for name in ("report.001", "report.003", "log.017", "movie.001"):
        (tmp_path / name).write_bytes(b"something else")
    assert list_images(FolderStore(tmp_path)) == []
