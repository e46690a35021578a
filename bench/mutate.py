"""Damage to image files that reaches behind their checksums: parts are changed, and every hash is made right again."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard
from blake3 import blake3

from rescue.images.format import SKIPPABLE_HEAD, TAG_MANIFEST, SeekEntry, Trailer, pack_seek_table, skippable
from rescue.images.reader import ImageReader
from rescue.images.segment import ROW_SIZE, pack_row

KINDS: Final = ("raw", "header", "frame", "segment", "rows", "manifest", "text", "trailer", "seek table")
_NUMBERS: Final = (
    *(0, 1, 2, 3, 7, 255, 511, 512, 4095, 4096, 65535, 65536, 2**20, 2**24, 2**26),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 1, 2**31, 2**62, 2**63, 2**70, -(2**63), 1.5, [], {}, [[]]),
    *("", "x", "\x1b[2J", "../../etc/passwd", "/", "..", "\0", "ü" * 300),
    *("full", "incremental", "differential", "gpt", "dos", "none"),
)
# Offset and size of the numbers in a row and in the heads of the payloads (docs/image-format.md).
_ROW_FIELDS: Final = ((0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (16, 8), (24, 4), (28, 4), (32, 32))
_HEADER_FIELDS: Final = ((0, 8), (8, 2), (10, 2), (12, 1), (13, 1), (14, 2), (16, 4), (20, 4), (24, 4), (28, 4), (32, 8), (40, 8),
                         (48, 16), (64, 32))  # fmt: skip
_SEGMENT_FIELDS: Final = ((0, 8), (8, 16), (24, 4), (28, 4), (32, 8), (40, 8), (48, 8))
_SEGMENT_HEAD: Final = 56
_HASH: Final = 32


@dataclass(slots=True)
class Parts:
    """An image of one segment, taken apart."""

    header: bytearray
    frames: bytearray  # what is between the header and the segment, as it is in the file
    places: tuple[tuple[int, int], ...]  # of the data frames in it
    head: bytearray  # of the segment
    rows: bytearray
    manifest: Any
    entries: list[SeekEntry]  # of the seek table, but for the last three
    segment_length: int  # of its payload
    text: Callable[[bytes], bytes] = field(default=lambda text: text)
    trailer_changes: dict[str, int] = field(default_factory=dict)
    seek_changes: Callable[[bytearray], None] = field(default=lambda table: None)

    @staticmethod
    def of(path: Path) -> Parts:
        """Take a good image apart. It must have one segment."""
        data = path.read_bytes()
        with ImageReader(path) as image:
            (entry,) = image.manifest.segments
            segment = image.read_segment(entry)
            rows = list(image.rows())
            head = SKIPPABLE_HEAD.size + len(image.header.pack())
            own = sorted({(row.frame_offset - head, row.frame_length) for row in rows if row.kind == 2 and not row.file})
            return Parts(
                bytearray(image.header.pack()), bytearray(data[head : entry.offset]), tuple(own),
                bytearray(segment[:_SEGMENT_HEAD]), bytearray(b"".join(map(pack_row, rows))),
                msgspec.json.decode(msgspec.json.encode(image.manifest)), image.seek_entries()[:-3], len(segment),
            )  # fmt: skip

    def copy(self) -> Parts:
        """One that may be changed."""
        return replace(
            self, header=bytearray(self.header), frames=bytearray(self.frames), head=bytearray(self.head),
            rows=bytearray(self.rows), manifest=msgspec.json.decode(msgspec.json.encode(self.manifest)),
            entries=list(self.entries), trailer_changes={},
        )  # fmt: skip

    def join(self) -> tuple[bytes, str]:
        """The file with all hashes right, and its fingerprint."""
        self.header[-_HASH:] = blake3(self.header[:-_HASH]).digest()
        body = skippable(bytes(self.header)) + self.frames
        segment = bytes(self.head) + zstandard.ZstdCompressor(level=1).compress(bytes(self.rows))
        segment += blake3(segment).digest()
        manifest = self.manifest
        entries = manifest.get("segments") if isinstance(manifest, dict) else None
        if isinstance(entries, list) and entries and isinstance(entries[0], dict) and "hash" in entries[0]:
            entries[0]["hash"] = segment[-_HASH:].hex()
            if entries[0].get("length") == self.segment_length:
                entries[0]["length"] = len(segment)
        body += skippable(segment)
        text = self.text(msgspec.json.encode(manifest))
        packed = TAG_MANIFEST + len(text).to_bytes(4, "little") + zstandard.ZstdCompressor(level=1).compress(text)
        digest = blake3(packed).digest()
        fields = {"uuid": bytes(self.header[48:64]), "manifest_offset": len(body), "manifest_length": len(packed)}
        trailer = Trailer(**{**fields, "manifest_hash": digest, **self.trailer_changes})  # type: ignore[arg-type]
        seek = [*self.entries, SeekEntry(len(segment) + 8), SeekEntry(len(packed) + 8), SeekEntry(120)]
        table = bytearray(pack_seek_table(seek))
        self.seek_changes(table)
        return body + skippable(packed) + skippable(trailer.pack()) + bytes(table), digest.hex()


def _number(chance: random.Random, data: bytearray, at: int, size: int) -> None:
    """Another number there: an extreme one, one that is nearly right, or any."""
    old = int.from_bytes(data[at : at + size], "little")
    new = chance.choice(
        (chance.choice(_NUMBERS), old + chance.choice((-4096, -512, -1, 1, 8, 4096)), old ^ 1 << chance.randrange(8 * size))
    )
    data[at : at + size] = (new % (1 << 8 * size)).to_bytes(size, "little")


def _change_rows(chance: random.Random, parts: Parts) -> None:
    rows, count = parts.rows, len(parts.rows) // ROW_SIZE
    one, two = (chance.randrange(count) * ROW_SIZE for _ in range(2))
    match chance.randrange(8):
        case 0:
            rows[one : one + ROW_SIZE], rows[two : two + ROW_SIZE] = rows[two : two + ROW_SIZE], rows[one : one + ROW_SIZE]
        case 1:
            rows[one:one] = rows[two : two + ROW_SIZE]
        case 2 if count > 1:
            del rows[one : one + ROW_SIZE]
        case 3:
            at, size = chance.choice(_ROW_FIELDS)
            rows[one + at : one + at + size] = rows[two + at : two + at + size]
        case _:
            at, size = chance.choice(_ROW_FIELDS)
            _number(chance, rows, one + at, size)
    count = len(rows) // ROW_SIZE
    parts.head[28:32] = count.to_bytes(4, "little")
    parts.manifest["segments"][0]["rows"] = count


def _change_value(chance: random.Random, place: Any) -> None:
    """Somewhere in a JSON value: another value, or a member more or less."""
    while isinstance(place, dict | list) and place:
        key: Any = chance.choice(sorted(place)) if isinstance(place, dict) else chance.randrange(len(place))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.9:
            place = inner
            continue
        match chance.randrange(6):
            case 0:
                del place[key]
            case 1 if isinstance(place, list):
                place.append(copy.deepcopy(inner))
            case 2 if isinstance(inner, int):
                place[key] = inner + chance.choice((-4096, -512, -1, 1, 512, 4096))
            case _:
                place[key] = copy.deepcopy(chance.choice(_VALUES))
        return


def mutate(chance: random.Random, good: Parts, kind: str) -> tuple[bytes, str]:
    """The file with something changed in a part of ``kind``, one of KINDS, and its fingerprint ("" where that is unknown)."""
    parts = good.copy()
    match kind:
        case "raw":
            return _raw(chance, bytearray(parts.join()[0])), ""
        case "header":
            _number(chance, parts.header, *chance.choice(_HEADER_FIELDS))
        case "frame":
            start, length = chance.choice(parts.places) if parts.places else (0, len(parts.frames))
            # Half of the changes are in the frame's head and in the heads of its first blocks.
            within = min(length, 32) if chance.random() < 0.5 else length
            for _ in range(chance.randint(1, 4)):
                if within:
                    _number(chance, parts.frames, start + chance.randrange(within), 1)
        case "segment":
            _number(chance, parts.head, *chance.choice(_SEGMENT_FIELDS))
            if chance.random() < 0.5:
                for name, at, size in (("rows", 28, 4), ("start", 32, 8), ("end", 40, 8)):
                    parts.manifest["segments"][0][name] = int.from_bytes(parts.head[at : at + size], "little")
        case "rows":
            for _ in range(chance.randint(1, 3)):
                _change_rows(chance, parts)
        case "manifest":
            for _ in range(chance.randint(1, 2)):
                _change_value(chance, parts.manifest)
        case "text":
            parts.text = lambda text: _raw(chance, bytearray(text))
        case "trailer":
            name = chance.choice(("manifest_offset", "manifest_length"))
            parts.trailer_changes = {name: min(chance.choice(_NUMBERS), 2**64 - 1)}
        case "seek table":
            parts.seek_changes = lambda table: _number(chance, table, chance.randrange(len(table) - 4), chance.choice((1, 4)))
        case _:
            raise ValueError(kind)
    return parts.join()


def _raw(chance: random.Random, data: bytearray) -> bytes:
    """One to three changes without regard to what they are in."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(max(len(data), 1))
        match chance.randrange(4):
            case 0 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + 8] = chance.choice((bytes(8), b"\xff" * 8, (1 << 40).to_bytes(8, "little")))
            case 2:
                del data[at : at + chance.randint(1, 4096)]
            case _:
                data[at:at] = chance.randbytes(chance.randint(1, 64))
    return bytes(data)
