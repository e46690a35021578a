"""The manifest of an image (docs/image-format.md, section 6), and its bounds."""

from __future__ import annotations

import msgspec
import zstandard

from rescue.errors import DamagedError, FormatError
from rescue.images.clear import ClearContent, are_sane
from rescue.images.crypto import KEYS_SIZE
from rescue.images.format import MAX_FILES, MAX_MANIFEST, MAX_ROWS, TAG_MANIFEST, Header, Kind, decompress_exactly
from rescue.images.segment import SegmentEntry
from rescue.model import documents
from rescue.model.disk import Disk
from rescue.model.layout import Layout
from rescue.model.nested import MAX_DEPTH, depth, walk
from rescue.model.volume import Volume


class RawTable(msgspec.Struct, frozen=True):
    """Bytes of the disk that hold partition tables, as they were."""

    start: int
    data: bytes


class Statistics(msgspec.Struct, frozen=True):
    """What is in the image, in bytes and counts. ``stored_bytes`` are those of the data frames."""

    used_bytes: int = 0
    data_bytes: int = 0
    zero_bytes: int = 0
    hole_bytes: int = 0
    bad_bytes: int = 0
    own_bytes: int = 0  # of data_bytes, those in this file; the rest is in other files of the chain
    stored_bytes: int = 0
    chunks: int = 0
    frames: int = 0


class ChainMember(msgspec.Struct, frozen=True):
    """Another file of the chain. Rows say which one by its place in the list, from 1.

    ``data_bytes`` is how much of the disk is in it; 0 when no row points into it, so that it is not needed.
    ``name`` is what it was called; it is found by its UUID. ``keys`` opens it, in an encrypted image.
    """

    uuid: str
    fingerprint: str
    name: str
    kind: str
    created: str
    data_bytes: int
    keys: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """Everything about an image that is not in its rows."""

    format: int
    tool: str
    uuid: str
    kind: str
    created: str
    comment: str
    host: str
    disk: Disk
    layout: Layout
    volumes: tuple[Volume, ...]
    tables: tuple[RawTable, ...]
    segments: tuple[SegmentEntry, ...]
    statistics: Statistics
    chain: tuple[ChainMember, ...] = ()
    parent: str = ""  # UUID of the image that this one was made upon
    as_of: str = ""  # when the disk was read of which this is, where that was later than ``created``: it was gone on with
    made_from: str = ""  # UUID of the image that this full one was put together from, with its chain
    clear: tuple[ClearContent, ...] = ()  # what is encrypted on the disk and not in here; in encrypted images only

    def pack(self) -> bytes:
        """The payload."""
        text = documents.encode(self)
        frame = zstandard.ZstdCompressor(level=9, write_content_size=True).compress(text)
        return TAG_MANIFEST + len(text).to_bytes(4, "little") + frame

    @staticmethod
    def unpack(payload: bytes, header: Header) -> Manifest:
        """Raises DamagedError, FormatError."""
        manifest = Manifest.read(payload)
        _check(manifest, header)
        return manifest

    @staticmethod
    def read(payload: bytes) -> Manifest:
        """The same without holding it against the header: its numbers may be anything."""
        length = int.from_bytes(payload[8:12], "little")
        if payload[:8] != TAG_MANIFEST or not 0 < length <= MAX_MANIFEST:
            raise DamagedError("The image's manifest is damaged.")
        try:
            return documents.decode(decompress_exactly(payload[12:], length), type=Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"The image's manifest does not hold what it must: {error}.") from error


def _is_keys(text: str) -> bool:
    return len(text) == 2 * KEYS_SIZE and all(character in "0123456789abcdef" for character in text)


def _check(manifest: Manifest, header: Header) -> None:
    size = header.disk_size
    layout = manifest.layout
    ranges = [
        *((p.start, p.end) for p in layout.partitions),
        *((v.start, v.end) for v in manifest.volumes),
        *((e.start, e.end) for e in layout.table),
        *((t.start, t.start + len(t.data)) for t in manifest.tables),
    ]
    position = 0
    for segment in manifest.segments:
        if segment.start != position or segment.end <= position or not 0 < segment.rows <= MAX_ROWS:
            raise FormatError("The parts of the image's index do not follow each other.")
        position = segment.end
    if (
        manifest.format != 1
        or manifest.uuid != header.uuid_text
        or manifest.disk.size != size
        or layout.size != size
        or manifest.disk.logical_sector_size != header.logical_sector_size
        or layout.sector_size != header.logical_sector_size
        or position != size
        or any(not 0 <= start <= end <= size for start, end in ranges)
        or any(
            depth(v.inside) > MAX_DEPTH or any(n.size < 0 or n.used_bytes < 0 for n in walk(v.inside)) for v in manifest.volumes
        )
        or manifest.kind != header.kind.word
        or bool(manifest.chain) != (header.kind is not Kind.FULL)
        or len(manifest.chain) >= MAX_FILES
        or bool(manifest.clear) != header.clear
        or not are_sane(manifest.clear, size, header.chunk_size)
        or any(member.data_bytes < 0 for member in manifest.chain)
        or any((member.kind == Kind.FULL.word) != (member is manifest.chain[-1]) for member in manifest.chain)
        or any(member.keys and not _is_keys(member.keys) for member in manifest.chain)
        or len({manifest.uuid, *(member.uuid for member in manifest.chain)}) != len(manifest.chain) + 1
    ):
        raise FormatError("The image's manifest contradicts its header.")
