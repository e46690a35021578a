"""An image file whose end or index is damaged or cut off, opened with all that can still be had of it.

What there is twice (docs/image-format.md): segments are listed in the manifest, and each leads to the one before it; what a
segment of a plain full image says of its frames, these say themselves (their size, their checksum, their order).
"""

from __future__ import annotations

import datetime
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from blake3 import blake3

from rescue.errors import DamagedError, FormatError, RescueError, SourceReadError, UnsupportedError
from rescue.filesystems.lenient import LenientSource
from rescue.images.begun import whole_segments
from rescue.images.cipher import digest_of
from rescue.images.crypto import ImageKeys, SealedKind
from rescue.images.format import (
    HEADER_SIZE,
    MAX_FILES,
    MAX_FRAME,
    SKIPPABLE_HEAD,
    TAG_MANIFEST,
    TAG_TRAILER,
    TRAILER_SIZE,
    Header,
    Kind,
    Row,
    RowKind,
    Trailer,
)
from rescue.images.keyslots import KEY_AREA_SIZE
from rescue.images.manifest import Manifest, Statistics
from rescue.images.reader import MAX_STORED_MANIFEST, UNKNOWN_SIZE, ImageFile, ImageReader
from rescue.images.rekey import read_key_area
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.segment import SegmentEntry, pack_row, rows_of, tally
from rescue.images.unindexed import unindexed_rows
from rescue.model.disk import Disk
from rescue.model.extents import ExtentMap
from rescue.model.layout import Layout
from rescue.model.text import shown
from rescue.records import replace
from rescue.system.blockfile import FileSource
from rescue.system.joined import JoinedSource, open_source
from rescue.units import MIB, human_size

_WINDOW: Final = 4 * MIB
# The end of an image is its manifest, its trailer and 12 bytes for each frame: they are looked for no farther than this.
_END: Final = 128 * MIB
_BROKEN: Final = (DamagedError, FormatError, SourceReadError)


class OpenEnded(ImageFile):
    """An image file of which only the header is asked for: another one of a chain whose end is damaged or cut off.

    Its frames are found by the index of the image that needs them, and each chunk in them is proved by its hash.
    """

    def _opened(self, path: str | Path) -> FileSource | JoinedSource:
        return open_source(path, gaps=True)

    def _open(self) -> None:
        self.header = self._read_header()
        self.trailer = Trailer(self.header.uuid, 0, 0, bytes(32))
        self.seek_table_offset = self.source.size


