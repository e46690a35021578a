"""Mirrors come from apt's own configuration, in both of its formats."""

from __future__ import annotations

from pathlib import Path

from isobuild.mirrors import OFFICIAL, OFFICIAL_SECURITY, Mirrors, of_this_machine, parse_deb822, parse_one_line

DEB822 = """\
Types: deb
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
 contrib
"""

ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://packages.example/apt stable main
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian/ bookworm main contrib # the mirror
deb http://mirror.example/debian-security bookworm-security main
"""


def machine(folder: Path, release: str, **files: str) -> Path:
    (folder / "etc/apt/sources.list.d").mkdir(parents=True)
    (folder / "etc/os-release").write_text(release)
    for name, text in files.items():
        (folder / "etc/apt/sources.list.d" / name.replace("_", ".")).write_text(text)
    return folder


def test_both_formats_give_the_same_mirrors(tmp_path: Path) -> None:
    expected = Mirrors("http://mirror.example/debian", "http://mirror.example/debian-security")
    first = machine(tmp_path / "a", "ID=debian\n", debian_sources=DEB822)
    second = machine(tmp_path / "b", "ID=debian\n", other_list=ONE_LINE)
    assert of_this_machine({}, first) == expected
    assert of_this_machine({}, second) == expected


def test_continued_lines_and_source_packages() -> None:
    security = parse_deb822(DEB822)[-1]
    assert security.components == ("main", "contrib")
    assert [source.suite for source in parse_one_line(ONE_LINE)] == ["stable", "bookworm", "bookworm-security"]


def test_a_disabled_stanza_is_not_used() -> None:
    assert parse_deb822("Enabled: no\n" + DEB822.split("\n\n")[0]) == []


def test_ubuntu_has_no_debian_mirror(tmp_path: Path) -> None:
    ubuntu = machine(tmp_path, "ID=ubuntu\nID_LIKE=debian\n", ubuntu_sources=DEB822.replace("bookworm", "noble"))
    assert of_this_machine({}, ubuntu) == Mirrors(OFFICIAL, OFFICIAL_SECURITY)


def test_the_environment_wins(tmp_path: Path) -> None:
    debian = machine(tmp_path, "ID=debian\n", debian_sources=DEB822)
    chosen = of_this_machine({"RESCUE_MIRROR": "http://near.example/debian/"}, debian)
    assert chosen == Mirrors("http://near.example/debian", "http://mirror.example/debian-security")


def test_a_cdrom_is_not_a_mirror(tmp_path: Path) -> None:
    debian = machine(tmp_path, "ID=debian\n", cd_list="deb cdrom:[Debian 13]/debian trixie main\n")
    assert of_this_machine({}, debian) == Mirrors(OFFICIAL, OFFICIAL_SECURITY)
