"""What is told of a program that failed."""

from __future__ import annotations

import pytest

from rescue.engine import resizing
from rescue.errors import ProgramError


@pytest.mark.parametrize(
    ("said", "told"),
    [
        # btrfs 6.2: standard output, where its progress goes, is written after standard error.
        (
            "ERROR: unable to resize '/x': Invalid argument\nResize device id 1 (/dev/loop0) from 400.00MiB to 1.00MiB\n",
            "Invalid",
        ),
        ("Pass 1\nresize2fs: No space left\n", "No space left"),
        ("0 errors so far\nit ended\n", "it ended"),
        ("", "it said nothing"),
    ],
)
def test_the_error_is_told_and_not_the_progress_behind_it(said: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "watch", lambda *_: (1, said))
    with pytest.raises(ProgramError, match=told):
        resizing.work(["btrfs"], resizing.nothing)
