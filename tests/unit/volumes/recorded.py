"""What the kernel wrote, recorded by tests/vm/guest_samples.py."""

from __future__ import annotations

import base64
import json
import lzma
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from rescue.model.source import BytesSource
from rescue.units import KIB

BLOCK = 4 * KIB
_DATA = Path(__file__).parents[2] / "data" / "volumes"


@cache
def record(name: str) -> dict[str, Any]:
    """One recording."""
    found: dict[str, Any] = json.loads(lzma.decompress((_DATA / f"{name}.json.xz").read_bytes()))
    return found


def unpacked(text: str) -> bytes:
    """Bytes in a recording."""
    return zlib.decompress(base64.b64decode(text))


def block(number: int) -> bytes:
    """What block ``number`` of a recorded volume holds (guest_samples.block)."""
    head = b"RSCU" + zlib.crc32(b"block %d" % number).to_bytes(4, "little") + number.to_bytes(8, "little")
    return head * (BLOCK // len(head))


def member(recorded: dict[str, Any]) -> BytesSource:
    """A member of an array: its superblock, and the blocks of the array on it."""
    data = bytearray(recorded["size"])
    data[recorded["at"] : recorded["at"] + 4096] = unpacked(recorded["superblock"])
    for at, number in recorded["blocks"]:
        data[at * BLOCK : (at + 1) * BLOCK] = block(number)
    return BytesSource(data)
