"""What was tried of a failing disk and how it ended, in the mapfile format of GNU ddrescue (manual, "Mapfile structure").

The file can be given to ddrescue and ddrescuelog, and theirs to this program.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from rescue.errors import FormatError, RescueError, TargetWriteError
from rescue.model.extents import ExtentMap

_LIMIT: Final = 4_000_000  # ranges: every other sector bad over 2 GiB
_FILE_LIMIT: Final = 256 << 20
_PHASES: Final = "?*/-FG+"


class Status(Enum):
    """What is known of a range. The values are ddrescue's characters."""

    UNTRIED = "?"
    UNTRIMMED = "*"  # a large read that touched it failed
    UNSCRAPED = "/"  # its edges were found; what is between was not read sector by sector
    BAD = "-"
    RESCUED = "+"


FAILED: Final = frozenset((Status.UNTRIMMED, Status.UNSCRAPED, Status.BAD))


class RescueMap:
    """The status of every byte of ``[0, size)``. Changed in place; not for several threads at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.phase = Status.UNTRIED.value
        self.position = 0
        # Block n is [starts[n], starts[n + 1]); neighbours differ in status.
        self._starts = array("q", [0] if size else [])
        self._statuses: list[Status] = [Status.UNTRIED] if size else []

    def __len__(self) -> int:
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RescueMap):
            return NotImplemented
        return (self.size, self._starts, self._statuses) == (other.size, other._starts, other._statuses)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __iter__(self) -> Iterator[tuple[int, int, Status]]:
        return self.between(0, self.size)

    def between(self, start: int, end: int) -> Iterator[tuple[int, int, Status]]:
        """The blocks inside ``[start, end)``, clipped to it, in order, as they are now."""
        found: list[tuple[int, int, Status]] = []
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self._starts) and self._starts[index] < min(end, self.size):
            low, high = max(self._starts[index], start), min(self._end(index), end)
            if low < high:
                found.append((low, high, self._statuses[index]))
            index += 1
        return iter(found)

    def set(self, start: int, end: int, status: Status) -> None:
        """Give ``[start, end)`` a status. Raises ValueError when it is outside of the disk."""
        if start < 0 or end > self.size:
            raise ValueError(f"[{start}, {end}) is outside of a map of {self.size} bytes")
        if start >= end:
            return
        # Touching blocks are taken in, so that neighbours of the same status become one.
        first = max(bisect_right(self._starts, start - 1) - 1, 0)
        last = max(bisect_right(self._starts, end) - 1, first)
        low, high = self._starts[first], self._end(last)
        pieces = ((low, start, self._statuses[first]), (start, end, status), (end, high, self._statuses[last]))
        starts, statuses = array("q"), list[Status]()
        for begin, stop, what in pieces:
            if begin < stop and (not statuses or statuses[-1] is not what):
                starts.append(begin)
                statuses.append(what)
        self._starts[first : last + 1] = starts
        self._statuses[first : last + 1] = statuses

    def having(self, *statuses: Status) -> ExtentMap:
        """The bytes that have one of these statuses."""
        return ExtentMap((start, end) for start, end, status in self if status in statuses)

    @property
    def failed(self) -> ExtentMap:
        """The bytes that could not be read, or lie in a read that failed."""
        return self.having(*FAILED)

    def _end(self, index: int) -> int:
        return self._starts[index + 1] if index + 1 < len(self._starts) else self.size

    def to_text(self) -> str:
        """The mapfile. Positions and sizes in bytes, hexadecimal."""
        lines = [
            "# Mapfile. Created by Rescue, in the format of GNU ddrescue",
            "# current_pos  current_status  current_pass",
            f"0x{self.position:08X}     {self.phase}               1",
            "#      pos        size  status",
        ]
        lines += [f"0x{start:08X}  0x{end - start:08X}  {status.value}" for start, end, status in self]
        return "\n".join(lines) + "\n"

    @staticmethod
    def from_text(text: str, size: int) -> RescueMap:
        """Read a mapfile for a disk of ``size`` bytes; what it does not mention was not tried.

        Raises FormatError: not a mapfile, ranges that overlap or leave gaps, or are not on this disk.
        """
        lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if not lines or len(lines[0]) not in (2, 3) or len(lines[0][1]) != 1 or lines[0][1] not in _PHASES:
            raise FormatError("It is not a mapfile: it has no line with the current position and status.")
        if len(lines) > _LIMIT:
            raise FormatError(f"The mapfile has more than {_LIMIT} ranges.")
        found = RescueMap(size)
        found.position, found.phase = min(_number(lines[0][0]), size), lines[0][1]
        starts, statuses = array("q"), list[Status]()
        end = -1
        for fields in lines[1:]:
            if len(fields) != 3 or fields[2] not in Status._value2member_map_:
                raise FormatError(f"The mapfile has a line that makes no sense: {' '.join(fields)[:80]}")
            start, length, status = _number(fields[0]), _number(fields[1]), Status(fields[2])
            if length == 0 or (end >= 0 and start != end):
                raise FormatError(f"The mapfile has a gap or an overlap at byte {start}.")
            end = start + length
            if end > size and status is not Status.UNTRIED:
                raise FormatError(f"The mapfile is of a larger disk: it knows of byte {end - 1}, this one has {size} bytes.")
            if not starts and start > 0:
                starts.append(0)
                statuses.append(Status.UNTRIED)
            if start < size and (not statuses or statuses[-1] is not status):
                starts.append(start)
                statuses.append(status)
        if 0 <= end < size and statuses[-1] is not Status.UNTRIED:
            starts.append(end)
            statuses.append(Status.UNTRIED)
        if starts:
            found._starts, found._statuses = starts, statuses
        return found


def _number(word: str) -> int:
    """A number as ddrescue reads it: decimal, 0x hexadecimal, 0 octal."""
    try:
        octal = len(word) > 1 and word[0] == "0" and word.isdigit()
        value = int(word, 8) if octal else int(word, 0)
    except ValueError as error:
        raise FormatError(f"The mapfile has a number that makes no sense: {word[:40]}") from error
    if not 0 <= value < 1 << 62:
        raise FormatError(f"The mapfile has a number that is out of bounds: {word[:40]}")
    return value


def load_map(path: Path, size: int) -> RescueMap:
    """The map kept in a file; nothing tried where there is no file. Raises FormatError, RescueError, naming the file."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except FileNotFoundError:
        return RescueMap(size)
    except OSError as error:
        raise RescueError(f"The map {path} cannot be read: {error.strerror}.") from error
    if len(data) > _FILE_LIMIT:
        raise FormatError(f"{path} is larger than any map of a disk.")
    try:
        return RescueMap.from_text(data.decode("utf-8", "replace"), size)
    except FormatError as error:
        raise FormatError(f"{path}: {error.message}", "Name another folder for the salvage, or remove this one.") from error


def save_map(path: Path, rescue_map: RescueMap) -> None:
    """Replace the file by the map as it is now, in one step that a power cut cannot halve. Raises TargetWriteError."""
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="ascii") as file:
            file.write(rescue_map.to_text())
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise TargetWriteError(f"The map {path} cannot be written: {error.strerror}.") from error
