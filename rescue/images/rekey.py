"""Changing what opens an encrypted image, in place: its data are not touched (docs/image-format.md, section 10)."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Protocol

import msgspec
from blake3 import blake3

from rescue.errors import CredentialError, DamagedError, FormatError, RefusedError, RescueError, UnsupportedError, UsageError
from rescue.images.crypto import Algorithm, ImageKeys
from rescue.images.format import HASH_SIZE, HEADER_SIZE, SKIPPABLE_HEAD, SKIPPABLE_MAGIC, TAG_HEADER, VERSION
from rescue.images.keyslots import (
    DEFAULT_COST,
    FIRST_SLOT_OFFSET,
    KEY_AREA_OFFSET,
    KEY_AREA_SIZE,
    KEY_FRAME_OFFSET,
    SLOT_SIZE,
    Cost,
    KeyArea,
    Slot,
    SlotKind,
    key_material,
)
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.joined import files_of


class Readable(Protocol):
    """The part of Source that finds a key area."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def pread(self, length: int, offset: int) -> bytes:
        """See Source."""
        ...


class Rewritable(Readable, Protocol):
    """A file to change in place."""

    def pwrite(self, data: bytes, offset: int) -> None:
        """See Sink."""
        ...

    def flush(self) -> None:
        """See Sink. What is read afterwards comes from the medium where that can be had."""
        ...


class Changes(msgspec.Struct, frozen=True):
    """What shall open the image from now on. A new passphrase or recovery key replaces the one before, a new key file is added.

    ``drop`` takes away what opened it so far, kind by kind.
    """

    new: Secrets = NO_SECRETS
    drop: frozenset[SlotKind] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.new) or bool(self.drop)


def read_key_area(file: Readable) -> KeyArea:
    """The key area at the start of an image. Raises UsageError (not encrypted), FormatError, UnsupportedError, DamagedError."""
    header = file.pread(min(file.size, KEY_FRAME_OFFSET), 0)
    payload = header[SKIPPABLE_HEAD.size :]
    if payload[:8] != TAG_HEADER:
        raise FormatError("This is not an image of this program.")
    if int.from_bytes(payload[8:10], "little") != VERSION:
        raise UnsupportedError("The image has a format version that this program does not know.", "Use a newer version of it.")
    if len(payload) != HEADER_SIZE or blake3(payload[:-HASH_SIZE]).digest() != payload[-HASH_SIZE:]:
        raise DamagedError("The image's header is damaged.")
    if payload[13] == 0:
        raise UsageError("The image is not encrypted.")
    if payload[13] not in tuple(Algorithm):
        raise UnsupportedError("The image is encrypted in a way that this program does not know.", "Use a newer version of it.")
    if file.size < KEY_AREA_OFFSET + KEY_AREA_SIZE:
        raise DamagedError("The image's key area is cut off.")
    if SKIPPABLE_HEAD.unpack(file.pread(SKIPPABLE_HEAD.size, KEY_FRAME_OFFSET)) != (SKIPPABLE_MAGIC, KEY_AREA_SIZE):
        raise DamagedError("The image's key area is not where it should be.")
    return KeyArea.unpack(file.pread(KEY_AREA_SIZE, KEY_AREA_OFFSET), payload[-HASH_SIZE:])


