"""Every screen at 80×24 looks as it did when somebody looked at it, and needs no glyph that the console font lacks.

``RESCUE_UPDATE_SNAPSHOTS=1`` writes the snapshots anew; ``RESCUE_SCREENSHOTS=DIR`` also draws SVGs, at 80×24 and 120×40.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.style import Style

from tests.unit.tui import ways, ways_disks, ways_files, ways_images
from tests.unit.tui.person import Person, at
from tests.unit.tui.recorded import Clock, RecordedMachine
from tests.unit.tui.ways import WAYS, Way
from tests.unit.tui.ways_disks import DISK_WAYS
from tests.unit.tui.ways_files import FILES_WAYS
from tests.unit.tui.ways_images import IMAGES_WAYS

SNAPSHOTS = Path(__file__).parent / "snapshots"
FONT_LIST = Path(__file__).parents[3] / "live-config" / "console-font" / "glyphs.txt"
GLYPHS = "▀▄▌▐█▁▂▃▅▆▇▏▎▍▋▊▉▔▕╭╮╰╯─│┌┐└┘├┤┬┴┼━┃┏┓┗┛═║●○◉✓✗▶▲▼◀•…–—“”’░▒▓←↑→↓⚠■□▪▸▾"


ALL_WAYS = (*WAYS, *FILES_WAYS, *DISK_WAYS, *IMAGES_WAYS)
SEEN: dict[str, tuple[str, set[Style]]] = {}
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


@pytest.fixture(scope="module", autouse=True)
def _seen_on_the_way() -> Iterator[None]:
    """Many ways begin with others: those are seen there, and need not be gone again."""
    wrapped = {way: _remembered(way) for way in ALL_WAYS}
    with pytest.MonkeyPatch.context() as patch:
        for module in (ways, ways_disks, ways_files, ways_images):
            for name, found in list(vars(module).items()):
                if callable(found) and found in wrapped:
                    patch.setattr(module, name, wrapped[found])
        yield
    SEEN.clear()


def _is_as_new(machine: RecordedMachine) -> bool:
    return machine == RecordedMachine(machine.clock, folder=machine.folder, tree=machine.tree, changed=machine.changed)


def _remembered(way: Way) -> Way:
    async def gone(person: Person, machine: RecordedMachine) -> None:
        is_seen = way.__name__ not in SEEN and person.did_nothing and _is_as_new(machine)
        await way(person, machine)
        if is_seen:
            SEEN[way.__name__] = (person.screen(), person.styles())

    return gone


# The longest ones first: the others are likely seen on them.
@pytest.mark.parametrize("way", tuple(reversed(ALL_WAYS)), ids=lambda way: way.__name__)
async def test_screen(way: Way, machine: RecordedMachine, clock: Clock) -> None:
    picture = ""
    if PICTURES or way.__name__ not in SEEN:
        async with at(machine, clock) as person:
            await way(person, machine)
            SEEN[way.__name__] = (person.screen(), person.styles())
            picture = person.picture() if PICTURES else ""
    text, styles = SEEN[way.__name__]
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
