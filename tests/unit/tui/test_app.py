"""What holds for every screen: where keys go that come fast, and what a crash shows."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from rescue.tui.widgets.bars import KeyBar, KeyHint
from tests.unit.tui.person import at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.ways import restore_review


async def test_keys_right_after_tab_go_to_the_new_focus(machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await restore_review(person, machine)
        await person.burst("tab", "7", "r", "0", "p")
        assert person.app.screen.query_one("#confirmation", Input).value == "7r0p"
        await person.burst("tab", "enter")
        assert person.name == "TargetScreen"


class ABugError(Exception):
    """Raised by a widget."""


async def crash(machine: RecordedMachine, clock: Clock) -> None:
    """Run into a bug while a passphrase is at hand."""

    def bug() -> None:
        passphrase = "hunter2" * 2
        raise ABugError(f"{len(passphrase)} letters")

    async with at(machine, clock) as person:
        person.app.call_later(bug)
        await person.settle()


async def test_a_crash_shows_no_values(machine: RecordedMachine, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ABugError):
        await crash(machine, clock)
    shown = capsys.readouterr()
    assert "ABugError" in shown.err
    assert "hunter2hunter2" not in shown.out + shown.err


@pytest.mark.parametrize("columns", [100, 85, 80, 40])
async def test_no_key_of_the_bottom_line_is_cut_off(machine: RecordedMachine, clock: Clock, columns: int) -> None:
    hints = tuple(KeyHint(f"F{number}", "What it does", "screen.help") for number in range(1, 6))
    async with at(machine, clock, (columns, 24)) as person:
        person.app.screen.query_one(KeyBar).show(hints)
        await person.press("f20")  # nothing; lets the screen be drawn
        last = person.screen().splitlines()[-1]
    words = [" ".join(word.split()) for word in last.split("  ") if word.strip()]
    assert words == [f"F{number} What it does" for number in range(1, len(words) + 1)]
    assert len(words) == min((columns + 1) // 17, 5)
