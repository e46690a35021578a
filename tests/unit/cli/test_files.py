"""What people type for a place in a file system, and how names of strangers are shown."""

from __future__ import annotations

import pytest

from rescue.cli.files import parse_place
from rescue.errors import UsageError
from rescue.model.text import shown


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2:/etc/fstab", (2, "", "etc/fstab")),
        ("2", (2, "", "")),
        ("2:", (2, "", "")),
        ("0:a:b/", (0, "", "a:b")),
        ("12:/", (12, "", "")),
        ("3/vg0/root:/etc", (3, "vg0/root", "etc")),
        ("3/vg0/root", (3, "vg0/root", "")),
    ],
)
def test_places(text: str, place: tuple[int, str, str]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["/etc/fstab", "", ":x", "-1:x", "a:b", "²:x", "9999999:x"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="names no partition"):
        parse_place(text)


def test_names_cannot_move_the_cursor() -> None:
    assert shown("plain ü") == "plain ü"
    assert shown("a\x1b[2Jb\n\u202e\udcff") == "a\\x1b[2Jb\\x0a\\u202e\\xff"
