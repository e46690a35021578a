"""Which of apt's archives is Debian's own."""

from __future__ import annotations

import pytest

from tests.vm.mirrors import choose_debian, debian_mirror


@pytest.mark.parametrize(
    ("addresses", "chosen"),
    [
        (["http://a.example/debian-security/", "http://b.example/debian/"], "http://b.example/debian"),
        (["http://a.example/ubuntu/", "http://a.example/ubuntu/"], None),
        (["https://a.example/deep/er/debian"], "https://a.example/deep/er/debian"),
        ([], None),
    ],
)
def test_main_archive(addresses: list[str], chosen: str | None) -> None:
    """Not the security archive, not Ubuntu's."""
    assert choose_debian(addresses) == chosen


def test_chosen_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """RESCUE_MIRROR wins, without asking apt."""
    monkeypatch.setenv("RESCUE_MIRROR", "http://c.example/mirror/")
    assert debian_mirror() == "http://c.example/mirror"
