"""``rescue key``, from arguments to the bytes of the image."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from rescue.cli.main import main
from rescue.images import rekey as rekey_module
from rescue.images.keyslots import Cost
from rescue.images.rekey import key_area_of
from rescue.images.secrets import Secrets, hash_key_file
from rescue.units import MIB
from tests.unit.cli.recorded import RecordedMachine
from tests.unit.images.test_keyslots import KEYS
from tests.unit.images.test_rekey import IMAGE, header


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image that opens with "correct horse", a key file and a recovery key."""
    path = tmp_path / "a.rimg"
    path.write_bytes(IMAGE)
    (tmp_path / "old").write_text("correct horse\n")
    (tmp_path / "new").write_text("battery staple\n")
    return path


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESCUE_PASSPHRASE", raising=False)
    monkeypatch.setattr(rekey_module.rekey_file, "__defaults__", (Cost(8 * MIB, 1, 1),))


def rescue(*arguments: str | Path) -> int:
    """Run one command."""
    return main([str(argument) for argument in arguments], RecordedMachine)


def test_it_says_what_opens_the_image_without_any_secret(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue("key", image) == 0
    assert capsys.readouterr().out == "The image opens with: passphrase, key file, recovery key.\n"
    assert rescue("key", image, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "image": str(image),
        "opens_with": ["key file", "passphrase", "recovery key"],
        "damaged_slots": 0,
    }
    assert image.read_bytes() == IMAGE


def test_a_new_passphrase(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = image.parent
    command = ("key", image, "--passphrase-file", folder / "old", "--new-passphrase-file", folder / "new")
    assert rescue(*command) == 0
    assert key_area_of(image).open(Secrets("battery staple")) == KEYS
    assert "staple" not in capsys.readouterr().out
    # The old one does not open it any more.
    assert rescue(*command) == 5
    said = capsys.readouterr().err
    assert "passphrase is wrong" in said
    assert "horse" not in said


def test_a_new_recovery_key_opens_the_image(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescue("key", image, "--passphrase-file", image.parent / "old", "--new-recovery-key", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == ["recovery_key", "image", "opens_with", "damaged_slots"]
    assert key_area_of(image).open(Secrets(recovery=shown["recovery_key"])) == KEYS
    assert rescue("key", image, "--passphrase-file", image.parent / "old", "--new-recovery-key") == 0
    text = capsys.readouterr().out
    assert "write it down" in text
    assert key_area_of(image).open(Secrets(recovery=text.splitlines()[2].strip())) == KEYS


def test_key_files_come_and_go(image: Path) -> None:
    key = image.parent / "key"
    key.write_bytes(bytes(range(100)))
    old = ("--passphrase-file", image.parent / "old")
    assert rescue("key", image, *old, "--new-key-file", key, "--remove", "recovery-key") == 0
    assert rescue("key", image, "--key-file", key, "--remove", "passphrase") == 0
    assert rescue("key", image, *old, "--new-recovery-key") == 5
    with key.open("rb") as file:
        assert key_area_of(image).open(Secrets(key_file=hash_key_file(file))) == KEYS
    before = image.read_bytes()
    assert rescue("key", image, "--key-file", key, "--remove", "key-file") == 2
    assert image.read_bytes() == before


def test_a_recovery_key_that_cannot_be_shown_changes_nothing(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError("full")

    monkeypatch.setattr("sys.stdout", Full())
    assert rescue("key", image, "--passphrase-file", image.parent / "old", "--new-recovery-key") == 1
    assert image.read_bytes() == IMAGE


def test_without_a_secret_and_a_terminal_it_is_a_missing_credential(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert rescue("key", image, "--new-recovery-key") == 5
    assert "--passphrase-file" in capsys.readouterr().err
    monkeypatch.setenv("RESCUE_PASSPHRASE", "correct horse")
    assert rescue("key", image, "--new-recovery-key") == 0


def test_files_that_have_no_keys(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image.write_bytes(header(0) + bytes(40_000))
    assert rescue("key", image) == 2
    assert "not encrypted" in capsys.readouterr().err
    image.write_bytes(bytes(40_000))
    assert rescue("key", image) == 1
    assert rescue("key", image.parent / "none") == 2
    image.write_bytes(IMAGE[:20_000])
    assert rescue("key", image) == 4


def test_damaged_places_are_mentioned(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(IMAGE)
    data[4096 + 60] ^= 1
    image.write_bytes(bytes(data))
    assert rescue("key", image) == 0
    assert "1 of its places for keys cannot be read" in capsys.readouterr().out