class MendedReader(ImageReader):
    """An ImageReader that goes on where one gives up. ``defects`` are sentences: what of the file is damaged.

    ``described`` is False when the manifest is lost: partitions and volumes are then not known, nor the files of the chain.
    """

    def __init__(self, path: str | Path, secrets: Secrets = NO_SECRETS, keys: ImageKeys | None = None) -> None:
        """Raises as ImageReader what cannot be helped: no image, a damaged header, a damaged key area, a wrong passphrase."""
        self.defects: list[str] = []
        self.described = True
        self._mended: dict[int, bytes] = {}
        self._whole_end = False
        super().__init__(path, secrets, keys)
        try:
            self._look_at_index()
        except BaseException:
            self.close()
            raise

    def _opened(self, path: str | Path) -> FileSource | JoinedSource:
        return open_source(path, gaps=True)

    def _open(self) -> None:
        self._say_what_is_missing()
        try:
            super()._open()
            self._whole_end = True
            return
        except UnsupportedError:
            raise
        except _BROKEN as error:
            self.header = self._read_header()
            why = error
        if self.header.encryption and self.keys is None:
            self.keys = read_key_area(self.source).open(self._secrets)
        self._find_end(why)
        others = len(self.manifest.chain) if self.described else MAX_FILES - 1
        self._limits = [self.source.size] + [UNKNOWN_SIZE] * others

    def _read_header(self) -> Header:
        try:
            return super()._read_header()
        except UnsupportedError:
            raise
        except (DamagedError, FormatError):
            header = self._header_from_end()
            if header is None:
                raise
            told = "Its header is damaged; what it says was found in its description."
            self.defects += [] if told in self.defects else [told]
            return header

    def _header_from_end(self) -> Header | None:
        """What the header must have said, by the manifest of an image that is not encrypted; with the largest frames allowed."""
        for offset in self._marks(TAG_TRAILER):
            try:
                trailer = Trailer.unpack(self._read_skippable(offset, TRAILER_SIZE, TRAILER_SIZE))
                payload = self._read_skippable(trailer.manifest_offset, trailer.manifest_length, MAX_STORED_MANIFEST)
                if blake3(payload).digest() != trailer.manifest_hash:
                    continue
                manifest = Manifest.read(payload)
                disk = manifest.disk
                created = datetime.datetime.fromisoformat(manifest.created).timestamp()
                header = Header(
                    trailer.uuid, disk.size, int(created), MAX_FRAME, MAX_FRAME, disk.logical_sector_size,
                    disk.physical_sector_size, Kind[manifest.kind.upper()], 0,
                    bytes.fromhex(manifest.chain[0].fingerprint) if manifest.chain else bytes(32),
                )  # fmt: skip
                return Header.unpack(header.pack())
            except (*_BROKEN, KeyError, ValueError, OverflowError, struct.error):
                continue
        return None

    def segment_table(self, number: int) -> bytes:
        """See ImageReader; of a segment that is damaged what its frames tell. Raises SourceReadError for nothing."""
        if number in self._mended:
            return self._mended[number]
        try:
            return super().segment_table(number)
        except _BROKEN:
            table = self._mended[number] = self._without_segment(number)
            return table

    def _say_what_is_missing(self) -> None:
        try:
            open_source(self.path).close()
        except RescueError as error:
            self.defects.append(error.message)

    def _look_at_index(self) -> None:
        """Read all of the index once, so that what is damaged in it is known before anything is decided."""
        lost = 0
        for number, entry in enumerate(self.manifest.segments):
            table = self.segment_table(number)
            if number in self._mended:
                missing = sum(row.length for row in rows_of(table, entry.start) if row.kind == RowKind.BAD)
                lost += missing
                self.defects.append(self._told(number, entry, missing))
        if not self.described:
            counts = [tally(self.segment_table(number)) for number in range(len(self.manifest.segments))]
            data = sum(count.kinds[RowKind.DATA] for count in counts)
            statistics = Statistics(
                used_bytes=data,
                data_bytes=data,
                zero_bytes=sum(count.kinds[RowKind.ZERO] for count in counts),
                hole_bytes=sum(count.kinds[RowKind.HOLE] for count in counts),
                own_bytes=sum(count.files[0] for count in counts),
                chunks=sum(count.chunks for count in counts),
            )
            self.manifest = replace(self.manifest, statistics=statistics)

    def _told(self, number: int, entry: SegmentEntry, missing: int) -> str:
        where = f"bytes {entry.start} to {entry.end} of the disk"
        what = f"Part {number} of its index ({where}) is {'damaged' if entry.length else 'missing'}"
        if not missing:
            return f"{what}; all data there were found and proved by their own checksums."
        return f"{what}: {human_size(missing)} there are lost."

    def _find_end(self, why: RescueError) -> None:
        trailer = self._find_trailer()
        manifest = None
        if trailer is not None:
            self.trailer = trailer
            try:
                manifest = self._read_manifest()
            except _BROKEN:
                manifest = None
        else:
            manifest = self._find_manifest()
        self.seek_table_offset = self.source.size
        if manifest is not None:
            self.manifest = manifest
            self.defects.append("Its end is damaged or cut off; its description and the list of its index were found.")
            return
        self.described = False
        if trailer is None:
            self.trailer = Trailer(self.header.uuid, 0, 0, bytes(32))
        self.defects.append(f"Its end is cut off, or its description is damaged ({shown(why.message)})")
        self.manifest = self._made_manifest()

    def _find_trailer(self) -> Trailer | None:
        for offset in self._marks(TAG_TRAILER):
            try:
                trailer = Trailer.unpack(self._read_skippable(offset, TRAILER_SIZE, TRAILER_SIZE))
            except _BROKEN:
                continue
            if trailer.uuid == self.header.uuid:
                return trailer
        return None

    def _find_manifest(self) -> Manifest | None:
        for offset in self._marks(TAG_MANIFEST):
            try:
                _, length = SKIPPABLE_HEAD.unpack(self.source.pread(SKIPPABLE_HEAD.size, offset))
                payload = self._read_skippable(offset, length, MAX_STORED_MANIFEST)
                plain = self.cipher.open_meta(payload, SealedKind.MANIFEST, offset)
                manifest = Manifest.unpack(plain, self.header)
            except _BROKEN:
                continue
            self.trailer = Trailer(self.header.uuid, offset, length, blake3(payload).digest())
            return manifest
        return None

    def _marks(self, tag: bytes) -> Iterator[int]:
        """Where frames with this tag may start near the end of the file, the last first."""
        floor = max(self.source.size - _END, 0)
        overlap = SKIPPABLE_HEAD.size + len(tag) - 1
        for start in range((self.source.size - 1) // _WINDOW * _WINDOW, -1, -_WINDOW):
            if start + _WINDOW <= floor:
                return
            try:
                window = self.source.pread(min(_WINDOW + overlap, self.source.size - start), start)
            except SourceReadError:
                continue
            found = window.rfind(tag)
            while found >= 0:
                if start + found >= SKIPPABLE_HEAD.size:
                    yield start + found - SKIPPABLE_HEAD.size
                found = window.rfind(tag, 0, found + len(tag) - 1)

    def _made_manifest(self) -> Manifest:
        """What a manifest would say, as far as the header and the segments tell. Partitions are to be found in the data."""
        header = self.header
        disk = Disk(
            "",
            header.disk_size,
            logical_sector_size=header.logical_sector_size,
            physical_sector_size=header.physical_sector_size,
            is_file=True,
        )
        return Manifest(
            format=1, tool="", uuid=header.uuid_text, kind=header.kind.word,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(header.created, 1 << 36))),
            comment="", host="", disk=disk, layout=Layout(header.disk_size, header.logical_sector_size, "none"),
            volumes=(), tables=(), segments=tuple(self._covering()), statistics=Statistics(),
        )  # fmt: skip

    def _covering(self) -> Iterator[SegmentEntry]:
        """The segments that are whole, and between and behind them what is known of none: entries without an offset."""
        position = 0
        for entry in whole_segments(LenientSource(self.source, ExtentMap()), self.header, self.cipher):
            if entry.start > position:
                yield SegmentEntry(0, 0, position, entry.start, 1, "")
            yield entry
            position = entry.end
        if position < self.header.disk_size:
            yield SegmentEntry(0, 0, position, self.header.disk_size, 1, "")

    def _without_segment(self, number: int) -> bytes:
        """Rows for a stretch whose segment is damaged or missing."""
        entry = self.manifest.segments[number]
        if not self.header.is_plain:
            # What is where on the disk stands in the segment alone.
            return pack_row(Row(RowKind.BAD, entry.start, entry.end - entry.start))
        before = self.manifest.segments[number - 1] if number else None
        at = self._preamble if before is None else before.offset + SKIPPABLE_HEAD.size + before.length
        known = self._known_frames() if self._whole_end else None
        rows = unindexed_rows(
            self.source,
            self.header,
            digest_of(self.keys),
            at,
            (entry.start, entry.end),
            anchor=self._end_of_frames(number),
            known=known,
        )
        return b"".join(map(pack_row, rows))

    def _end_of_frames(self, number: int) -> int:
        """Where in the file the frames of a stretch end; 0 when that is not known."""
        return self.manifest.segments[number].offset

    @property
    def _preamble(self) -> int:
        head = SKIPPABLE_HEAD.size + HEADER_SIZE
        return head + SKIPPABLE_HEAD.size + KEY_AREA_SIZE if self.header.encryption else head

    def _known_frames(self) -> dict[int, tuple[int, int]] | None:
        """By their offsets, bytes in the file and of content of all frames, if the seek table is whole."""
        try:
            entries = self.seek_entries()
        except _BROKEN:
            return None
        frames = {}
        offset = 0
        for entry in entries:
            frames[offset] = (entry.stored, entry.content)
            offset += entry.stored
        return frames if offset == self.seek_table_offset else None
