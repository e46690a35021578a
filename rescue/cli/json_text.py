"""Results as JSON for programs."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from rescue.model.text import shown

_FOR_PEOPLE: Final = frozenset(
    {"message", "hint", "problem", "title", "step", "sentences", "losses", "warnings", "damage", "reason", "unreadable"}
)


def json_text(value: object, indent: int = 2) -> str:
    """``value`` as a document; ``indent`` 0: in one line.

    A text with bytes that are no UTF-8, such as a file name, is shown with these escaped (``k\\xff``). Beside it, under its name
    with ``_bytes``, stands what it is, in hex; for a list of texts that is a list. Sentences for people are only shown.
    """
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_shown(msgspec.to_builtins(value, str_keys=True)))
    return msgspec.json.format(data, indent=indent).decode() if indent else data.decode()


def _shown(value: object) -> object:
    match value:
        case str():
            return _text(value)
        case list() | tuple():
            return [_shown(item) for item in value]
        case dict():
            answer: dict[str, object] = {}
            for name, item in value.items():
                answer[_text(name)] = _shown(item)
                if name not in _FOR_PEOPLE and (exactly := _hex(item)):
                    answer[f"{_text(name)}_bytes"] = exactly
            return answer
        case _:
            return value


def _hex(value: object) -> str | list[str] | None:
    """The bytes of a text, or of all texts in a list, where there are any that are no UTF-8."""
    match value:
        case str() if _is_bytes(value):
            return os.fsencode(value).hex()
        case list() | tuple() if any(isinstance(text, str) and _is_bytes(text) for text in value):
            return [os.fsencode(text).hex() for text in value]
        case _:
            return None


def _text(text: str) -> str:
    return shown(text) if _is_bytes(text) else text


def _is_bytes(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
