"""The bytes of an image file (docs/image-format.md): frames, header, segments, rows, trailer, seek table."""

from __future__ import annotations

import struct
import uuid as uuid_module
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from threading import Lock
from typing import Final, NamedTuple

import msgspec
import xxhash
import zstandard
from blake3 import blake3

from rescue.errors import DamagedError, FormatError, UnsupportedError
from rescue.units import GIB, KIB, MIB, TIB

VERSION: Final = 1
SKIPPABLE_MAGIC: Final = 0x184D2A5B
SEEK_MAGIC: Final = 0x184D2A5E
SEEK_FOOTER_MAGIC: Final = 0x8F92EAB1
SKIPPABLE_HEAD: Final = struct.Struct("<II")
TAG_HEADER: Final = b"RSCUHEAD"
TAG_SEGMENT: Final = b"RSCUSEGM"
TAG_MANIFEST: Final = b"RSCUMANI"
TAG_TRAILER: Final = b"RSCUTAIL"
TAG_DATA: Final = b"RSCUDATA"  # of a sealed data frame

MAX_FRAME: Final = 16 * MIB  # a power of two: readers keep some dozens of them
MAX_ZERO_FRAME: Final = 1 * GIB
MAX_ROWS: Final = 1 << 20
MAX_MANIFEST: Final = 64 * MIB
HASH_SIZE: Final = 32
MAX_ENCRYPTION: Final = 2
MAX_FILES: Final = 1 << 16  # that one index can point into
_CLEAR: Final = 1  # flag in the header

_HEADER = struct.Struct("<8sHHBBHIIIIQQ16s32s32s")
_TRAILER = struct.Struct("<8sQ16sQQ32s32s")
_SEEK_ENTRY = struct.Struct("<III")
_SEEK_CHECKSUMS: Final = 0x80
_SEEK_FOOTER = struct.Struct("<IBI")
HEADER_SIZE: Final = _HEADER.size
TRAILER_SIZE: Final = _TRAILER.size
SEEK_FOOTER_SIZE: Final = _SEEK_FOOTER.size
_NO_HASH = bytes(HASH_SIZE)


class RowKind(IntEnum):
    """What is known about a stretch of the disk (section 5)."""

    HOLE = 0
    ZERO = 1
    DATA = 2
    BAD = 3  # belongs to something, but the source could not give it


class Kind(IntEnum):
    """What an image is (section 2)."""

    FULL = 0
    INCREMENTAL = 1
    DIFFERENTIAL = 2

    @property
    def word(self) -> str:
        """As the manifest and people have it."""
        return self.name.lower()


class Row(NamedTuple):
    """One row of the index. ``start`` is where its bytes stand on the disk (implied by the rows before it)."""

    kind: int
    start: int
    length: int
    file: int = 0
    in_frame: int = 0
    frame_offset: int = 0
    frame_length: int = 0
    frame_content: int = 0
    hash: bytes = _NO_HASH

    @property
    def end(self) -> int:
        """End on the disk."""
        return self.start + self.length


