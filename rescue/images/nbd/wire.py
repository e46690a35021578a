"""The messages of the NBD protocol that our server needs (NetworkBlockDevice/nbd, doc/proto.md). Big-endian."""

from __future__ import annotations

import socket
import struct
from enum import IntEnum, IntFlag
from typing import Final

HANDSHAKE: Final = struct.Struct(">8s8sH")
OPTION: Final = struct.Struct(">8sII")
OPTION_REPLY: Final = struct.Struct(">QIII")
REQUEST: Final = struct.Struct(">IHHQQI")
SIMPLE_REPLY: Final = struct.Struct(">IIQ")
CHUNK: Final = struct.Struct(">IHHQI")
OLD_EXPORT: Final = struct.Struct(">QH")
EXPORT_INFO: Final = struct.Struct(">HQH")
BLOCK_SIZE_INFO: Final = struct.Struct(">HIII")

NBD_MAGIC: Final = b"NBDMAGIC"
OPTION_MAGIC: Final = b"IHAVEOPT"
OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_REPLY_MAGIC: Final = 0x67446698
CHUNK_MAGIC: Final = 0x668E33EF

FIXED_NEWSTYLE: Final = 1
NO_ZEROES: Final = 2

CONTEXT: Final = b"base:allocation"
CONTEXT_ID: Final = 1


class Option(IntEnum):
    """What a client may ask before it reads."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class Answer(IntEnum):
    """The types of replies to options."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    UNSUPPORTED = (1 << 31) + 1
    INVALID = (1 << 31) + 3
    UNKNOWN = (1 << 31) + 6


class Info(IntEnum):
    """The kinds of information about an export."""

    EXPORT = 0
    BLOCK_SIZE = 3


class Transmission(IntFlag):
    """What is said about the export."""

    HAS_FLAGS = 1
    READ_ONLY = 2
    SEND_FLUSH = 1 << 2
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    SEND_DF = 1 << 7
    CAN_MULTI_CONN = 1 << 8


class Command(IntEnum):
    """What a client asks of the export."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


COMMAND_REQ_ONE: Final = 1 << 3


class ChunkType(IntEnum):
    """The types of structured replies."""

    NONE = 0
    OFFSET_DATA = 1
    BLOCK_STATUS = 5
    ERROR = (1 << 15) + 1


CHUNK_DONE: Final = 1
STATE_HOLE: Final = 1
STATE_ZERO: Final = 2


class ClosedError(Exception):
    """The other end has gone."""


def receive(connection: socket.socket, length: int) -> bytes:
    """Exactly ``length`` bytes. Raises ClosedError."""
    data = bytearray(length)
    view = memoryview(data)
    done = 0
    while done < length:
        try:
            got = connection.recv_into(view[done:])
        except OSError as error:
            raise ClosedError from error
        if not got:
            raise ClosedError
        done += got
    return bytes(data)
