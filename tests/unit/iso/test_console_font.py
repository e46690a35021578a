"""The console font has a shape of its own for every character that the program draws."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[3] / "live-config/console-font"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("make_font", str(FOLDER / "make-font"))
    spec = importlib.util.spec_from_loader("make_font", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_font"] = module
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = written
    return module


def source_font() -> bytes:
    """Return a PSF 1 font in which slot n is filled with n, and shows what Uni2-Terminus shows there as far as it matters."""
    shown = {65: "AΑ", 179: "│┃║", 196: "─━═", 7: "•●", 24: "↑▲", 271: "—", 280: "…", 45: "-–−", 200: "Ë"}
    shown |= {191: "┐┓╗╮", 192: "└┗╚╰", 217: "┘┛╝╯", 218: "┌┏╔╭", 195: "├┣╠", 180: "┤┫╣", 194: "┬", 193: "┴", 197: "┼"}
    shown |= {
        250: "·",
        210: "×",
        241: "±",
        247: "≈",
        243: "≤",
        242: "≥",
        248: "°",
        275: "“",
        276: "”",
        272: "‘",
        273: "’",
        174: "«",
        175: "»",
    }
    bitmaps = b"".join(bytes([slot % 251 + 1]) * 16 for slot in range(512))
    table = b"".join(b"".join(struct.pack("<H", ord(c)) for c in shown.get(slot, "")) + b"\xff\xff" for slot in range(512))
    return b"\x36\x04\x03\x10" + bitmaps + table


def test_every_glyph_has_a_shape_of_its_own(maker: ModuleType) -> None:
    glyphs = maker.read_glyphs(FOLDER / "glyphs.txt")
    font = maker.parse(maker.serialise(maker.with_glyphs(maker.parse(source_font()), glyphs)))
    dashes = {"–", "−"}  # Terminus draws them as it draws the hyphen.
    slots = {glyph: font.slot_of(glyph) for glyph in glyphs if glyph not in dashes}
    assert None not in slots.values()
    assert len(set(slots.values())) == len(slots)
    assert all(any(font.bitmaps[slot]) for slot in slots.values())


def test_letters_stay(maker: ModuleType) -> None:
    glyphs = maker.read_glyphs(FOLDER / "glyphs.txt")
    before, after = maker.parse(source_font()), maker.with_glyphs(maker.parse(source_font()), glyphs)
    for letter in "AË":
        assert after.bitmaps[after.slot_of(letter)] == before.bitmaps[before.slot_of(letter)]


def test_blocks_fill_their_share_of_the_cell(maker: ModuleType) -> None:
    font = maker.with_glyphs(maker.parse(source_font()), maker.read_glyphs(FOLDER / "glyphs.txt"))

    def dots(glyph: str) -> int:
        return sum(row.bit_count() for row in font.bitmaps[font.slot_of(glyph)])

    assert [dots(glyph) for glyph in "▁▂▃▄▅▆▇█"] == [16 * eighths for eighths in range(1, 9)]
    assert [dots(glyph) for glyph in "▏▎▍▌▋▊▉"] == [16 * eighths for eighths in range(1, 8)]
    assert dots("▀") == dots("▐") == dots("▚") == 64
    assert [dots(glyph) for glyph in "░▒▓"] == [32, 64, 96]


def test_lines_meet_at_the_edges(maker: ModuleType) -> None:
    """Rounded and heavy corners continue the straight lines beside and above them."""
    font = maker.with_glyphs(maker.parse(source_font()), maker.read_glyphs(FOLDER / "glyphs.txt"))

    def right(glyph: str) -> list[int]:
        return [row & 1 for row in font.bitmaps[font.slot_of(glyph)]]

    def left(glyph: str) -> list[int]:
        return [row >> 7 for row in font.bitmaps[font.slot_of(glyph)]]

    def bottom(glyph: str) -> int:
        return int(font.bitmaps[font.slot_of(glyph)][-1])

    def top(glyph: str) -> int:
        return int(font.bitmaps[font.slot_of(glyph)][0])

    for corners, flat, upright in (("┏┓┗┛", "━", "┃"), ("╔╗╚╝", "═", "║")):
        upper_left, upper_right, lower_left, lower_right = tuple(corners)
        assert right(upper_left) == right(lower_left) == left(upper_right) == left(lower_right) == right(flat) == left(flat)
        assert bottom(upper_left) == bottom(upper_right) == top(lower_left) == top(lower_right) == top(upright) == bottom(upright)
    assert right("╭") == left("╮") == right("╰") == left("╯") == [0] * 7 + [1] + [0] * 8
    assert bottom("╭") == bottom("╮") == top("╰") == top("╯") == 0x10


def test_a_glyph_nobody_can_draw_is_refused(maker: ModuleType) -> None:
    with pytest.raises(ValueError, match="U\\+2603"):
        maker.with_glyphs(maker.parse(source_font()), ["☃"])
