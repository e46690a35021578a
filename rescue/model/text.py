"""Text from disks and images, as a terminal may have it."""

from __future__ import annotations


def shown(text: str) -> str:
    """The text with everything escaped that moves the cursor, turns the direction or is no character: ``a\\x1b[2J``."""
    return "".join(_shown_character(character) for character in text)


def shown_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(shown(line) for line in text.split("\n"))


def _shown_character(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
