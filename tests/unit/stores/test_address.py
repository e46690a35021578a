"""What a person may write as DEST, STORE or IMAGE."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.errors import UsageError
from rescue.stores.address import local_path


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/mnt/usb", "/mnt/usb"),
        ("/mnt/usb/", "/mnt/usb"),
        ("file:///mnt/usb", "/mnt/usb"),
        ("FILE:///mnt/usb", "/mnt/usb"),
        ("file:/mnt/usb", "/mnt/usb"),
        ("file://localhost/mnt/a%20b", "/mnt/a b"),
        ("/mnt/odd:name", "/mnt/odd:name"),
    ],
)
def test_local_addresses(address: str, path: str) -> None:
    assert local_path(address) == path


def test_a_relative_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("images") == str(tmp_path / "images")


def test_a_file_whose_name_looks_like_a_scheme_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "s3:backup").mkdir()
    monkeypatch.chdir(tmp_path)
    assert local_path("s3:backup") == str(tmp_path / "s3:backup")


@pytest.mark.parametrize("address", ["https://example.org/x", "s3:bucket/x", "sftp://host/x", "smb://host/x", "odd+thing://x"])
def test_other_schemes_are_refused_by_name(address: str) -> None:
    with pytest.raises(UsageError, match="not supported yet"):
        local_path(address)


@pytest.mark.parametrize("address", ["", "file:", "file://other-host/x", "file://"])
def test_addresses_that_name_nothing_here(address: str) -> None:
    with pytest.raises(UsageError):
        local_path(address)
