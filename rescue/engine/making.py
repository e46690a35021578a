"""What a capture makes: the image's kind, its keys, and whether it continues one that was begun."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from typing import Protocol

import msgspec

from rescue.errors import UsageError
from rescue.images.begun import Begun
from rescue.images.chain import Chain
from rescue.images.crypto import ImageKeys, best_algorithm, cpu_flags
from rescue.images.format import Header, Kind
from rescue.images.keyslots import KeyArea
from rescue.images.secrets import NO_SECRETS, Secrets
from rescue.model.disk import Disk


class Destination(Protocol):
    """Where an image is written, and what an earlier attempt left of it there."""

    def begun(self, secrets: Secrets) -> Begun | None:
        """What is whole of an earlier attempt; None when there is nothing. Raises CredentialError, SourceReadError."""
        ...

    def go_on(self, length: int) -> None:
        """Keep the first ``length`` bytes of the earlier attempt, cut off the rest, and append to them. Raises RescueError."""
        ...

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        """Append. Without :meth:`go_on` the first write begins anew. Raises TargetWriteError, RefusedError."""
        ...


class Making(msgspec.Struct, frozen=True):
    """What is asked for. ``parent`` is the path of the image that one that is not full is made upon."""

    kind: Kind = Kind.FULL
    parent: str = ""
    encrypt: bool = False
    level: int = 0
    comment: str = ""
    host: str = ""
    decrypt: tuple[int, ...] = ()  # partitions whose LUKS volumes it holds in clear; of an encrypted one only


class Start(msgspec.Struct, frozen=True):
    """How the image's file starts: its header, and for an encrypted one its key area and keys."""

    header: Header
    key_area: bytes
    keys: ImageKeys | None


def new_start(
    making: Making, disk: Disk, chunk: int, frame: int, created: datetime.datetime, parent: Chain | None, secrets: Secrets
) -> Start:
    """The start of a new image.

    Raises UsageError when it is to be encrypted and there are no secrets, or when it is not and shall hold in clear what is
    encrypted on the disk.
    """
    if making.decrypt and not making.encrypt:
        raise UsageError("What is encrypted on the disk is in clear only in an image that is encrypted itself.", "Add --encrypt.")
    header = Header(
        uuid.uuid4().bytes, disk.size, int(created.timestamp()), chunk, frame, disk.logical_sector_size,
        disk.physical_sector_size, making.kind, best_algorithm(cpu_flags()) if making.encrypt else 0,
        bytes.fromhex(parent.fingerprint) if parent else bytes(32), bool(making.decrypt),
    )  # fmt: skip
    if not making.encrypt:
        return Start(header, b"", None)
    above = parent.image.keys if parent else None
    keys = ImageKeys.child(above) if above else ImageKeys.new()
    return Start(header, KeyArea.new(header.binding, secrets, keys).pack(), keys)


def fitting(begun: Begun | None, making: Making, disk: Disk, chunk: int, frame: int, parent: Chain | None) -> Begun | None:
    """What was begun, if it is of the image that is asked for: of its kind, a disk of this size, and upon the same parent."""
    if begun is None:
        return None
    header = begun.header
    same = (
        header.kind is making.kind
        and (bool(header.encryption), header.clear) == (making.encrypt, bool(making.decrypt))
        and (header.disk_size, header.chunk_size, header.frame_limit) == (disk.size, chunk, frame)
        and (header.logical_sector_size, header.physical_sector_size) == (disk.logical_sector_size, disk.physical_sector_size)
        and header.parent == (bytes.fromhex(parent.fingerprint) if parent else bytes(32))
    )
    return begun if same else None


class Plain:
    """A destination that appends to any output and knows of no earlier attempt: a pipe, memory, a test."""

    def __init__(self, write: Callable[[bytes | bytearray | memoryview], object]) -> None:
        self._write = write

    def begun(self, secrets: Secrets = NO_SECRETS) -> Begun | None:
        """See Destination."""
        return None

    def go_on(self, length: int) -> None:
        """See Destination."""
        raise ValueError("there is nothing to go on with")

    def write(self, data: bytes | bytearray | memoryview, /) -> object:
        """See Destination."""
        return self._write(data)
