"""Opens an image, checks what it says about itself, and gives its rows and frames. Every number is bounded before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from blake3 import blake3

from rescue.errors import CredentialError, DamagedError, FormatError, RescueError, SourceReadError, UsageError
from rescue.images.cipher import Cipher
from rescue.images.crypto import ImageKeys, SealedKind
from rescue.images.format import (
    HEADER_SIZE,
    SEEK_FOOTER_SIZE,
    SKIPPABLE_HEAD,
    SKIPPABLE_MAGIC,
    TAG_HEADER,
    TRAILER_SIZE,
    Header,
    Row,
    SeekEntry,
    Trailer,
    seek_table_length,
    unpack_seek_table,
)
from rescue.images.lost import read_damage
from rescue.images.manifest import Manifest
from rescue.images.proofs import read_proof
from rescue.images.rekey import read_key_area
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.images.segment import SegmentEntry, frames_are_within, rows_of, segment_table
from rescue.model.survey import ChainLink, ImageSummary
from rescue.system.blockfile import FileSource
from rescue.system.joined import JoinedSource, files_of, open_source

_MAX_SEGMENT = 128 << 20  # 2^20 rows of 64 bytes, and what an incompressible table adds
MAX_STORED_MANIFEST: Final = 96 << 20
UNKNOWN_SIZE: Final = 1 << 65  # more than any offset and length
_DAMAGED_HINT = "Use another image of this disk."
_INCOMPLETE = (
    "It was not finished, or its end was cut off. Use another image of this disk; or restore all that is whole with --salvage."
)


class ImageFile:
    """An open image file: its header, its keys and its trailer. A context manager."""

    def __init__(self, path: str | Path, secrets: Secrets = NO_SECRETS, keys: ImageKeys | None = None) -> None:
        """``secrets`` or its ``keys`` open an encrypted image.

        Raises UsageError (no such file), FormatError (no image), UnsupportedError, DamagedError, CredentialError.
        """
        self.path = str(path)
        self._secrets = secrets
        self.keys = keys
        _refuse_other_things(Path(path))
        self.source = self._opened(path)
        try:
            self._open()
        except SourceReadError:
            self.source.close()
            raise
        except RescueError as error:
            self.source.close()
            raise type(error)(f"{self.path}: {error.message}", error.hint) from error
        except BaseException:
            self.source.close()
            raise

    @cached_property
    def cipher(self) -> Cipher:
        """Opens the pieces of this file. Raises CredentialError when it is encrypted and has not been opened."""
        if self.header.encryption and self.keys is None:
            raise CredentialError(f"{self.path} is encrypted, and was not opened.")
        return Cipher(self.header, self.keys if self.header.encryption else None)

    def _opened(self, path: str | Path) -> FileSource | JoinedSource:
        return open_source(path)

    def _open(self) -> None:
        self.header = self._read_header()
        self.seek_table_offset, self.trailer = self._read_trailer()

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return Path(self.path).name

    @property
    def fingerprint(self) -> str:
        """BLAKE3 of the manifest, in hex."""
        return self.trailer.manifest_hash.hex()

    def seek_entries(self) -> list[SeekEntry]:
        """All frames before the seek table. Raises DamagedError."""
        length = self.source.size - self.seek_table_offset
        return list(unpack_seek_table(self.source.pread(length, self.seek_table_offset)))

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read_header(self) -> Header:
        head = self.source.pread(min(self.source.size, SKIPPABLE_HEAD.size + HEADER_SIZE), 0)
        if len(head) < SKIPPABLE_HEAD.size + 12 or head[8:16] != TAG_HEADER:
            raise FormatError(*_what_it_is(head))
        header = Header.unpack(head[SKIPPABLE_HEAD.size :])
        if SKIPPABLE_HEAD.unpack_from(head) != (SKIPPABLE_MAGIC, HEADER_SIZE):
            raise DamagedError("The image's header is damaged.", _DAMAGED_HINT)
        return header

    def _read_trailer(self) -> tuple[int, Trailer]:
        size = self.source.size
        trailer_frame = SKIPPABLE_HEAD.size + TRAILER_SIZE
        if size < SKIPPABLE_HEAD.size + HEADER_SIZE + trailer_frame + SEEK_FOOTER_SIZE:
            raise DamagedError("The image is not complete.", _INCOMPLETE)
        try:
            table = seek_table_length(self.source.pread(SEEK_FOOTER_SIZE, size - SEEK_FOOTER_SIZE))
            offset = size - table - trailer_frame
            if offset < SKIPPABLE_HEAD.size + HEADER_SIZE:
                raise DamagedError("The image's seek table is longer than the image.")
            trailer = Trailer.unpack(self._read_skippable(offset, TRAILER_SIZE, TRAILER_SIZE))
        except DamagedError as error:
            raise DamagedError(f"The image is not complete, or its end is damaged. ({error.message})", _INCOMPLETE) from error
        if trailer.uuid != self.header.uuid:
            raise DamagedError("The image's end belongs to another image.", _DAMAGED_HINT)
        return size - table, trailer

    def _read_skippable(self, offset: int, length: int, limit: int) -> bytes:
        if not 0 <= length <= limit or not 0 <= offset <= self.source.size - SKIPPABLE_HEAD.size - length:
            raise DamagedError("The image points outside of itself.", _DAMAGED_HINT)
        frame = self.source.pread(SKIPPABLE_HEAD.size + length, offset)
        if SKIPPABLE_HEAD.unpack_from(frame) != (SKIPPABLE_MAGIC, length):
            raise DamagedError("A frame of the image is not where it should be.", _DAMAGED_HINT)
        return frame[SKIPPABLE_HEAD.size :]


class ImageReader(ImageFile):
    """An open image file with its manifest, and on demand its rows, as they are in this file."""

    def _open(self) -> None:
        super()._open()
        if self.header.encryption and self.keys is None:
            self.keys = read_key_area(self.source).open(self._secrets)
        self.manifest = self._read_manifest()
        # How long the other files are is known to who opens them.
        self._limits = [self.source.size] + [UNKNOWN_SIZE] * len(self.manifest.chain)

    def segment_table(self, number: int) -> bytes:
        """The rows of one segment as they are stored, every number bounded. Raises DamagedError, FormatError, SourceReadError."""
        entry = self.manifest.segments[number]
        payload = self.cipher.open_meta(self.read_segment(entry), SealedKind.SEGMENT, entry.offset)
        table = segment_table(payload, self.header, number, entry)
        if not frames_are_within(table, self._limits):
            raise FormatError(f"{self.path}: part {number} of its index points outside of the file.")
        return table

    def segment_rows(self, number: int) -> Iterator[Row]:
        """The rows of one segment. Raises as :meth:`segment_table`."""
        return rows_of(self.segment_table(number), self.manifest.segments[number].start)

    def read_segment(self, entry: SegmentEntry) -> bytes:
        """The payload of a segment as it is in the file. Raises DamagedError, SourceReadError."""
        return self._read_skippable(entry.offset, entry.length, _MAX_SEGMENT)

    def rows(self) -> Iterator[Row]:
        """All rows, in disk order, one segment in memory at a time. Raises as :meth:`segment_rows`."""
        for number in range(len(self.manifest.segments)):
            yield from self.segment_rows(number)

    def summary(self) -> ImageSummary:
        """What a list shows of this image."""
        manifest = self.manifest
        return ImageSummary(
            path=self.path, name=self.name, stored_size=self.source.size, uuid=manifest.uuid, kind=manifest.kind,
            created=manifest.as_of or manifest.created, comment=manifest.comment, host=manifest.host, disk=manifest.disk,
            layout=manifest.layout, volumes=manifest.volumes, used_bytes=manifest.statistics.used_bytes,
            fingerprint=self.fingerprint, health=read_proof(self.path, self.fingerprint).words,
            encrypted=bool(self.header.encryption), clear=tuple(content.partition for content in manifest.clear),
            bad_bytes=manifest.statistics.bad_bytes,
            damage=read_damage(self.path, self.fingerprint) if manifest.statistics.bad_bytes else (),
            own_bytes=manifest.statistics.own_bytes, parent=manifest.parent, made_from=manifest.made_from,
            chain=tuple(ChainLink(m.uuid, m.fingerprint, m.name, m.data_bytes) for m in manifest.chain if m.data_bytes),
        )  # fmt: skip

    def _read_manifest(self) -> Manifest:
        trailer = self.trailer
        payload = self._read_skippable(trailer.manifest_offset, trailer.manifest_length, MAX_STORED_MANIFEST)
        if blake3(payload).digest() != trailer.manifest_hash:
            raise DamagedError("The image's manifest is damaged.", _DAMAGED_HINT)
        plain = self.cipher.open_meta(payload, SealedKind.MANIFEST, trailer.manifest_offset)
        return Manifest.unpack(plain, self.header)


def open_image(path: str | Path, secrets: Secrets = NO_SECRETS, keys: ImageKeys | None = None) -> ImageReader:
    """Open an image. Raises as :class:`ImageReader`."""
    return ImageReader(path, secrets, keys)


def _refuse_other_things(path: Path) -> None:
    if not any(file.exists() for file in files_of(path)):
        raise UsageError(f"{path} does not exist.")
    if path.is_dir():
        if (path / "clonezilla-img").exists() or (path / "parts").exists():
            raise FormatError(f"{path} is a Clonezilla image folder.", "This version restores its own images only.")
        raise FormatError(f"{path} is a folder, not an image.", "Name the image file in it.")
    if path.exists() and not path.is_file() and not path.is_block_device():
        raise FormatError(f"{path} is not a file.")


_KNOWN = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"QFI\xfb", "a qcow2 virtual disk"),
    (b"KDMV", "a VMDK virtual disk"),
    (b"conectix", "a VHD virtual disk"),
    (b"vhdxfile", "a VHDX virtual disk"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file, but not an image of this program"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"partclone-image", "a partclone image"),
)


def _what_it_is(head: bytes) -> tuple[str, str]:
    known = next((f"It is {what}." for magic, what in _KNOWN if head.startswith(magic)), "")
    return f"This is not a disk image of this program. {known}".strip(), "Choose a file that `rescue backup` wrote."
