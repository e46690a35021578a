"""Names as people and programs give them and see them: also such that are no UTF-8, or that could steer a terminal."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from rescue.cli.json_text import json_text
from rescue.cli.main import main
from rescue.cli.review import command_text
from rescue.model.plan import Plan
from rescue.model.progress import Finished
from rescue.model.survey import DiskSurvey, ImageSummary
from rescue.planning.request import BackupRequest
from rescue.records import replace
from tests.unit.cli.recorded import RecordedMachine
from tests.unit.planning.machines import IMAGE

NAME = "k\udcffk.img.zst"
HEX = b"k\xffk.img.zst".hex()


def test_a_name_is_shown_and_its_bytes_are_beside_it() -> None:
    value = {"name": NAME, "other": "plain", "needed_by": ["a", NAME], "facts": [{"path": NAME, "size": 1}], "message": NAME}
    assert json.loads(json_text(value)) == {
        "name": "k\\xffk.img.zst", "name_bytes": HEX, "other": "plain", "needed_by": ["a", "k\\xffk.img.zst"],
        "needed_by_bytes": [b"a".hex(), HEX], "facts": [{"path": "k\\xffk.img.zst", "path_bytes": HEX, "size": 1}],
        "message": "k\\xffk.img.zst",
    }  # fmt: skip


def test_what_is_text_has_no_bytes_beside_it() -> None:
    assert json.loads(json_text({"name": "a\x1bü", "list": ["x"]})) == {"name": "a\x1bü", "list": ["x"]}
    assert json_text({"name": NAME}, indent=0).count("\n") == 0


class Machine(RecordedMachine):
    """Its images have such names."""

    def images(self, folder: Path) -> list[ImageSummary]:
        """See Machine."""
        return [replace(IMAGE, path=f"{folder}/{NAME}", name=NAME)]


@pytest.mark.parametrize("command", [("list", "/s"), ("info", f"/s/{NAME}")])
def test_list_and_info_show_it(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--json"], Machine) == 0
    found = json.loads(capsys.readouterr().out)
    assert bytes.fromhex((found[0] if command[0] == "list" else found)["path_bytes"]) == b"/s/k\xffk.img.zst"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_plan_with_such_a_folder_is_shown(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    arguments = ["backup", "/dev/nvme0n1", "/d\udcfe", "--dry-run", *(["--json"] if as_json else [])]
    assert main(arguments, RecordedMachine) == 0
    out.seek(0)
    said = out.read()
    if as_json:
        assert bytes.fromhex(json.loads(said)["steps"][0]["store_bytes"]) == b"/d\xfe"
    else:
        assert "/d\\xfe" in said


def test_a_command_is_shown_as_a_shell_takes_it() -> None:
    assert command_text(("rescue", "list", "/a b", "/d\udcfe'\\\n\x1b")) == "rescue list '/a b' $'/d\\xfe\\x27\\x5c\\x0a\\x1b'"
    assert command_text(("a b", "ü")) == shlex.join(("a b", "ü"))


def test_a_new_comment_has_to_be_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "/dev/nvme0n1", "/d", "--comment", "\udcff"], RecordedMachine) == 2
    assert "The comment holds bytes that are no UTF-8." in capsys.readouterr().err


def test_a_name_that_could_steer_the_terminal_is_shown_in_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    machine = RecordedMachine([Finished("succeeded", 0, "It is /d/a\x1b[2J\nb.")])
    assert main(["backup", "/dev/nvme0n1", "/d", "--name", "a\x1b[2J\nb"], lambda: machine) == 0
    assert capsys.readouterr().out == "It is /d/a\\x1b[2J\\x0ab.\n"


def test_a_parent_may_be_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    wanted: list[str] = []

    class Asked(RecordedMachine):
        def plan_backup(self, source: DiskSurvey, store: str, request: BackupRequest) -> Plan:
            """See Machine."""
            wanted.append(request.parent)
            return super().plan_backup(source, store, replace(request, parent=""))

    for parent in ("file:///d/p%20q.img.zst", "FILE:/d/p.img.zst", "p.img.zst"):
        assert main(["backup", "/dev/nvme0n1", "/d", "--parent", parent, "--dry-run"], Asked) == 0
    assert wanted == ["/d/p q.img.zst", "/d/p.img.zst", "p.img.zst"]
