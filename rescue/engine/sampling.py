"""A sample of the files of a mounted file system, read to their ends; and where on the volume the blocks of its files are."""

from __future__ import annotations

import fcntl
import os
import random
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rescue.units import MIB

_EDGES: Final = 16  # first and last files that are always in the sample
_RANDOM: Final = 160
NOT_IN_IMAGE: Final = "are not in the image"
_BUFFER: Final = 1 * MIB
_FILE_LIMIT: Final = 64 * MIB  # of a longer file only both ends are read

# linux/fs.h, linux/fiemap.h
_FIEMAP: Final = 0xC020660B
_FIEMAP_HEAD: Final = struct.Struct("=QQIIII")
_FIEMAP_EXTENT: Final = struct.Struct("=QQQ16xI12x")
_FIEMAP_COUNT: Final = 64
_LAST: Final = 0x1
# Unknown, delayed, encoded, encrypted, not aligned, inline, tail, unwritten: no bytes of their own that must be in the image.
_NOT_PLAIN: Final = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800


class Limits(NamedTuple):
    """How much may be looked at."""

    seconds: float  # of walking and reading together
    bytes: int  # of content
    files: int = 400_000  # that are walked over


class Sample(msgspec.Struct):
    """What was read. ``problems`` are by the path of the file in its file system. ``complete``: all files were walked over."""

    files_read: int = 0
    bytes_read: int = 0
    walked: int = 0
    complete: bool = False
    problems: dict[str, str] = msgspec.field(default_factory=dict)


def read_sample(
    root: Path, seed: str, limits: Limits, kept: Callable[[int, int], bool] | None, check: Callable[[], None]
) -> Sample:
    """Walk over the files under ``root`` (of one file system) and read the first, the last and random ones.

    ``kept`` tells whether all of a range ``(start, end)`` of the volume is in the image: every block of every file that is
    walked over must be. The same ``seed`` chooses the same files. ``check`` is called often and may raise.
    """
    sample = Sample()
    deadline = time.monotonic() + limits.seconds
    chosen = _choose(root, seed, limits, deadline, sample, kept, check)
    for path in chosen:
        check()
        left = limits.bytes - sample.bytes_read
        if time.monotonic() > deadline or left <= 0:
            break
        try:
            sample.bytes_read += _read(path, min(left, _FILE_LIMIT))
        except OSError as error:
            sample.problems[_shown(path, root)] = f"it cannot be read ({error.strerror})"
        else:
            sample.files_read += 1
    return sample


def read_again(root: Path, path: str) -> str:
    """What goes wrong with one file of another mount of the same, in the words of :class:`Sample`; "" when nothing does."""
    try:
        _read(root / path, _FILE_LIMIT)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return ""


def _choose(
    root: Path, seed: str, limits: Limits, deadline: float, sample: Sample, kept: Callable[[int, int], bool] | None,
    check: Callable[[], None],
) -> list[Path]:  # fmt: skip
    """The first files, random ones, the last ones; in the order of the walk. Half of the time is for this."""
    chance = random.Random(seed)
    first: list[tuple[int, Path]] = []
    last: list[tuple[int, Path]] = []
    some: list[tuple[int, Path]] = []
    walk_until = time.monotonic() + limits.seconds / 2
    sample.complete = True
    for path in _files(root, sample):
        check()
        if sample.walked >= limits.files or time.monotonic() > min(deadline, walk_until):
            sample.complete = False
            break
        number = sample.walked
        sample.walked += 1
        if kept is not None and (lost := _lost(path, kept)):
            sample.problems[_shown(path, root)] = lost
        if number < _EDGES:
            first.append((number, path))
        last.append((number, path))
        del last[:-_EDGES]
        if len(some) < _RANDOM:
            some.append((number, path))
        elif (place := chance.randrange(number + 1)) < _RANDOM:
            some[place] = (number, path)
    return [path for _, path in sorted({*first, *some, *last})]


def _shown(path: Path, root: Path) -> str:
    text = str(path.relative_to(root))
    return "".join(c if c.isprintable() else "?" for c in text)


def _files(root: Path, sample: Sample) -> Iterator[Path]:
    """The regular files under ``root``, by name, never following a link or leaving the file system."""
    device = root.stat().st_dev
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            sample.problems[_shown(folder, root)] = f"the folder cannot be listed ({error.strerror})"
            continue
        inside = []
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                sample.problems[_shown(Path(entry.path), root)] = f"it cannot be found ({error.strerror})"
                continue
            if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                inside.append(Path(entry.path))
            elif stat.S_ISREG(status.st_mode):
                yield Path(entry.path)
        folders.extend(reversed(inside))


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _read(path: Path, limit: int) -> int:
    """Read a file, or ``limit`` bytes of it, half at each end. Raises OSError."""
    fd = _open(path)
    try:
        size = os.fstat(fd).st_size
        parts = [(0, size)] if size <= limit else [(0, limit // 2), (size - limit // 2, size)]
        done = 0
        for start, end in parts:
            position = start
            while position < end and (data := os.pread(fd, min(_BUFFER, end - position), position)):
                position += len(data)
                done += len(data)
        return done
    finally:
        os.close(fd)


def _lost(path: Path, kept: Callable[[int, int], bool]) -> str:
    """What of a file is not in the image, in words; "" when all of it is, or where it lies cannot be told."""
    try:
        fd = _open(path)
    except OSError as error:
        return f"it cannot be opened ({error.strerror})"
    try:
        for start, end in _extents(fd):
            if not kept(start, end):
                return f"its bytes at {start} to {end} of the volume {NOT_IN_IMAGE}"
    except OSError:
        return ""  # this file system does not tell
    finally:
        os.close(fd)
    return ""


def _extents(fd: int) -> Iterator[tuple[int, int]]:
    """Where the written bytes of a file are on its volume. Raises OSError where the file system cannot tell."""
    position = 0
    while True:
        head = _FIEMAP_HEAD.pack(position, (1 << 64) - 1 - position, 0, 0, _FIEMAP_COUNT, 0)
        answer = bytearray(head + bytes(_FIEMAP_EXTENT.size * _FIEMAP_COUNT))
        fcntl.ioctl(fd, _FIEMAP, answer)
        count = _FIEMAP_HEAD.unpack_from(answer)[3]
        flags = 0
        for number in range(count):
            logical, physical, length, flags = _FIEMAP_EXTENT.unpack_from(
                answer, _FIEMAP_HEAD.size + number * _FIEMAP_EXTENT.size
            )
            position = logical + length
            if not flags & _NOT_PLAIN:
                yield physical, physical + length
        if not count or flags & _LAST:
            return