class Header(msgspec.Struct, frozen=True):
    """Section 2."""

    uuid: bytes
    disk_size: int
    created: int
    chunk_size: int
    frame_limit: int
    logical_sector_size: int = 512
    physical_sector_size: int = 512
    kind: Kind = Kind.FULL
    encryption: int = 0
    parent: bytes = _NO_HASH  # fingerprint of the image that one that is not full is made upon
    clear: bool = False  # some of what is encrypted on the disk is clear in the image (section 12)

    def pack(self) -> bytes:
        """The payload."""
        body = _HEADER.pack(
            TAG_HEADER, VERSION, HEADER_SIZE, self.kind, self.encryption, _CLEAR if self.clear else 0, self.chunk_size,
            self.logical_sector_size, self.physical_sector_size, self.frame_limit, self.disk_size, self.created, self.uuid,
            self.parent, bytes(32),
        )  # fmt: skip
        return body[:-HASH_SIZE] + blake3(body[:-HASH_SIZE]).digest()

    @staticmethod
    def unpack(payload: bytes) -> Header:
        """Raises UnsupportedError for a version, kind or flag that is not known, DamagedError when the hash differs."""
        if len(payload) < 12 or payload[:8] != TAG_HEADER:
            raise FormatError("This is not an image of this program.")
        version = int.from_bytes(payload[8:10], "little")
        if version != VERSION:
            raise UnsupportedError(
                f"The image has format version {version}; this program knows version {VERSION}.",
                "Use a newer version of this program.",
            )
        if len(payload) != HEADER_SIZE or blake3(payload[:-HASH_SIZE]).digest() != payload[-HASH_SIZE:]:
            raise DamagedError("The image's header is damaged.")
        _, _, _, kind, encryption, flags, chunk, logical, physical, limit, size, created, uuid, parent, _ = _HEADER.unpack(
            payload
        )
        if kind > Kind.DIFFERENTIAL or encryption > MAX_ENCRYPTION or flags & ~_CLEAR or (flags and not encryption):
            raise UnsupportedError(
                "The image is of a kind that this version does not know.", "Use a newer version of this program."
            )
        good_chunk = 64 * KIB <= chunk <= 16 * MIB and chunk & (chunk - 1) == 0
        if not good_chunk or logical not in (512, 4096) or not chunk <= limit <= MAX_FRAME or not 0 < size < 1 << 62:
            raise FormatError("The image's header holds impossible numbers.")
        return Header(uuid, size, created, chunk, limit, logical, physical, Kind(kind), encryption, parent, bool(flags))

    @property
    def binding(self) -> bytes:
        """The hash that stands for all of the header: what sealed pieces are bound to (section 10)."""
        return self.pack()[-HASH_SIZE:]

    @property
    def is_plain(self) -> bool:
        """Whether a stock decoder makes the disk of the file."""
        return self.kind is Kind.FULL and not self.encryption

    @property
    def uuid_text(self) -> str:
        """The image UUID as text."""
        return str(uuid_module.UUID(bytes=self.uuid))


def chunk_size_for(disk_size: int) -> int:
    """The chunk size for a disk: 256 KiB up to 2 TiB, doubled with each doubling of the disk, at most 8 MiB (section 9)."""
    chunk = 256 * KIB
    limit = 2 * TIB
    while disk_size > limit and chunk < 8 * MIB:
        chunk *= 2
        limit *= 2
    return chunk


def skippable(payload: bytes) -> bytes:
    """A skippable frame around a payload."""
    return SKIPPABLE_HEAD.pack(SKIPPABLE_MAGIC, len(payload)) + payload


@lru_cache(maxsize=4)
def zero_frame(length: int) -> bytes:
    """The zero frame of ``length`` bytes of content, 1 to MAX_ZERO_FRAME (section 4)."""
    if not 0 < length <= MAX_ZERO_FRAME:
        raise ValueError(f"a zero frame cannot hold {length} bytes")
    block = 128 * KIB
    full = (length - 1) // block
    last = length - full * block
    return b"".join((
        b"\x28\xb5\x2f\xfd\x80\x38", length.to_bytes(4, "little"),
        ((block << 3) | 2).to_bytes(3, "little").ljust(4, b"\x00") * full,
        ((last << 3) | 3).to_bytes(3, "little"), b"\x00",
    ))  # fmt: skip


def decompress_exactly(frame: bytes, length: int) -> bytes:
    """Decompress a frame whose content must be ``length`` bytes. Raises DamagedError; never makes more than ``length`` bytes."""
    try:
        if zstandard.frame_content_size(frame) != length:
            raise DamagedError("A compressed part of the image has another size than its index says.")
        return zstandard.ZstdDecompressor(max_window_size=MAX_FRAME).decompress(frame)
    except zstandard.ZstdError as error:
        raise DamagedError("A compressed part of the image is damaged.") from error


