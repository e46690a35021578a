"""``rescue ls`` and ``rescue extract`` of a raw disk file and of an image of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rescue.cli.main import main
from rescue.system.run import run
from rescue.units import MIB
from tests.engine.filesystems.files.content import assert_same
from tests.engine.filesystems.oracle import mounted, sparse_file

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with an ext4 as its only partition, and an image of it."""
    folder = tmp_path_factory.mktemp("disk")
    part = sparse_file(folder / "part", 64 * MIB)
    run(["mkfs.ext4", "-q", "-F", str(part)])
    with mounted(part) as mount:
        (mount / "home/anna").mkdir(parents=True)
        (mount / "home/anna/letter").write_text("Dear Bob")
        (mount / "home/anna/link").symlink_to("letter")
        os.setxattr(mount / "home/anna/letter", "user.note", b"kept")
        (mount / "odd\x1b\nname").touch()
    disk = sparse_file(folder / "disk.img", 80 * MIB)
    run(["sfdisk", "-q", str(disk)], stdin=b"label: gpt\nstart=2048, size=131072, type=linux\n")
    with part.open("rb") as source, disk.open("r+b") as target:
        target.seek(MIB)
        target.write(source.read())
    (folder / "store").mkdir()
    assert main(["backup", str(disk), str(folder / "store"), "--name", "disk", "--progress", "none"]) == 0
    return folder


def _names(folder: Path) -> tuple[str, str]:
    return str(folder / "disk.img"), str(folder / "store/disk.img.zst")


def test_listing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for what in _names(made):
        capsys.readouterr()
        assert main(["ls", what]) == 0
        assert main(["ls", what, "1:home/anna"]) == 0
        assert main(["ls", what, "1:", "--search", "LET ter"]) == 0
        assert main(["ls", what, "1:/", "--json"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    listing, _, found = shown[0].partition("[\n")
    assert "1:  ext4" in listing
    assert "link -> letter" in listing
    assert "home/anna/letter" in listing
    entries = {entry["path"]: entry for entry in json.loads("[" + found)}
    assert entries["odd\\x1b\\x0aname"]["path_bytes"] == b"odd\x1b\nname".hex()
    assert entries["home"]["kind"] == "folder"


def test_extracting(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, what in enumerate(_names(made)):
        dest = tmp_path / str(number)
        assert main(["extract", what, "1:/home", str(dest)]) == 0
        with mounted(made / "part", "ro,noatime") as mount:
            assert_same(dest / "home", mount / "home")
        assert (dest / "home/anna/letter").read_text() == "Dear Bob"
        assert main(["extract", what, "1:/home", str(dest)]) == 3
        assert main(["extract", what, "1:/home", str(dest), "--overwrite", "--json"]) == 0
    said = capsys.readouterr()
    assert "holds home already" in said.err
    assert '"failures": 0' in said.out


def test_mistakes(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in _names(made):
        assert main(["ls", what, "/home"]) == 2
        assert main(["ls", what, "7:/"]) == 2
        assert main(["ls", what, "--search", "x"]) == 2
        assert main(["ls", what, "1:/not there"]) == 1
        assert main(["ls", what, "1:/home/anna/letter/below"]) == 1
        assert main(["extract", what, "1:/home", str(tmp_path / "no/such/folder")]) == 2
    said = capsys.readouterr().err
    for words in ("names no partition", "has no partition 7", "There is no not there", "is not a folder", "does not exist"):
        assert said.count(words) == 2, words
