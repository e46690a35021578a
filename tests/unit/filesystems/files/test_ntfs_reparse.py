"""Files of Windows whose content is not where a file's content is: none of them may pass for zeros."""

from __future__ import annotations

import struct

import pytest

from rescue.errors import FormatError
from rescue.filesystems.files.ntfs_reparse import parse

_OFFLINE, _RECALL_ON_OPEN, _RECALL_ON_ACCESS = 0x1000, 0x40000, 0x400000


def _point(tag: int, body: bytes = b"") -> bytes:
    return struct.pack("<IHH", tag, len(body), 0) + body


@pytest.mark.parametrize(
    ("tag", "word"),
    [
        (0x80000017, "CompactOS"), (0x80000013, "deduplicated"), (0x80000007, "kept once"), (0x80000008, "WIMBoot"),
        (0xC0000004, "another storage"), (0x80000006, "another storage"),
    ],
)  # fmt: skip
def test_content_that_is_elsewhere(tag: int, word: str) -> None:
    assert word in parse(_point(tag, bytes(16))).problem


@pytest.mark.parametrize("tag", [0x9000001A, 0x9000101A, 0x9000701A, 0x9000F01A, 0x8000001E, 0x9000001C])
@pytest.mark.parametrize("attribute", [_OFFLINE, _RECALL_ON_OPEN, _RECALL_ON_ACCESS])
def test_a_file_of_a_cloud(tag: int, attribute: int) -> None:
    """With its content here it is a file as others, without it is a hole."""
    assert "not on this disk" in parse(_point(tag), attribute | 0x20).problem
    assert parse(_point(tag), 0x20 | 0x400).problem == ""


def test_links() -> None:
    name = "C:\\Users".encode("utf-16-le")
    body = struct.pack("<HHHHI", 0, len(name), 0, len(name), 0) + name
    assert parse(_point(0xA000000C, body)) == ("C:/Users", "")
    assert parse(_point(0xA000001D, b"\x02\0\0\0../up")) == ("../up", "")
    with pytest.raises(FormatError):
        parse(_point(0xA000000C, b"short"))
    with pytest.raises(FormatError):
        parse(b"\x17")


def test_a_tag_that_changes_nothing() -> None:
    assert parse(_point(0x8000001B, b"app"), _OFFLINE) == ("", "")
