"""How hard to compress: at a fixed level, or as hard as the destination's speed allows."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Final

import zstandard

# While the destination keeps up, level 1 saves two fifths of the time of level 3 for 3 % of size, and is read a fifth faster;
# when it does not, the time is there.
_LADDER: Final = (1, 2, 3, 5, 7)
# The share of the time that the writer spends writing, above which the destination is what everything waits for, and
# below which it is not. Judged over this many frames at a time.
_BUSY: Final = 0.9
_IDLE: Final = 0.6
_FRAMES: Final = 16


class Effort:
    """Compresses frames, in several threads. With ``level`` 0 the level follows how busy the writer is."""

    def __init__(self, level: int) -> None:
        self._levels = (level,) if level else _LADDER
        self._step = 0
        self._free: dict[int, SimpleQueue[zstandard.ZstdCompressor]] = {level: SimpleQueue() for level in self._levels}
        self._frames = 0
        self._began = 0.0
        self._writing = 0.0

    def compress(self, content: memoryview) -> bytes:
        """One frame, with its content size and checksum."""
        level = self._levels[self._step]
        free = self._free[level]
        try:
            compressor = free.get_nowait()
        except Empty:
            compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        stored = compressor.compress(content)
        free.put(compressor)
        return stored

    def written(self, began: float, ended: float) -> None:
        """The one writer wrote a frame between these two times (seconds of any steady clock)."""
        self._writing += ended - began
        self._frames += 1
        if self._frames < _FRAMES:
            return
        share = self._writing / max(ended - self._began, 1e-9) if self._began else 0.0
        if share > _BUSY:
            self._step = min(self._step + 1, len(self._levels) - 1)
        elif share < _IDLE:
            self._step = max(self._step - 1, 0)
        self._frames, self._writing, self._began = 0, 0.0, ended
