"""Plans, events and records as JSON. Texts in them may hold bytes that are no UTF-8, as file names on Linux may.

Such a byte is half of a surrogate pair in a Python string (PEP 383). In JSON it is that half alone, escaped: ``\\udcff``, which
RFC 8259 §8.2 permits. msgspec neither writes nor reads it, so that what holds such texts goes through the standard library.
"""

from __future__ import annotations

import json
import re
from types import UnionType
from typing import Any, Final, TypeVar, overload

import msgspec

T = TypeVar("T")

_LIMIT: Final = 16 << 20  # a hostile one of many empty lists takes thirty times as much
_HALF: Final = re.compile(rb"\\u[dD]")


def encode(value: object) -> bytes:
    """A document in one line."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, str_keys=True), separators=(",", ":")).encode("ascii")


@overload
def decode(data: bytes, type: type[T]) -> T: ...


@overload
def decode(data: bytes, type: UnionType) -> Any: ...


def decode(data: bytes, type: Any) -> Any:  # noqa: A002 - as msgspec calls it
    """What :func:`encode` wrote, of this type. Raises msgspec.DecodeError, UnicodeDecodeError."""
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if len(data) > _LIMIT or not _HALF.search(data):
            raise
    try:
        value = json.loads(data)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error
    return msgspec.convert(value, type, str_keys=True)
