"""What is kept beside an image about its proofs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.images.proofs import NEVER, Proof, proof_path, read_proof, record_result

PRINT = "ab" * 32
DAY, NEXT = "2026-11-22T10:00:00Z", "2026-11-23T10:00:00Z"


def test_what_is_known_grows(tmp_path: Path) -> None:
    image = tmp_path / "a.img.zst"
    assert read_proof(image, PRINT).words == NEVER
    assert record_result(image, PRINT, "hashes", True, DAY)
    assert read_proof(image, PRINT).words == "verified 2026-11-22"
    assert record_result(image, PRINT, "mounts", True, NEXT)
    assert read_proof(image, PRINT).words == "proved 2026-11-23"
    assert record_result(image, PRINT, "hashes", False, NEXT)
    assert read_proof(image, PRINT).words == "FAILED"
    assert record_result(image, PRINT, "mounts", True, NEXT)
    assert read_proof(image, PRINT).words == "FAILED"
    assert record_result(image, PRINT, "hashes", True, NEXT)
    assert read_proof(image, PRINT).words == "proved 2026-11-23"
    assert [path.name for path in tmp_path.iterdir()] == ["a.img.zst.proof.json"]


def test_the_proof_of_another_image_is_none(tmp_path: Path) -> None:
    image = tmp_path / "a.img.zst"
    record_result(image, PRINT, "mounts", True, DAY)
    assert read_proof(image, "cd" * 32) == Proof("cd" * 32)
    record_result(image, "cd" * 32, "hashes", True, DAY)
    assert read_proof(image, "cd" * 32).words == "verified 2026-11-22"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff" * 100,
        b'{"fingerprint": 3}',
        f'{{"fingerprint": "{PRINT}", "failed": "x"}}'.encode(),
        f'{{"fingerprint": "{PRINT}", "mounts": "\\u001b[31mred"}}'.encode(),
        f'{{"fingerprint": "{PRINT}", "hashes": "'.encode() + b"0" * 100_000 + b'"}',
    ],
)
def test_what_is_damaged_or_strange_is_no_proof(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "a.img.zst"
    proof_path(image).write_bytes(content)
    assert read_proof(image, PRINT) == Proof(PRINT)


def test_an_image_in_parts_has_one_proof(tmp_path: Path) -> None:
    assert proof_path(tmp_path / "a.img.zst.001") == proof_path(tmp_path / "a.img.zst") == tmp_path / "a.img.zst.proof.json"


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    assert not record_result(tmp_path / "nowhere" / "a.img.zst", PRINT, "hashes", True, DAY)
