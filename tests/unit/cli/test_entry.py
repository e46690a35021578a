"""When a process for a job is started early."""

from __future__ import annotations

import pytest

from rescue.cli import entry


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ("verify x.img.zst", "verify"),
        ("backup /dev/sda /x --progress none", "backup"),
        ("restore x.img.zst /dev/sda --yes", "restore"),
        ("clone /dev/sda /dev/sdb", "clone"),
        ("verify x.img.zst --dry-run", None),
        ("restore --help", None),
        ("info verify", None),
        ("", None),
    ],
)
def test_only_before_much_work(arguments: str, kind: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(entry, "Standby", asked.append)
    entry.wanted(arguments.split())
    assert asked == ([kind] if kind else [])
