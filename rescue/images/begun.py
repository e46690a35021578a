"""An image that was begun and not finished: what of it is whole, up to its last segment (docs/image-format.md, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from rescue.errors import DamagedError, FormatError
from rescue.images.cipher import Cipher
from rescue.images.crypto import ImageKeys, SealedKind
from rescue.images.format import HEADER_SIZE, SKIPPABLE_HEAD, SKIPPABLE_MAGIC, TAG_HEADER, TAG_SEGMENT, Header, Row
from rescue.images.rekey import read_key_area
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.segment import SegmentEntry, SegmentHead, read_head, unpack_segment
from rescue.model.source import Source
from rescue.units import MIB

_WINDOW: Final = 4 * MIB
_MAX_SEGMENT: Final = 128 * MIB


class Begun(msgspec.Struct, frozen=True):
    """The whole part of an unfinished image: its header, its key area and keys if it is encrypted, and its segments in order."""

    source: Source
    header: Header
    key_area: bytes
    keys: ImageKeys | None
    segments: tuple[SegmentEntry, ...]

    def rows(self, number: int) -> list[Row]:
        """The rows of one segment. Raises DamagedError, FormatError."""
        entry = self.segments[number]
        payload = _payload(self.source, entry.offset)
        if payload is None:
            raise DamagedError("The unfinished image has changed while it was read.")
        plain = Cipher(self.header, self.keys).open_meta(payload, SealedKind.SEGMENT, entry.offset)
        return list(unpack_segment(plain, self.header, number, entry))

    def checksum(self, end: int) -> int:
        """The last four bytes before ``end`` of the file: the checksum of the frame that ends there."""
        return int.from_bytes(self.source.pread(4, end - 4), "little")

    def up_to(self, count: int) -> Begun:
        """The same with its first ``count`` segments only."""
        return Begun(self.source, self.header, self.key_area, self.keys, self.segments[:count])

    @property
    def preamble(self) -> int:
        """Bytes of the file before its first data."""
        head = 2 * SKIPPABLE_HEAD.size + len(self.key_area) if self.key_area else SKIPPABLE_HEAD.size
        return head + HEADER_SIZE

    @property
    def length(self) -> int:
        """Bytes of the file that are kept; 0 when nothing is worth it."""
        if not self.segments:
            return 0
        last = self.segments[-1]
        return last.offset + SKIPPABLE_HEAD.size + last.length

    @property
    def disk_position(self) -> int:
        """The disk is described up to here."""
        return self.segments[-1].end if self.segments else 0


def read_header(source: Source) -> Header | None:
    """The header of an image that is finished or not; None when it is none or damaged."""
    head = source.pread(min(source.size, SKIPPABLE_HEAD.size + HEADER_SIZE), 0)
    if len(head) < SKIPPABLE_HEAD.size + HEADER_SIZE or head[8:16] != TAG_HEADER:
        return None
    try:
        return Header.unpack(head[SKIPPABLE_HEAD.size :])
    except (DamagedError, FormatError):
        return None


def whole_segments(source: Source, header: Header, cipher: Cipher) -> tuple[SegmentEntry, ...]:
    """All segments of an image that are whole, in order, though others before, between and behind them may be damaged.

    Reads the file from its end, as far as no segment leads to the one before it. Raises SourceReadError.
    """
    found: list[SegmentEntry] = []
    following: SegmentHead | None = None
    budget = source.size + _MAX_SEGMENT
    candidates = _candidates(source)
    while (offset := next(candidates, None)) is not None:
        budget -= _declared_length(source, offset)
        if budget < 0:
            break
        while offset and (segment := _segment(source, header, cipher, offset)) is not None:
            head, entry = segment
            if following is not None and not (head.number < following.number and head.end <= following.start):
                break
            found.append(entry)
            following = head
            if head.number == 0:
                return tuple(reversed(found))
            candidates = _candidates(source, offset)
            offset = head.previous if head.previous < offset else 0
    return tuple(reversed(found))


def read_begun(source: Source, secrets: Secrets = NO_SECRETS) -> Begun | None:
    """What can be continued of an unfinished image; None when there is nothing.

    Raises CredentialError when it is encrypted and ``secrets`` do not open it, SourceReadError.
    """
    header = read_header(source)
    if header is None:
        return None
    keys: ImageKeys | None = None
    key_area = b""
    if header.encryption:
        try:
            area = read_key_area(source)
            keys, key_area = area.open(secrets), area.pack()
        except (DamagedError, FormatError):
            return None
    cipher = Cipher(header, keys)
    # What only looks like segments cannot be larger than the file all together, unless somebody made it so.
    budget = source.size + _MAX_SEGMENT
    dead: set[int] = set()
    for offset in _candidates(source):
        segments = _trace(source, header, cipher, offset, dead)
        if segments:
            return Begun(source, header, key_area, keys, segments)
        budget -= _declared_length(source, offset)
        if budget < 0:
            return None
    return None


def _declared_length(source: Source, offset: int) -> int:
    """What looking at a candidate costs, in bytes."""
    head = source.pread(SKIPPABLE_HEAD.size, offset)
    return SKIPPABLE_HEAD.size + min(int(SKIPPABLE_HEAD.unpack(head)[1]), source.size - offset)


def _candidates(source: Source, limit: int = 0) -> Iterator[int]:
    """Where frames of segments may start, the last first. What looks like one may be data of the disk.

    With ``limit`` only those that start before that offset.
    """
    overlap = SKIPPABLE_HEAD.size + len(TAG_SEGMENT) - 1
    size = min(limit + overlap, source.size) if limit else source.size
    for start in range((size - 1) // _WINDOW * _WINDOW, -1, -_WINDOW):
        window = source.pread(min(_WINDOW + overlap, size - start), start)
        found = window.rfind(TAG_SEGMENT)
        while found >= SKIPPABLE_HEAD.size:
            yield start + found - SKIPPABLE_HEAD.size
            found = window.rfind(TAG_SEGMENT, 0, found + len(TAG_SEGMENT) - 1)


def _trace(source: Source, header: Header, cipher: Cipher, offset: int, dead: set[int]) -> tuple[SegmentEntry, ...]:
    """The segments from the first up to that at ``offset``, if all of them are whole; else none.

    ``dead`` are the offsets from which no way leads to the first one: none is gone twice.
    """
    found: list[SegmentEntry] = []
    following: SegmentHead | None = None
    while offset not in dead:
        dead.add(offset)
        head, entry = _segment(source, header, cipher, offset) or (None, None)
        if head is None or entry is None:
            return ()
        if following is not None and (head.number + 1, head.end) != (following.number, following.start):
            return ()
        found.append(entry)
        if head.number == 0:
            return tuple(reversed(found)) if head.start == 0 else ()
        if not 0 < head.previous < offset:
            return ()
        following, offset = head, head.previous
    return ()


def _segment(source: Source, header: Header, cipher: Cipher, offset: int) -> tuple[SegmentHead, SegmentEntry] | None:
    payload = _payload(source, offset)
    if payload is None:
        return None
    try:
        plain = cipher.open_meta(payload, SealedKind.SEGMENT, offset)
    except DamagedError:
        return None
    head = read_head(plain, header)
    if head is None or head.end > header.disk_size:
        return None
    return head, SegmentEntry(offset, len(payload), head.start, head.end, head.rows, plain[-32:].hex())


def _payload(source: Source, offset: int) -> bytes | None:
    """The payload of the skippable frame at ``offset``; None when there is none, or it is not whole."""
    if offset + SKIPPABLE_HEAD.size > source.size:
        return None
    magic, length = SKIPPABLE_HEAD.unpack(source.pread(SKIPPABLE_HEAD.size, offset))
    whole = offset + SKIPPABLE_HEAD.size + length <= source.size
    if magic != SKIPPABLE_MAGIC or not len(TAG_SEGMENT) + 4 <= length <= _MAX_SEGMENT or not whole:
        return None
    return source.pread(length, offset + SKIPPABLE_HEAD.size)
