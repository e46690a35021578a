"""Identifiers in text follow, each as a whole and in its own capitals; nothing outside of the tree can be reached."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rescue.engine.references import _in_tree, replaced

_OLD = "0a1b2c3d-1111-2222-3333-444455556666"
_NEW = "ffffeeee-aaaa-bbbb-cccc-ddddeeeeffff"


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (f"UUID={_OLD} /", f"UUID={_NEW} /"),
        (f"/dev/disk/by-uuid/{_OLD}", f"/dev/disk/by-uuid/{_NEW}"),
        (f'root="UUID={_OLD}"', f'root="UUID={_NEW}"'),
        (f"UUID={_OLD.upper()}", f"UUID={_NEW.upper()}"),
        (f"{_OLD}-x {_OLD}0 z{_OLD} _{_OLD}", f"{_OLD}-x {_OLD}0 z{_OLD} _{_OLD}"),
        ("UUID=1234-ABCD aaaa-1234-ABCD", "UUID=5678-EF01 aaaa-1234-ABCD"),
        ("PARTUUID=deadbeef-01 PARTUUID=deadbeef-012", "PARTUUID=0000cafe-02 PARTUUID=deadbeef-012"),
        ("", ""),
    ],
)
def test_names_are_replaced_as_a_whole(text: str, after: str) -> None:
    names = {_OLD: _NEW, "1234-ABCD": "5678-EF01", "deadbeef-01": "0000cafe-02"}
    assert replaced(text.encode(), names).decode() == after
    assert replaced(text.encode(), {}).decode() == text


def test_two_that_change_places_do_not_become_one() -> None:
    assert replaced(b"A1B2-C3D4 D4C3-B2A1", {"A1B2-C3D4": "D4C3-B2A1", "D4C3-B2A1": "A1B2-C3D4"}) == b"D4C3-B2A1 A1B2-C3D4"


def test_bytes_that_are_no_text_stay() -> None:
    assert replaced(b"\xff\x00 " + _OLD.encode() + b"\xfe", {_OLD: _NEW}) == b"\xff\x00 " + _NEW.encode() + b"\xfe"


def test_no_link_leads_out(tmp_path: Path) -> None:
    """Links in the place of a file and of a folder, a pipe, a folder in the place of a file, and a file that is too large."""
    outside = tmp_path / "outside"
    (outside / "default").mkdir(parents=True)
    for name in ("fstab", "default/grub", "x.conf"):
        (outside / name).write_text(_OLD)
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/fstab").symlink_to(outside / "fstab")
    (root / "etc/default").symlink_to(outside / "default")
    (root / "loader").symlink_to(outside)
    os.mkfifo(root / "etc/crypttab")
    (root / "boot/grub/grub.cfg").mkdir(parents=True)
    (root / "boot/grub2").mkdir()
    with (root / "boot/grub2/grub.cfg").open("wb") as file:
        file.write(_OLD.encode())
        file.truncate(64 << 20)
    (root / "boot/loader/entries").mkdir(parents=True)
    (root / "boot/loader/entries/a.conf").write_text(_OLD)
    assert _in_tree(root, "ext4", {_OLD: _NEW}) == (["boot/loader/entries/a.conf"], [])
    assert (root / "boot/loader/entries/a.conf").read_text() == _NEW
    assert all((outside / name).read_text() == _OLD for name in ("fstab", "default/grub", "x.conf"))


def test_a_file_keeps_its_length_or_gets_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text(f"PARTUUID={_OLD} / ext4\nlast\n")
    assert _in_tree(tmp_path, "ext4", {_OLD: "deadbeef-01"}) == (["etc/fstab"], [])
    assert (tmp_path / "etc/fstab").read_text() == "PARTUUID=deadbeef-01 / ext4\nlast\n"
    assert _in_tree(tmp_path, "ext4", {_OLD: "deadbeef-01"}) == ([], [])


@pytest.mark.parametrize("number", [errno.EROFS, errno.EPERM])
def test_what_may_not_be_changed_is_named_when_it_had_to_be(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only snapshots, and files with the flag for that."""
    (tmp_path / "etc").mkdir()
    for name, text in (("fstab", _OLD), ("crypttab", "nothing"), ("kernel/cmdline", _OLD)):
        (tmp_path / "etc" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_text(text)
    opened = os.open

    def refuse(path: str, flags: int, *arguments: int, dir_fd: int | None = None) -> int:
        if path in ("fstab", "crypttab") and flags & os.O_RDWR:
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert _in_tree(tmp_path, "ext4", {_OLD: _NEW}) == (["etc/kernel/cmdline"], ["etc/fstab"])
