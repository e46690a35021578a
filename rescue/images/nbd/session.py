"""One client of the block server: the handshake, then its requests."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import BoundedSemaphore, Lock
from typing import Final, Protocol

from rescue.errors import RescueError
from rescue.images.format import RowKind
from rescue.images.nbd.wire import (
    BLOCK_SIZE_INFO,
    CHUNK,
    CHUNK_DONE,
    CHUNK_MAGIC,
    COMMAND_REQ_ONE,
    CONTEXT,
    CONTEXT_ID,
    EXPORT_INFO,
    FIXED_NEWSTYLE,
    HANDSHAKE,
    NBD_MAGIC,
    NO_ZEROES,
    OLD_EXPORT,
    OPTION,
    OPTION_MAGIC,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    STATE_HOLE,
    STATE_ZERO,
    Answer,
    ChunkType,
    ClosedError,
    Command,
    Info,
    Option,
    Transmission,
    receive,
)
from rescue.images.view import Held
from rescue.model.source import Sink, Source
from rescue.units import KIB, MIB

MAX_READ: Final = 32 * MIB  # as much as every client of others asks for
_PREFERRED: Final = 256 * KIB
_MAX_OPTION: Final = 64 * KIB
_MAX_EXTENTS: Final = 4096  # in one answer
_MAX_STATUS: Final = 0xFFFF0000  # of one extent: its length is a 32-bit number
_THREADS: Final = 4  # that answer one client at the same time
_FLAGS: Final = Transmission.HAS_FLAGS | Transmission.CAN_MULTI_CONN | Transmission.SEND_DF
_WRITABLE: Final = _FLAGS | Transmission.SEND_FLUSH | Transmission.SEND_TRIM | Transmission.SEND_WRITE_ZEROES
_READ_ONLY: Final = _FLAGS | Transmission.READ_ONLY


class Blocks(Source, Protocol):
    """What can be served: a Source that knows which of it is zeros."""

    def extents(self, start: int = 0, end: int | None = None) -> Iterator[Held]:
        """See ImageView."""
        ...


class Session:
    """Talks to one client until it goes. ``failed`` is told every error that a client only sees as EIO.

    The client may write when there is a ``sink``: the same bytes, for writing. Nothing is made to last when it asks for that.
    """

    def __init__(
        self, connection: socket.socket, blocks: Blocks, failed: Callable[[RescueError], None], sink: Sink | None = None
    ) -> None:
        self._connection = connection
        self._blocks = blocks
        self._sink = sink
        self._flags = _READ_ONLY if sink is None else _WRITABLE
        self._failed = failed
        self._structured = False
        self._status = False
        self._send_lock = Lock()

    def run(self) -> None:
        """Returns when the client has gone or broke the protocol."""
        try:
            if self._negotiate():
                self._serve()
        except ClosedError:
            pass
        finally:
            self._connection.close()

    def _send(self, *parts: bytes | memoryview) -> None:
        try:
            with self._send_lock:
                for part in parts:
                    self._connection.sendall(part)
        except OSError as error:
            raise ClosedError from error

    # The handshake

    def _negotiate(self) -> bool:
        self._send(HANDSHAKE.pack(NBD_MAGIC, OPTION_MAGIC, FIXED_NEWSTYLE | NO_ZEROES))
        flags = int.from_bytes(receive(self._connection, 4), "big")
        if flags & ~(FIXED_NEWSTYLE | NO_ZEROES):
            return False
        while True:
            magic, option, length = OPTION.unpack(receive(self._connection, OPTION.size))
            if magic != OPTION_MAGIC or length > _MAX_OPTION:
                return False
            data = receive(self._connection, length)
            match option:
                case Option.EXPORT_NAME:
                    self._send(OLD_EXPORT.pack(self._blocks.size, self._flags), b"" if flags & NO_ZEROES else bytes(124))
                    return True
                case Option.ABORT:
                    self._reply(option, Answer.ACK)
                    return False
                case Option.GO | Option.INFO:
                    if self._describe(option, data) and option == Option.GO:
                        return True
                case _:
                    self._simple_option(option, data)

    def _simple_option(self, option: int, data: bytes) -> None:
        match option:
            case Option.LIST:
                self._reply(option, Answer.SERVER, bytes(4))
                self._reply(option, Answer.ACK)
            case Option.STRUCTURED_REPLY:
                self._structured = True
                self._reply(option, Answer.ACK)
            case Option.LIST_META_CONTEXT | Option.SET_META_CONTEXT:
                self._contexts(option, data)
            case _:
                self._reply(option, Answer.UNSUPPORTED)

    def _reply(self, option: int, answer: Answer, data: bytes = b"") -> None:
        self._send(OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, answer, len(data)), data)

    def _describe(self, option: int, data: bytes) -> bool:
        name_length = int.from_bytes(data[:4], "big")
        if len(data) < 6 or name_length > len(data) - 6:
            self._reply(option, Answer.INVALID)
            return False
        if name_length:
            self._reply(option, Answer.UNKNOWN)
            return False
        self._reply(option, Answer.INFO, EXPORT_INFO.pack(Info.EXPORT, self._blocks.size, self._flags))
        self._reply(option, Answer.INFO, BLOCK_SIZE_INFO.pack(Info.BLOCK_SIZE, 1, _PREFERRED, MAX_READ))
        self._reply(option, Answer.ACK)
        return True

    def _contexts(self, option: int, data: bytes) -> None:
        try:
            wanted = _queries(data)
        except ValueError:
            self._reply(option, Answer.INVALID)
            return
        listing = option == Option.LIST_META_CONTEXT
        found = CONTEXT in wanted or (listing and (not wanted or b"base:" in wanted))
        if found:
            self._reply(option, Answer.META_CONTEXT, (0 if listing else CONTEXT_ID).to_bytes(4, "big") + CONTEXT)
        if not listing:
            self._status = found and self._structured
        self._reply(option, Answer.ACK)

    # The requests

    def _serve(self) -> None:
        waiting = BoundedSemaphore(2 * _THREADS)  # bounds the memory that a client can ask for
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="nbd") as pool:
            while True:
                request = receive(self._connection, REQUEST.size)
                magic, flags, command, cookie, offset, length = REQUEST.unpack(request)
                if magic != REQUEST_MAGIC or command == Command.DISCONNECT:
                    return
                waiting.acquire()
                data = b""
                if command == Command.WRITE:
                    if self._sink is None or length > MAX_READ:
                        return  # its data follow; a client that writes to what is read-only is not to be trusted
                    data = receive(self._connection, length)
                pool.submit(self._answer, flags, command, cookie, offset, length, data).add_done_callback(
                    lambda _done: waiting.release()
                )

    def _answer(self, flags: int, command: int, cookie: int, offset: int, length: int, data: bytes) -> None:
        is_inside = length > 0 and offset + length <= self._blocks.size
        try:
            match command:
                case Command.READ if is_inside and length <= MAX_READ:
                    self._read(cookie, offset, length)
                case Command.WRITE if is_inside and self._sink is not None:
                    self._sink.pwrite(data, offset)
                    self._error(cookie, 0)
                case Command.TRIM | Command.WRITE_ZEROES if is_inside and self._sink is not None:
                    self._sink.zero(offset, offset + length)
                    self._error(cookie, 0)
                case Command.BLOCK_STATUS if is_inside and self._status:
                    self._block_status(cookie, offset, length, one=bool(flags & COMMAND_REQ_ONE))
                case Command.FLUSH:
                    self._error(cookie, 0)
                case _:
                    self._error(cookie, errno.EINVAL)
        except RescueError as error:
            self._failed(error)
            self._error_unless_gone(cookie)
        except ClosedError:
            self._hang_up()
        except BaseException:
            # A defect of ours. The client must not wait for an answer for ever.
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _error_unless_gone(self, cookie: int) -> None:
        try:
            self._error(cookie, errno.EIO)
        except ClosedError:
            self._hang_up()

    def _error(self, cookie: int, number: int) -> None:
        if not self._structured:
            self._send(SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, number, cookie))
        elif number:
            self._chunk(cookie, ChunkType.ERROR, struct.pack(">IH", number, 0))
        else:
            self._chunk(cookie, ChunkType.NONE, b"")

    def _chunk(self, cookie: int, kind: ChunkType, head: bytes, data: bytes = b"") -> None:
        self._send(CHUNK.pack(CHUNK_MAGIC, CHUNK_DONE, kind, cookie, len(head) + len(data)) + head, data)

    def _read(self, cookie: int, offset: int, length: int) -> None:
        data = self._blocks.pread(length, offset)
        if self._structured:
            self._chunk(cookie, ChunkType.OFFSET_DATA, offset.to_bytes(8, "big"), data)
        else:
            self._send(SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, cookie), data)

    def _block_status(self, cookie: int, offset: int, length: int, *, one: bool) -> None:
        found = bytearray(CONTEXT_ID.to_bytes(4, "big"))
        for number, held in enumerate(self._blocks.extents(offset, offset + min(length, _MAX_STATUS)), 1):
            found += struct.pack(">II", held.end - held.start, _STATES[held.kind])
            if one or number == _MAX_EXTENTS:
                break
        self._chunk(cookie, ChunkType.BLOCK_STATUS, bytes(found))


# What is bad must be read, so that whoever reads it is told.
_STATES: Final = {
    RowKind.HOLE: STATE_HOLE | STATE_ZERO,
    RowKind.ZERO: STATE_ZERO,
    RowKind.DATA: 0,
    RowKind.BAD: 0,
}


def _queries(data: bytes) -> list[bytes]:
    """The names of contexts that a client wants. Raises ValueError when the message is not well formed."""
    position = 4 + int.from_bytes(data[:4], "big")
    if len(data) < 8 or position + 4 > len(data):
        raise ValueError("the message is too short")
    count = int.from_bytes(data[position : position + 4], "big")
    position += 4
    found: list[bytes] = []
    for _ in range(count):
        if position + 4 > len(data):
            raise ValueError("the message is too short")
        length = int.from_bytes(data[position : position + 4], "big")
        position += 4
        if position + length > len(data):
            raise ValueError("the message is too short")
        found.append(data[position : position + length])
        position += length
    if position != len(data):
        raise ValueError("the message is too long")
    return found
