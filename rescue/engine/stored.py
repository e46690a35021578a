"""The bytes of frames as they are in the file, read into lent buffers."""

from __future__ import annotations

from typing import NamedTuple

from rescue.engine.pipeline import Buffers
from rescue.images.chain import Chain
from rescue.images.cipher import FRAME_OVERHEAD
from rescue.images.frames import FrameUse, damaged


class Stored(NamedTuple):
    """A frame as it is in the file, in a lent buffer."""

    frame: memoryview
    buffer: memoryview


class StoredBuffers:
    """Reads frames from the file into a fixed number of buffers, so that no memory comes and goes."""

    def __init__(self, chain: Chain, count: int) -> None:
        self._chain = chain
        # What cannot be compressed grows a little; anything longer was not written by a sane writer.
        self._size = chain.header.frame_limit + chain.header.frame_limit // 128 + 1024 + FRAME_OVERHEAD
        self._buffers = Buffers(count, self._size, chain.header.disk_size)

    def read(self, use: FrameUse) -> Stored:
        """Read a frame; waits for a buffer. Raises DamagedError, SourceReadError."""
        if use.length > self._size:
            raise damaged(self._chain, use.chunks[0], "is longer than it can be")
        file = self._chain.files[use.file]
        assert file is not None  # a chain gives no DATA rows of files that it has not
        buffer = self._buffers.lend()
        frame = buffer[: use.length]
        file.source.pread_into(frame, use.offset)
        return Stored(frame, buffer)

    def give_back(self, stored: Stored) -> None:
        """The frame is not needed any more."""
        self._buffers.give_back(stored.buffer)
