"""The used maps that partclone makes, for file systems that this program does not read itself."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from rescue.errors import FormatError
from rescue.model.extents import ExtentMap
from rescue.model.volume import UsedMap
from rescue.system.loop import loop_device
from rescue.system.run import run

_RANGE = re.compile(r"^0x([0-9A-Fa-f]{1,15})\s+0x([0-9A-Fa-f]{1,15})\s+([+?])$")


def used_map(program: str, path: str, offset: int, size: int) -> UsedMap:
    """Ask ``partclone.<fs> -D`` about ``size`` bytes at ``offset`` of ``path``. Needs root. Raises ProgramError, FormatError."""
    with tempfile.TemporaryDirectory() as folder, loop_device(path, offset=offset, size=size) as node:
        log = str(Path(folder) / "log")  # its default is one file for all in /var/log
        done = run([program, "-D", "-s", node, "-o", "-", "-L", log], timeout=600)
    return UsedMap(parse_map(done.text, size))


def parse_map(text: str, size: int) -> ExtentMap:
    """Read ddrescue's map format. What is not said to be free is used. Raises FormatError when the ranges leave a gap."""
    free: list[tuple[int, int]] = []
    position = 0
    for line in text.splitlines():
        if found := _RANGE.match(line.strip()):
            start, length = int(found[1], 16), int(found[2], 16)
            if start != position:
                raise FormatError(f"partclone's map has a gap or an overlap at byte {position}.")
            position += length
            if found[3] == "?":
                free.append((start, position))
    if not position:
        raise FormatError("partclone printed no map.")
    return ExtentMap(free).complement(size)
