"""LVM's text: the syntax of lvm.conf(5), in which a volume group describes itself on disk.

Sections in braces, assignments of integers, floats, strings and lists of those, comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from rescue.errors import FormatError

Value: TypeAlias = "int | str | list[int | str]"
Section: TypeAlias = "dict[str, Value | Section]"

_TOKEN: Final = re.compile(
    r'[\s,]+|\#[^\n]*|(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>[{}\[\]=])|(?P<word>[^\s{}\[\]=,"#]+)', re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_MAX_DEPTH: Final = 16


def parse(data: bytes) -> Section:
    """Read a whole text. Raises FormatError."""
    tokens = list(_tokens(data.decode("utf-8", "surrogateescape").rstrip("\0")))
    section, position = _section(tokens, 0, 0)
    if position != len(tokens):
        raise FormatError("LVM metadata: a closing brace is where none belongs.")
    return section


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise FormatError(f"LVM metadata: the text makes no sense at byte {position}.")
        position = found.end()
        if found.lastgroup == "string":
            yield "string", _ESCAPED.sub(r"\1", found[0][1:-1])
        elif found.lastgroup:
            yield found.lastgroup, found[0]


def _section(tokens: list[tuple[str, str]], position: int, depth: int) -> tuple[Section, int]:
    if depth > _MAX_DEPTH:
        raise FormatError("LVM metadata: sections are in each other too deeply.")
    section: Section = {}
    while position < len(tokens) and tokens[position] != ("mark", "}"):
        kind, name = tokens[position]
        mark = tokens[position + 1] if position + 1 < len(tokens) else ("", "")
        if kind == "mark" or name in section:
            raise FormatError(f"LVM metadata: {name!r} is where it does not belong.")
        if mark == ("mark", "{"):
            section[name], position = _section(tokens, position + 2, depth + 1)
            if position >= len(tokens):
                raise FormatError(f"LVM metadata: the section {name!r} has no end.")
            position += 1
        elif mark == ("mark", "="):
            section[name], position = _value(tokens, position + 2)
        else:
            raise FormatError(f"LVM metadata: {name!r} has no value.")
    return section, position


def _value(tokens: list[tuple[str, str]], position: int) -> tuple[Value, int]:
    if position < len(tokens) and tokens[position] == ("mark", "["):
        values: list[int | str] = []
        position += 1
        while position < len(tokens) and tokens[position][0] != "mark":
            values.append(_scalar(tokens[position]))
            position += 1
        if position >= len(tokens) or tokens[position] != ("mark", "]"):
            raise FormatError("LVM metadata: a list has no end.")
        return values, position + 1
    if position >= len(tokens) or tokens[position][0] == "mark":
        raise FormatError("LVM metadata: a value is missing.")
    return _scalar(tokens[position]), position + 1


def _scalar(token: tuple[str, str]) -> int | str:
    kind, text = token
    # No number in the metadata is larger than what fits into 64 bits.
    return int(text) if kind == "word" and text.isascii() and text.isdigit() and len(text) <= 20 else text
