"""What the live system looks like holds together: units name files that are there, menu entries have what they need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from isobuild.inputs import words

LIVE = Path(__file__).parents[3] / "live-config"
INCLUDES = LIVE / "includes"
UNITS = sorted((INCLUDES / "etc/systemd/system").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_programs_of_units_are_there(unit: Path) -> None:
    commands = re.findall(r"^Exec\w+=-?(/\S+)", unit.read_text(), flags=re.MULTILINE)
    assert commands
    for command in commands:
        if command.startswith("/usr/lib/rescue/") or command == "/usr/bin/rescue":
            program = INCLUDES / command.lstrip("/")
            assert program.stat().st_mode & 0o111 == 0o111, command


def test_the_screen_comes_back_and_jobs_survive_it() -> None:
    lines = (INCLUDES / "etc/systemd/system/rescue-tui@.service").read_text().splitlines()
    for needed in ("Restart=always", "KillMode=process", "StandardError=tty", "StartLimitIntervalSec=0"):
        assert needed in lines


def test_masked_units_are_named_once_and_are_not_ours() -> None:
    masked = words(LIVE / "masked-units.txt")
    assert len(set(masked)) == len(masked)
    assert not [name for name in masked if name.startswith("rescue")]
    assert not {path.name for path in UNITS} & set(masked)


def test_nothing_that_listens_is_installed() -> None:
    packages = set(words(LIVE / "packages.txt"))
    assert not packages & {"openssh-server", "avahi-daemon", "samba", "nfs-kernel-server", "systemd-resolved", "live-config"}


def test_every_entry_of_the_menu_starts_the_live_system() -> None:
    menu = (LIVE / "boot/grub.cfg").read_text()
    kernels = re.findall(r"^\tlinux @KERNEL@ (.*)$", menu, flags=re.MULTILINE)
    assert len(kernels) == menu.count("initrd @INITRD@") == 4
    for line in kernels:
        assert "${live}" in line or "boot=live nocomponents" in line
        assert "${consoles}" in line or "console=ttyS0,115200n8" in line
    assert sum("toram" in line for line in kernels) == 1
    assert sum("nomodeset" in line for line in kernels) == 1
    assert "set timeout=5" in menu
    assert "set default=0" in menu


def test_a_shell_without_password_is_on_no_serial_port_by_default() -> None:
    assert "rescue.shell" not in (LIVE / "boot/grub.cfg").read_text()
