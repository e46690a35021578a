"""The keys of an encrypted image, and how its frames are sealed (docs/image-format.md, section 10)."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from rescue.errors import DamagedError
from rescue.records import Concealed

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
SEAL_OVERHEAD: Final = NONCE_SIZE + TAG_SIZE
KEYS_SIZE: Final = 3 * KEY_SIZE
BINDING_SIZE: Final = 32

_DOMAIN: Final = b"RSCUSEAL"
_SALVAGE_CONTEXT: Final = "rescue 2026-11-23 17:00:00 what was salvaged of a failing disk"
_Buffer: TypeAlias = bytes | bytearray | memoryview


class Algorithm(IntEnum):
    """Header byte 13 of an encrypted image."""

    AES_256_GCM = 1
    CHACHA20_POLY1305 = 2


class SealedKind(IntEnum):
    """What a sealed piece is. One cannot be passed off as another."""

    DATA = 1
    SEGMENT = 2
    MANIFEST = 3
    SALVAGED = 4


class Place(msgspec.Struct, frozen=True):
    """Where a sealed piece belongs: ``position`` is the offset of its frame in its image's file, ``number`` counts segments.

    Of what was salvaged ``position`` is the offset on the disk, and ``number`` counts records.
    """

    kind: SealedKind
    position: int
    number: int = 0


class ImageKeys(Concealed, frozen=True):
    """The secret of one image: three independent random keys. Does not show them when printed."""

    frame_key: bytes
    meta_key: bytes
    hash_key: bytes

    def __post_init__(self) -> None:
        """Raise ValueError unless each key has 32 bytes."""
        if not len(self.frame_key) == len(self.meta_key) == len(self.hash_key) == KEY_SIZE:
            raise ValueError("a key of an image has 32 bytes")

    @staticmethod
    def new(random: Callable[[int], bytes] = os.urandom) -> ImageKeys:
        """Fresh keys for an image without a parent."""
        return ImageKeys(random(KEY_SIZE), random(KEY_SIZE), random(KEY_SIZE))

    @staticmethod
    def child(parent: ImageKeys, random: Callable[[int], bytes] = os.urandom) -> ImageKeys:
        """Fresh keys for an image of ``parent``'s chain. The hash key is the same, or chunks could not be compared."""
        return ImageKeys(random(KEY_SIZE), random(KEY_SIZE), parent.hash_key)

    def to_bytes(self) -> bytes:
        """96 bytes, for key slots only."""
        return self.frame_key + self.meta_key + self.hash_key

    @staticmethod
    def from_bytes(data: bytes) -> ImageKeys:
        """The inverse of :meth:`to_bytes`. Raises ValueError for another length."""
        if len(data) != KEYS_SIZE:
            raise ValueError("the keys of an image have 96 bytes")
        return ImageKeys(data[:KEY_SIZE], data[KEY_SIZE : 2 * KEY_SIZE], data[2 * KEY_SIZE :])


class Sealer:
    """Seals and opens the pieces of one image with one key. Threads may share it; sealing runs outside of the interpreter's lock.

    ``key`` is the image's frame key for DATA, its meta key for SEGMENT and MANIFEST. ``binding`` is the hash in the header
    (bytes 96 to 127 of its payload), which stands for all of the header.
    """

    def __init__(self, key: bytes, algorithm: Algorithm, binding: bytes) -> None:
        if len(key) != KEY_SIZE or len(binding) != BINDING_SIZE:
            raise ValueError("a sealer needs 32 bytes of key and of binding")
        self._aead = AESGCM(key) if algorithm is Algorithm.AES_256_GCM else ChaCha20Poly1305(key)
        self._binding = binding

    def __repr__(self) -> str:
        return "Sealer(…)"

    def seal(self, plain: _Buffer, place: Place) -> bytearray:
        """Nonce, ciphertext and tag: SEAL_OVERHEAD bytes more than ``plain``."""
        sealed = bytearray(len(plain) + SEAL_OVERHEAD)
        self.seal_into(plain, place, memoryview(sealed))
        return sealed

    def seal_into(self, plain: _Buffer, place: Place, sealed: memoryview) -> None:
        """The same into memory of exactly that size. Raises ValueError for another."""
        # Random, because an unfinished image may be continued: nobody knows for certain which counters a dead process used.
        nonce = os.urandom(NONCE_SIZE)
        sealed[:NONCE_SIZE] = nonce
        self._aead.encrypt_into(nonce, plain, self._associated(place), sealed[NONCE_SIZE:])

    def open(self, sealed: _Buffer, place: Place) -> bytearray:
        """The plain bytes. Raises DamagedError when a bit differs, or when this was sealed for another image or place."""
        plain = bytearray(max(len(sealed) - SEAL_OVERHEAD, 0))
        self.open_into(sealed, place, memoryview(plain))
        return plain

    def open_into(self, sealed: _Buffer, place: Place, plain: memoryview) -> None:
        """The same into memory of exactly that size, which holds anything after an error. Raises ValueError for another."""
        view = memoryview(sealed)
        if len(view) < SEAL_OVERHEAD:
            raise DamagedError("An encrypted part of the image is cut off.")
        try:
            self._aead.decrypt_into(view[:NONCE_SIZE], view[NONCE_SIZE:], self._associated(place), plain)
        except InvalidTag as error:
            raise DamagedError("An encrypted part of the image is damaged, or was put there from elsewhere.") from error

    def _associated(self, place: Place) -> bytes:
        kind, position, number = place.kind.to_bytes(4, "little"), place.position.to_bytes(8, "little"), place.number
        return _DOMAIN + self._binding + kind + number.to_bytes(4, "little") + position


def salvage_sealer(keys: ImageKeys, salt: bytes) -> Sealer:
    """Seals what was read of a failing disk and is in no image yet. ``salt``: 32 random bytes, of one file only.

    The key comes from the hash key, which the images of a chain have in common: it opens the file from each of them. Not the
    hash key itself, and another one for each file, so that records of one never fit into another.
    """
    key = blake3(keys.hash_key + salt, derive_key_context=_SALVAGE_CONTEXT).digest()
    # The image's own algorithm is chosen for the machine that makes it, and the next image may be made on another one.
    return Sealer(key, Algorithm.CHACHA20_POLY1305, salt)


def best_algorithm(cpu_flags: frozenset[str]) -> Algorithm:
    """The faster algorithm on a processor with these features (docs/benchmarks-encryption.md)."""
    has_aes = cpu_flags >= {"aes", "pclmulqdq"}
    return Algorithm.AES_256_GCM if has_aes else Algorithm.CHACHA20_POLY1305


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The features of this machine's processor, as Linux names them; none where it does not tell."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())
