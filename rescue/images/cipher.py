"""How the pieces of an image file are sealed and opened and its chunks hashed. Without keys: not at all, and plainly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from blake3 import blake3

from rescue.errors import DamagedError
from rescue.images.crypto import SEAL_OVERHEAD, Algorithm, ImageKeys, Place, SealedKind, Sealer
from rescue.images.format import SKIPPABLE_HEAD, SKIPPABLE_MAGIC, TAG_DATA, Header

_Buffer: TypeAlias = bytes | bytearray | memoryview
Digest: TypeAlias = Callable[[_Buffer], bytes]

_FRAME_HEAD: Final = SKIPPABLE_HEAD.size + len(TAG_DATA)
FRAME_OVERHEAD: Final = _FRAME_HEAD + SEAL_OVERHEAD


def digest_of(keys: ImageKeys | None) -> Digest:
    """The hash of a chunk: BLAKE3, keyed in an encrypted image."""
    if keys is None:
        return lambda data: blake3(data).digest()
    key = keys.hash_key
    return lambda data: blake3(data, key=key).digest()


class Scratch:
    """Memory that is used again and again: new memory for each frame takes longer than the cipher itself. For one thread."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def of(self, size: int) -> memoryview:
        """``size`` bytes that hold anything, until the next are asked for."""
        if len(self._memory) < size:
            self._memory = bytearray(size + size // 8)
        return memoryview(self._memory)[:size]


class Cipher:
    """Seals and opens pieces. ``keys`` None: pieces are what they are. Threads may share it."""

    def __init__(self, header: Header, keys: ImageKeys | None) -> None:
        self._frames: Sealer | None = None
        self._meta: Sealer | None = None
        if keys is not None:
            algorithm = Algorithm(header.encryption)
            self._frames = Sealer(keys.frame_key, algorithm, header.binding)
            self._meta = Sealer(keys.meta_key, algorithm, header.binding)

    def seal_frame(self, frame: _Buffer, offset: int, scratch: Scratch) -> _Buffer:
        """A data frame as it stands at ``offset`` of the file, in ``scratch``."""
        if self._frames is None:
            return frame
        stored = scratch.of(len(frame) + FRAME_OVERHEAD)
        stored[:_FRAME_HEAD] = SKIPPABLE_HEAD.pack(SKIPPABLE_MAGIC, len(stored) - SKIPPABLE_HEAD.size) + TAG_DATA
        self._frames.seal_into(frame, Place(SealedKind.DATA, offset), stored[_FRAME_HEAD:])
        return stored

    def open_frame(self, stored: memoryview, offset: int, scratch: Scratch) -> memoryview:
        """The reverse. Raises DamagedError."""
        if self._frames is None:
            return stored
        length = len(stored) - SKIPPABLE_HEAD.size
        head = SKIPPABLE_HEAD.pack(SKIPPABLE_MAGIC, length) + TAG_DATA if length > 0 else b""
        if not head or stored[:_FRAME_HEAD] != head:
            raise DamagedError("An encrypted frame of the image is not where it should be.")
        frame = scratch.of(max(len(stored) - FRAME_OVERHEAD, 0))
        self._frames.open_into(stored[_FRAME_HEAD:], Place(SealedKind.DATA, offset), frame)
        return frame

    def seal_meta(self, payload: bytes, kind: SealedKind, offset: int, number: int = 0) -> bytes:
        """The payload of a segment or manifest in the skippable frame at ``offset``; its tag and its number stay readable."""
        if self._meta is None:
            return payload
        return payload[:8] + number.to_bytes(4, "little") + self._meta.seal(payload, Place(kind, offset, number))

    def open_meta(self, payload: bytes, kind: SealedKind, offset: int) -> bytes:
        """The reverse. Raises DamagedError."""
        if self._meta is None:
            return payload
        number = int.from_bytes(payload[8:12], "little")
        plain = bytes(self._meta.open(memoryview(payload)[12:], Place(kind, offset, number)))
        if plain[:8] != payload[:8]:
            raise DamagedError("The mark of an encrypted part of the image is damaged.")
        return plain