def rekey(file: Rewritable, secrets: Secrets, changes: Changes, cost: Cost = DEFAULT_COST) -> KeyArea:
    """Make ``changes``; returns the new area. ``secrets`` are what opens it now.

    At every moment at least one slot opens: a new one is on the medium, read back and tried, before an old one goes. Raises
    CredentialError, DamagedError, UsageError (nothing would open it any more), RefusedError (no slot is free), TargetWriteError.
    """
    area = read_key_area(file)
    keys = area.open(secrets)
    added = [(kind, material) for kind in SlotKind if (material := key_material(kind, changes.new)) is not None]
    replaced = changes.drop | {kind for kind, _ in added if kind is not SlotKind.KEY_FILE}
    if not (area.kinds - replaced) and not added:
        raise UsageError("Nothing would open the image any more.", "Give it another key first.")
    old = [number for kind in replaced for number in area.numbers(kind)]
    for kind, material in added:
        number = area.free_slot()
        slot = area.wrap(kind, material, keys, cost)
        _write(file, number, slot.pack())
        _prove(file, area, number, changes.new, keys)
        area = area.with_slot(number, slot)
    # A slot that was torn opens nothing, but it may still hold the secret's wrapped key, which was to go.
    torn = [number for number, slot in enumerate(area.slots) if isinstance(slot, DamagedError)] if replaced else []
    for number in sorted([*old, *torn]):
        _write(file, number, bytes(SLOT_SIZE))
        area = area.with_slot(number, None)
    return area


def _write(file: Rewritable, number: int, data: bytes) -> None:
    file.pwrite(data, FIRST_SLOT_OFFSET + number * SLOT_SIZE)
    file.flush()


def _prove(file: Rewritable, area: KeyArea, number: int, secrets: Secrets, keys: ImageKeys) -> None:
    """Read a new slot back and open it. Raises DamagedError."""
    try:
        slot = Slot.unpack(file.pread(SLOT_SIZE, FIRST_SLOT_OFFSET + number * SLOT_SIZE))
        opened = KeyArea(area.binding).with_slot(number, slot).open(secrets)
    except (CredentialError, FormatError, DamagedError) as error:
        raise _unproved() from error
    if opened != keys:
        raise _unproved()


def _unproved() -> DamagedError:
    return DamagedError(
        "The new key was written, but does not open the image when it is read back. The disk or the memory may be failing.",
        "What opened the image before still does.",
    )


class _KeyFile:
    """An image's file, to change in place."""

    def __init__(self, path: Path) -> None:
        self._sink = FileSink(path)
        self._source: FileSource | None = None
        try:
            self._source = FileSource(path)
            fcntl.flock(self._sink.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            what = "is in use: a backup builds upon it, or it is being read" if self._is_held() else "is being changed"
            self.close()
            raise RefusedError(f"{path} {what} by another command.", "Wait until that has ended.") from error
        except BaseException:
            self.close()
            raise

    def _is_held(self) -> bool:
        """Whether those that have it locked only keep it as it is (stores/removal.py)."""
        try:
            fcntl.flock(self._sink.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def size(self) -> int:
        return self._sink.size

    def pread(self, length: int, offset: int) -> bytes:
        assert self._source is not None
        return self._source.pread(length, offset)

    def pwrite(self, data: bytes, offset: int) -> None:
        self._sink.pwrite(data, offset)

    def flush(self) -> None:
        assert self._source is not None
        self._sink.flush()
        self._source.drop_cache(0, FIRST_SLOT_OFFSET + KEY_AREA_SIZE)

    def close(self) -> None:
        self._sink.close()
        if self._source is not None:
            self._source.close()


def rekey_file(path: str | Path, secrets: Secrets, changes: Changes, cost: Cost = DEFAULT_COST) -> KeyArea:
    """:func:`rekey` on an image file, which may be cut into parts. Only the slots that change are written."""
    file = _KeyFile(_first_file(path))
    try:
        return rekey(file, secrets, changes, cost)
    except RescueError as error:
        if str(path) in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", error.hint) from error
    finally:
        file.close()


def key_area_of(path: str | Path) -> KeyArea:
    """:func:`read_key_area` of an image file."""
    with FileSource(_first_file(path)) as file:
        try:
            return read_key_area(file)
        except (UsageError, FormatError, DamagedError) as error:
            raise type(error)(f"{path}: {error.message}", error.hint) from error


def _first_file(path: str | Path) -> Path:
    """The file that the image begins in: all of its key area is in there. Raises UsageError."""
    first = next(iter(files_of(path)), Path(path))
    if not first.is_file():
        raise UsageError(f"{path} is not a file." if first.exists() else f"{path} does not exist.")
    return first
