"""Every screen at 80×24 looks as it did when somebody looked at it, and needs no glyph that the console font lacks.

``RESCUE_UPDATE_SNAPSHOTS=1`` writes the snapshots anew; ``RESCUE_SCREENSHOTS=DIR`` also draws SVGs, at 80×24 and 120×40.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.style import Style

from tests.unit.tui.person import at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.ways import WAYS, Way
from tests.unit.tui.ways_disks import DISK_WAYS
from tests.unit.tui.ways_files import FILES_WAYS
from tests.unit.tui.ways_images import IMAGES_WAYS

SNAPSHOTS = Path(__file__).parent / "snapshots"
FONT_LIST = Path(__file__).parents[3] / "live-config" / "console-font" / "glyphs.txt"
GLYPHS = "▀▄▌▐█▁▂▃▅▆▇▏▎▍▋▊▉▔▕╭╮╰╯─│┌┐└┘├┤┬┴┼━┃┏┓┗┛═║●○◉✓✗▶▲▼◀•…–—“”’░▒▓←↑→↓⚠■□▪▸▾"


PICTURES = os.environ.get("RESCUE_SCREENSHOTS", "")


def draw(name: str, picture: str) -> None:
    """Keep a picture for looking at."""
    Path(PICTURES).mkdir(parents=True, exist_ok=True)
    (Path(PICTURES) / name).write_text(picture)


def allowed(character: str) -> bool:
    """Whether the console can draw it: printable ASCII, Latin-1, or what the font was made for."""
    code = ord(character)
    return 0x20 <= code < 0x7F or 0xA0 <= code <= 0xFF or character in GLYPHS or character == "\n"


def drawable(style: Style) -> bool:
    """Whether a console of sixteen colours shows it as meant: no dark grey, no bright background, no colour of its own."""
    front, back = style.color, style.bgcolor
    numbers = [colour.number for colour in (front, back) if colour is not None and not colour.is_default]
    if any(number is None or number > 15 for number in numbers):
        return False
    too_dark = front is not None and (front.number == 8 or (front.number == 0 and bool(style.bold)))
    bright_back = back is not None and back.number is not None and back.number > 7
    return not too_dark and not bright_back and not style.dim


@pytest.mark.parametrize("way", [*WAYS, *FILES_WAYS, *DISK_WAYS, *IMAGES_WAYS], ids=lambda way: way.__name__)
async def test_screen(way: Way, machine: RecordedMachine, clock: Clock) -> None:
    async with at(machine, clock) as person:
        await way(person, machine)
        text = person.screen()
        styles = person.styles()
        picture = person.picture() if PICTURES else ""
    if PICTURES:
        draw(f"{way.__name__}.svg", picture)
        async with at(RecordedMachine(clock, folder=machine.folder), clock, (120, 40)) as person:
            await way(person, person.machine)
            draw(f"{way.__name__}-120x40.svg", person.picture())
    snapshot = SNAPSHOTS / f"{way.__name__}.txt"
    if os.environ.get("RESCUE_UPDATE_SNAPSHOTS"):
        SNAPSHOTS.mkdir(exist_ok=True)
        snapshot.write_text(text)
    assert len(text.splitlines()) <= 24
    assert text.startswith(" Rescue │ ")
    assert not [character for character in text if not allowed(character)]
    assert not [style for style in styles if not drawable(style)]
    assert text == snapshot.read_text()


def test_the_console_font_has_every_glyph() -> None:
    if not FONT_LIST.exists():
        pytest.skip("the console font's list is not there")
    listed = set(FONT_LIST.read_text())
    assert not [glyph for glyph in GLYPHS if glyph not in listed]
