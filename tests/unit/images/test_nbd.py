"""The block server, spoken to byte by byte: what it answers, and what it does with clients that break the protocol."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from rescue.errors import RescueError, SourceReadError
from rescue.images.format import RowKind
from rescue.images.nbd.changed import Changed
from rescue.images.nbd.session import MAX_READ, Session
from rescue.images.nbd.session import Blocks as NbdBlocks
from rescue.images.nbd.wire import receive
from rescue.images.view import Held
from rescue.model.source import BytesSource, Sink
from rescue.units import KIB, MIB

CONTENT = bytes(range(256)) * 256 + bytes(64 * KIB) + b"\x55" * (64 * KIB)
BAD = 128 * KIB


class Blocks(BytesSource):
    """Data, a hole, and data whose second half is bad."""

    def __init__(self) -> None:
        super().__init__(CONTENT)

    def pread(self, length: int, offset: int) -> bytes:
        if offset + length > BAD + 32 * KIB:
            raise SourceReadError("The image is damaged there.", offset, length)
        return super().pread(length, offset)

    def extents(self, start: int = 0, end: int | None = None) -> Iterator[Held]:
        end = self.size if end is None else end
        whole = (Held(0, 64 * KIB, RowKind.DATA), Held(64 * KIB, BAD, RowKind.HOLE), Held(BAD, self.size, RowKind.BAD))
        for held in whole:
            low, high = max(held.start, start), min(held.end, end)
            if low < high:
                yield Held(low, high, held.kind)


class Client:
    """The other end of a session."""

    def __init__(self, blocks: NbdBlocks, sink: Sink | None = None) -> None:
        self.end, theirs = socket.socketpair()
        self.end.settimeout(30)
        self.errors: list[RescueError] = []
        self.thread = Thread(target=Session(theirs, blocks, self.errors.append, sink).run)
        self.thread.start()
        assert self.take(18) == b"NBDMAGICIHAVEOPT\x00\x03"

    def take(self, length: int) -> bytes:
        return receive(self.end, length)

    def option(self, number: int, data: bytes = b"") -> None:
        self.end.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)

    def answer(self) -> tuple[int, bytes]:
        magic, _, kind, length = struct.unpack(">QIII", self.take(20))
        assert magic == 0x3E889045565A9
        return kind, self.take(length)

    def go(self, structured: bool = True) -> None:
        self.end.sendall(struct.pack(">I", 3))
        if structured:
            self.option(8)
            assert self.answer() == (1, b"")
            name = b"base:allocation"
            self.option(10, struct.pack(">III", 0, 1, len(name)) + name)
            assert self.answer() == (4, struct.pack(">I", 1) + name)
            assert self.answer() == (1, b"")
        self.option(7, bytes(6))
        kind, export = self.answer()
        assert (kind, struct.unpack(">HQH", export)[1]) == (3, len(CONTENT))
        assert self.answer()[0] == 3
        assert self.answer() == (1, b"")

    def ask(self, command: int, offset: int, length: int, flags: int = 0) -> None:
        self.end.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, 7, offset, length))

    def write(self, offset: int, data: bytes) -> None:
        self.ask(1, offset, len(data))
        self.end.sendall(data)

    def read(self, offset: int, length: int) -> bytes:
        self.ask(0, offset, length)
        kind, data = self.chunk()
        assert kind == 1
        return data[8:]

    def chunk(self) -> tuple[int, bytes]:
        magic, flags, kind, cookie, length = struct.unpack(">IHHQI", self.take(20))
        assert (magic, flags, cookie) == (0x668E33EF, 1, 7)
        return kind, self.take(length)

    def is_hung_up(self) -> bool:
        try:
            return self.end.recv(1) == b""
        except ConnectionResetError:
            return True


@contextmanager
def connected(blocks: NbdBlocks, sink: Sink | None = None) -> Iterator[Client]:
    client = Client(blocks, sink)
    yield client
    client.end.close()
    client.thread.join(30)
    assert not client.thread.is_alive()


@pytest.fixture
def client() -> Iterator[Client]:
    with connected(Blocks()) as client:
        yield client


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Client]:
    """A client that may write."""
    with Changed(Blocks(), 0, len(CONTENT), tmp_path) as changed, connected(changed, changed) as client:
        yield client


def test_reads_in_structured_replies(client: Client) -> None:
    client.go()
    client.ask(0, 100, 70000)
    kind, data = client.chunk()
    assert (kind, data) == (1, struct.pack(">Q", 100) + CONTENT[100:70100])


def test_reads_in_simple_replies(client: Client) -> None:
    client.go(structured=False)
    client.ask(0, 0, 512)
    assert client.take(16) == struct.pack(">IIQ", 0x67446698, 0, 7)
    assert client.take(512) == CONTENT[:512]
    client.ask(7, 0, 512)  # block status was never agreed upon
    assert client.take(16) == struct.pack(">IIQ", 0x67446698, errno.EINVAL, 7)


def test_an_old_client(client: Client) -> None:
    client.end.sendall(struct.pack(">I", 0))
    client.option(1, b"")
    size, flags = struct.unpack(">QH", client.take(10))
    assert (size, flags & 3) == (len(CONTENT), 3)
    assert client.take(124) == bytes(124)
    client.ask(0, 5, 1)
    assert client.take(17)[16:] == CONTENT[5:6]


def test_many_requests_at_once_are_all_answered(client: Client) -> None:
    client.go(structured=False)
    for number in range(100):
        client.end.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, number, number * 3, 1000))
    found = {}
    for _ in range(100):
        cookie = struct.unpack(">IIQ", client.take(16))[2]
        found[cookie] = client.take(1000)
    assert found == {number: CONTENT[number * 3 : number * 3 + 1000] for number in range(100)}


def test_status_tells_zeros_and_never_calls_bad_zeros(client: Client) -> None:
    client.go()
    client.ask(7, 32 * KIB, len(CONTENT) - 32 * KIB)
    assert client.chunk() == (5, struct.pack(">IIIIIII", 1, 32 * KIB, 0, 64 * KIB, 3, 64 * KIB, 0))
    client.ask(7, 32 * KIB, len(CONTENT) - 32 * KIB, flags=8)
    assert client.chunk() == (5, struct.pack(">III", 1, 32 * KIB, 0))


def test_what_cannot_be_read_is_an_error_and_its_reason_is_kept(client: Client) -> None:
    client.go()
    client.ask(0, BAD, 64 * KIB)
    assert client.chunk() == (0x8001, struct.pack(">IH", errno.EIO, 0))
    assert [str(error) for error in client.errors] == ["The image is damaged there."]
    client.ask(0, 0, 1)
    assert client.chunk()[0] == 1


@pytest.mark.parametrize(
    ("command", "offset", "length"),
    [
        (0, len(CONTENT), 1),
        (0, len(CONTENT) - 1, 2),
        (0, (1 << 64) - 1, 2),
        (0, 0, 0),
        (0, 0, MAX_READ + 1),
        (7, 0, 0),
        (7, len(CONTENT), 1),
        (4, 0, 1),
        (99, 0, 0),
    ],
)
def test_requests_that_make_no_sense_are_refused(client: Client, command: int, offset: int, length: int) -> None:
    client.go()
    client.ask(command, offset, length)
    assert client.chunk() == (0x8001, struct.pack(">IH", errno.EINVAL, 0))


def test_a_flush_is_answered(client: Client) -> None:
    client.go()
    client.ask(3, 0, 0)
    assert client.chunk() == (0, b"")


@pytest.mark.parametrize("command", [4, 6])
def test_a_client_that_may_write(writer: Client, command: int) -> None:
    writer.go()
    writer.write(1000, b"written")
    assert writer.chunk() == (0, b"")
    writer.ask(command, 8 * KIB, 16 * KIB)
    assert writer.chunk() == (0, b"")
    changed = bytearray(CONTENT[: 32 * KIB])
    changed[1000:1007] = b"written"
    changed[8 * KIB : 24 * KIB] = bytes(16 * KIB)
    assert writer.read(0, 32 * KIB) == changed
    writer.ask(7, 0, 32 * KIB)
    assert writer.chunk() == (5, struct.pack(">IIIIIIIII", 1, 4 * KIB, 0, 4 * KIB, 0, 16 * KIB, 3, 8 * KIB, 0))


def test_what_cannot_be_written_is_an_error(writer: Client) -> None:
    """Below a part of a block that is written there is what cannot be read."""
    writer.go()
    writer.write(len(CONTENT) - 1000, b"written")
    assert writer.chunk() == (0x8001, struct.pack(">IH", errno.EIO, 0))
    assert [str(error) for error in writer.errors] == ["The image is damaged there."]
    writer.write(len(CONTENT) - 4 * KIB, bytes(4 * KIB))
    assert writer.chunk() == (0, b"")
    assert writer.read(len(CONTENT) - 4 * KIB, 4 * KIB) == bytes(4 * KIB)


@pytest.mark.parametrize("offset", [len(CONTENT) - 1, len(CONTENT), (1 << 64) - 1])
def test_nothing_is_written_behind_the_end(writer: Client, offset: int) -> None:
    writer.go()
    writer.write(offset, b"xx")
    assert writer.chunk() == (0x8001, struct.pack(">IH", errno.EINVAL, 0))
    writer.ask(6, offset, 2)
    assert writer.chunk() == (0x8001, struct.pack(">IH", errno.EINVAL, 0))
    assert not writer.errors


def test_a_write_that_is_too_long_is_not_taken(writer: Client) -> None:
    writer.go()
    writer.ask(1, 0, MAX_READ + 1)
    assert writer.is_hung_up()


def _write(client: Client) -> None:
    client.go()
    client.end.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 7, 0, 4) + b"evil")


def _wrong_magic(client: Client) -> None:
    client.go()
    client.end.sendall(bytes(28))


def _unknown_flags(client: Client) -> None:
    client.end.sendall(b"\xff" * 4)


def _huge_option(client: Client) -> None:
    client.end.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 6, 1 * MIB))


def _no_option(client: Client) -> None:
    client.end.sendall(struct.pack(">I", 3) + bytes(16))


def _disconnect(client: Client) -> None:
    client.go()
    client.ask(2, 0, 0)


@pytest.mark.parametrize("act", [_write, _wrong_magic, _unknown_flags, _huge_option, _no_option, _disconnect])
def test_who_breaks_the_protocol_or_leaves_is_hung_up_on(client: Client, act: Callable[[Client], None]) -> None:
    act(client)
    assert client.is_hung_up()


@pytest.mark.parametrize(
    ("option", "data", "answers"),
    [
        (7, bytes(5), [(1 << 31) + 3]),
        (7, struct.pack(">I", 99) + bytes(2), [(1 << 31) + 3]),
        (6, struct.pack(">I", 1) + b"x" + bytes(2), [(1 << 31) + 6]),
        (3, b"", [2, 1]),
        (5, b"", [(1 << 31) + 1]),
        (10, b"", [(1 << 31) + 3]),
        (10, struct.pack(">III", 0, 1, 100), [(1 << 31) + 3]),
        (10, struct.pack(">II", 0, 0xFFFFFFFF), [(1 << 31) + 3]),
        (10, struct.pack(">III", 0, 1, 1) + b"x", [1]),
        (10, struct.pack(">II", 0, 0) + b"x", [(1 << 31) + 3]),
        (9, struct.pack(">II", 0, 0), [4, 1]),
        (2, b"", [1]),
    ],
)
def test_options(client: Client, option: int, data: bytes, answers: list[int]) -> None:
    client.end.sendall(struct.pack(">I", 3))
    client.option(option, data)
    assert [client.answer()[0] for _ in answers] == answers


def test_a_client_that_leaves_in_the_middle(client: Client) -> None:
    client.go()
    for _ in range(50):
        client.ask(0, 0, 64 * KIB)
    client.end.close()
    client.thread.join(30)
    assert not client.thread.is_alive()
