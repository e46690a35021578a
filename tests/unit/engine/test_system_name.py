"""The name of a system from its os-release, whoever wrote it."""

from __future__ import annotations

import pytest

from rescue.engine.survey import system_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nVERSION_ID="13"\n', "Debian GNU/Linux 13"),
        ("NAME=Fedora\nVERSION_ID=42\nPRETTY_NAME='Fedora Linux 42'\n", "Fedora 42"),
        ('NAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\nBUILD_ID=rolling\n', "Arch Linux"),
        ("NAME=\x1b[31mred\nVERSION_ID=1\n", "[31mred 1"),
        ("NAME=" + "x" * 500, "x" * 80),
        ("", ""),
        ("/usr/lib/os-release: File not found by ext2_lookup", ""),
    ],
)
def test_system_name(text: str, name: str) -> None:
    assert system_name(text) == name
