"""The list of damaged files beside an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rescue.errors import RescueError
from rescue.images.lost import damage_path, keep_damage, read_damage, remove_damage
from rescue.model.damage import VolumeDamage, damage_lines

_FOUND = (VolumeDamage(2, 8192, ("/a", "/b/"), 0, 8192), VolumeDamage(-1, 512))


@pytest.mark.parametrize("name", ["x.img.zst", "x.rimg", "x.rimg.001"])
def test_it_is_found_again(tmp_path: Path, name: str) -> None:
    assert keep_damage(tmp_path / name, "f1", _FOUND)
    assert [path.name for path in tmp_path.iterdir()] == [name.removesuffix(".001") + ".damage.json"]
    assert read_damage(tmp_path / name, "f1") == _FOUND
    # Another image of the same name has other damage.
    assert read_damage(tmp_path / name, "f2") == ()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[1]", b'{"fingerprint": "f1", "damage": [{"partition": "x"}]}'])
def test_what_makes_no_sense_is_nothing(tmp_path: Path, content: bytes) -> None:
    damage_path(tmp_path / "x").write_bytes(content)
    assert read_damage(tmp_path / "x", "f1") == ()
    remove_damage(tmp_path / "x")
    assert damage_path(tmp_path / "x").read_bytes() == content


def test_it_goes_with_its_image(tmp_path: Path) -> None:
    keep_damage(tmp_path / "x", "f1", _FOUND)
    remove_damage(tmp_path / "x")
    remove_damage(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    assert not keep_damage(tmp_path / "x", "f1", _FOUND)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_damage(tmp_path / "x", "f1", _FOUND)

    def fail(_: Path) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(RescueError, match="cannot be removed"):
        remove_damage(tmp_path / "x")


def test_its_words() -> None:
    many = VolumeDamage(1, 1 << 20, tuple(f"/f{n}" for n in range(30)), 5, 1 << 20)
    lines = damage_lines((many, *_FOUND), limit=20)
    assert lines[0] == "Partition 1 lacks 1.0 MiB: 1.0 MiB of 35 files."
    assert "  and 15 more" in lines
    assert lines[-1] == "The space outside of partitions lacks 512 bytes."