class Trailer(msgspec.Struct, frozen=True):
    """Section 7."""

    uuid: bytes
    manifest_offset: int
    manifest_length: int
    manifest_hash: bytes

    def pack(self) -> bytes:
        """The payload."""
        body = _TRAILER.pack(
            TAG_TRAILER, VERSION, self.uuid, self.manifest_offset, self.manifest_length, self.manifest_hash, bytes(32)
        )
        return body[:-HASH_SIZE] + blake3(body[:-HASH_SIZE]).digest()

    @staticmethod
    def unpack(payload: bytes) -> Trailer:
        """Raises DamagedError."""
        if len(payload) != TRAILER_SIZE or payload[:8] != TAG_TRAILER:
            raise DamagedError("The image has no trailer: it is not complete.")
        if blake3(payload[:-HASH_SIZE]).digest() != payload[-HASH_SIZE:]:
            raise DamagedError("The image's trailer is damaged.")
        _, _, uuid, offset, length, digest, _ = _TRAILER.unpack(payload)
        return Trailer(uuid, offset, length, digest)


class SeekEntry(NamedTuple):
    """A frame as the seek table has it: bytes in the file, bytes and checksum of what a stock decoder makes of it."""

    stored: int
    content: int = 0
    checksum: int = 0x51D8E999  # of nothing, which is what skippable frames are to a decoder


_ZERO_STEP: Final = 8 * MIB


@lru_cache(maxsize=16)
def zero_checksum(length: int) -> int:
    """The checksum of ``length`` zeros: the low half of XXH64, as at the end of a frame and in the seek table."""
    hasher = _zeros_hashed(length // _ZERO_STEP).copy()
    piece = bytes(min(length % _ZERO_STEP, MIB))
    for _ in range(length % _ZERO_STEP // MIB):
        hasher.update(piece)
    hasher.update(piece[: length % MIB])
    return hasher.intdigest() & 0xFFFFFFFF


def _zeros_hashed(steps: int) -> xxhash.xxh64:
    """The state behind that many times ``_ZERO_STEP`` zeros: runs differ in length, and each begins as the others do."""
    with _zeros_lock:
        if len(_zeros) <= steps:
            piece = bytes(MIB)
            while len(_zeros) <= steps:
                hasher = _zeros[-1].copy()
                for _ in range(_ZERO_STEP // MIB):
                    hasher.update(piece)
                _zeros.append(hasher)
    return _zeros[steps]


_zeros = [xxhash.xxh64()]
_zeros_lock = Lock()


def pack_seek_table(entries: Iterable[SeekEntry]) -> bytes:
    """The seek table as a whole skippable frame (section 8)."""
    table = b"".join(_SEEK_ENTRY.pack(*entry) for entry in entries)
    footer = _SEEK_FOOTER.pack(len(table) // _SEEK_ENTRY.size, _SEEK_CHECKSUMS, SEEK_FOOTER_MAGIC)
    return SKIPPABLE_HEAD.pack(SEEK_MAGIC, len(table) + len(footer)) + table + footer


def seek_table_length(footer: bytes) -> int:
    """Bytes of the whole seek table frame, from its last nine bytes. Raises DamagedError when they are no footer."""
    count, descriptor, magic = _SEEK_FOOTER.unpack(footer)
    if magic != SEEK_FOOTER_MAGIC or descriptor != _SEEK_CHECKSUMS:
        raise DamagedError("The image's end is missing or damaged: it is not complete.")
    return SKIPPABLE_HEAD.size + int(count) * _SEEK_ENTRY.size + _SEEK_FOOTER.size


def unpack_seek_table(frame: bytes) -> Iterator[SeekEntry]:
    """The entries of a seek table frame. Raises DamagedError."""
    magic, length = SKIPPABLE_HEAD.unpack_from(frame)
    if magic != SEEK_MAGIC or length != len(frame) - SKIPPABLE_HEAD.size:
        raise DamagedError("The image's seek table is damaged.")
    return map(SeekEntry._make, _SEEK_ENTRY.iter_unpack(frame[SKIPPABLE_HEAD.size : -_SEEK_FOOTER.size]))
