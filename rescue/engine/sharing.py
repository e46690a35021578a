"""Whether what images point to in each other's files is what those files themselves say is there: no data are read for it."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Final, Protocol

from rescue.images.segment import data_flags

# The file that holds it, and everything that a row says of a chunk but where it is on the disk.
_ROW: Final = struct.Struct("<2xH60s")
_ROWS_AT_ONCE: Final = 16 << 20  # 8 bytes each, and 40 more while those of one image are sorted


class Index(Protocol):
    """The index of an image, as far as it is needed here. Raises RescueError when it cannot be read."""

    @property
    def files(self) -> Sequence[str]:
        """Where the image itself is, then the files of its chain that were opened (else ""): by the numbers that rows use."""
        ...

    @property
    def rows(self) -> int:
        """How many rows it has."""
        ...

    def tables(self) -> Iterator[bytes]:
        """Its checked rows, as they are stored, segment by segment."""
        ...


def doubtful(images: Sequence[Index], proved: Sequence[Index], rows_at_once: int = _ROWS_AT_ONCE) -> list[set[int]]:
    """For each of ``images`` the numbers of those other files in which a chunk of it is not one that the file's own index has.

    The data of ``proved`` were checked by their own indexes. Memory stays bounded: what is too much is done in several passes.
    """
    found: list[set[int]] = [set() for _ in images]
    passes = sum(index.rows for index in proved) // rows_at_once + 1
    for turn in range(passes):
        own = {index.files[0]: _own_keys(index, passes, turn) for index in proved}
        for image, wrong in zip(images, found, strict=True):
            _compare(image, own, wrong, passes, turn)
    return found


def _own_keys(index: Index, passes: int, turn: int) -> array[int]:
    keys = array("Q")
    for file, key in _keys(index):
        if not file and key % passes == turn:
            keys.append(key)
    return array("Q", sorted(keys))


def _compare(image: Index, own: dict[str, array[int]], wrong: set[int], passes: int, turn: int) -> None:
    known = [own.get(file) if file else None for file in image.files]
    for file, key in _keys(image):
        if not file or file in wrong or key % passes != turn:
            continue
        keys = known[file]
        if keys is not None:
            at = bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                continue
        wrong.add(file)


def _keys(index: Index) -> Iterator[tuple[int, int]]:
    """Of each row with data: the file that holds it, and a number that stands for the rest of what it says."""
    for table in index.tables():
        for file, rest in compress(_ROW.iter_unpack(table), data_flags(table)):
            # Python's own hash of bytes is keyed at random: nobody can make two rows that have the same.
            yield file, hash(rest) & 0xFFFFFFFFFFFFFFFF
