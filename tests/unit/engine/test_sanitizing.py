"""Telling a disk to erase itself, with programs that answer what was recorded; and the look at it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from rescue.engine.sanitizing import prove_sanitized, samples_of, sanitize, sanitize_state
from rescue.errors import DamagedError, ProgramError, RescueError
from rescue.model.edit import SanitizeWay
from rescue.system.run import Completed


class _Programs:
    """Answers in turn; ``failing`` are words of which one makes a program fail."""

    def __init__(self, answers: list[bytes] | None = None, failing: tuple[str, ...] = ()) -> None:
        self.asked: list[list[str]] = []
        self._answers = answers or []
        self._failing = failing

    def __call__(self, arguments: list[str]) -> Completed:
        self.asked.append(arguments)
        if any(word in arguments for word in self._failing):
            raise ProgramError(f"{arguments[0]} failed.")
        return Completed(0, self._answers.pop(0) if arguments[1] == "sanitize-log" else b"", b"")


def _log(state: int, done: int) -> bytes:
    return done.to_bytes(2, "little") + state.to_bytes(2, "little") + bytes(508)


def test_nvme_is_waited_for_and_its_progress_shown() -> None:
    programs = _Programs([_log(2, 100), _log(2, 40000), _log(1, 65535)])
    told: list[tuple[int, int]] = []
    slept: list[float] = []
    sanitize("/dev/nvme0n1", "nvme-block", lambda done, total: told.append((done, total)), programs, slept.append)
    assert programs.asked[0] == ["nvme", "sanitize", "/dev/nvme0n1", "--sanact=2"]
    assert told == [(0, 1), (100, 65536), (40000, 65536), (1, 1)]
    assert len(slept) == 2


def test_nvme_that_fails_says_so() -> None:
    programs = _Programs([_log(3, 0)])
    with pytest.raises(RescueError, match="failed"):
        sanitize("/dev/nvme0n1", "nvme-crypto", lambda *_: None, programs, lambda _: None)
    with pytest.raises(RescueError, match="how far"):
        sanitize_state(b"")


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("nvme-format", ["nvme", "format", "/dev/x", "--ses=1", "--force"]),
        ("nvme-format-crypto", ["nvme", "format", "/dev/x", "--ses=2", "--force"]),
        ("discard", ["blkdiscard", "--secure", "--force", "/dev/x"]),
    ],
)
def test_other_ways(way: SanitizeWay, words: list[str]) -> None:
    programs = _Programs()
    sanitize("/dev/x", way, lambda *_: None, programs)
    assert programs.asked == [words]


def test_ata_gets_a_password_that_goes_with_the_erase() -> None:
    programs = _Programs()
    sanitize("/dev/sda", "ata-enhanced", lambda *_: None, programs)
    assert [words[3] for words in programs.asked] == ["--security-set-pass", "--security-erase-enhanced"]


def test_ata_that_fails_is_unlocked_again_or_the_password_is_told() -> None:
    programs = _Programs(failing=("--security-erase",))
    with pytest.raises(RescueError, match="as it was"):
        sanitize("/dev/sda", "ata", lambda *_: None, programs)
    assert programs.asked[-1][1] == "--security-disable"
    programs = _Programs(failing=("--security-erase", "--security-disable"))
    with pytest.raises(RescueError, match="locked with the password") as failed:
        sanitize("/dev/sda", "ata", lambda *_: None, programs)
    assert "--security-disable rescue /dev/sda" in failed.value.hint


def test_a_disk_that_only_says_that_it_erased_itself(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20) + b"".join(number.to_bytes(4, "big") for number in range(1 << 18)))
    before = samples_of(str(disk))
    assert 100 < len(before) < 140  # those of the half that holds something
    with pytest.raises(DamagedError, match="still holds"):
        prove_sanitized(str(disk), before)
    disk.write_bytes(b"\xff" * (2 << 20))
    assert prove_sanitized(str(disk), before) == len(before)
