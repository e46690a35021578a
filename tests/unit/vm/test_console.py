"""A console shows what a person would see, sends the keys that a person would press, and notices that a guest has died."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.console import Console, GuestPanicError, GuestTimeoutError

_SECONDS = 5.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a serial line."""
    guest, bench = socket.socketpair()
    guest.settimeout(_SECONDS)
    yield guest, bench
    guest.close()


@pytest.fixture
def guest(ends: tuple[socket.socket, socket.socket]) -> socket.socket:
    """The guest's end."""
    return ends[0]


@pytest.fixture
def console(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> Iterator[Console]:
    """A console on the other end."""
    console = Console("test", ends[1], tmp_path / "serial.log")
    yield console
    console.close()


def test_text_on_the_screen(console: Console, guest: socket.socket) -> None:
    """Positions, colours and private sequences cut in two leave plain text."""
    for part in (b"\x1b[2J\x1b[3;5H\x1b[1;31mDisks\x1b[0m \x1b[>", b"1u\x1b[<uof \xc3\xa4"):
        guest.sendall(part)
    console.wait_for_text("^    Disks of ä$", _SECONDS)
    assert console.screen_text().splitlines()[2] == "    Disks of ä"


def test_only_whole_pictures(console: Console, guest: socket.socket) -> None:
    """The question for synchronized output is answered; what is drawn after its start is not seen before its end."""
    guest.sendall(b"\x1b[?2026$pold")
    assert guest.recv(100) == b"\x1b[?2026;2$y"
    guest.sendall(b"\x1b[?2026h\x1b[2J\x1b[Hhalf")
    console.wait_for_output("half", _SECONDS)
    assert console.screen_text().strip() == "old"
    guest.sendall(b" whole\x1b[?2026l")
    console.wait_for_text("^half whole$", _SECONDS)


def test_cursor_question(console: Console, guest: socket.socket) -> None:
    """Programs find the size of a serial terminal by asking where the cursor stops."""
    guest.sendall(b"\x1b[999;999H\x1b[6n")
    assert guest.recv(100) == b"\x1b[24;80R"
    assert not console.closed


@pytest.mark.parametrize(
    ("keys", "sent"),
    [("ab<enter>", b"ab\r"), ("<up><f1>", b"\x1b[A\x1bOP"), ("<ctrl-c>", b"\x03"), ("1 <lt> 2", b"1 < 2")],
)
def test_keys(console: Console, guest: socket.socket, keys: str, sent: bytes) -> None:
    """Names in angle brackets are keys, the rest is text."""
    console.send_keys(keys)
    got = b""
    while len(got) < len(sent):
        got += guest.recv(100)
    assert got == sent


def test_panic(console: Console, guest: socket.socket) -> None:
    """A dead kernel is told from a slow one."""
    guest.sendall(b"[    3.1] Kernel panic - not syncing: Attempted to kill init!\r\n")
    with pytest.raises(GuestPanicError, match="Attempted to kill init"):
        console.wait_for_text("never", _SECONDS)


def test_nothing_comes(console: Console, guest: socket.socket) -> None:
    """The message shows what was there instead."""
    guest.sendall(b"something else")
    console.wait_for_text("something", _SECONDS)
    with pytest.raises(GuestTimeoutError, match="something else"):
        console.wait_for_text("never", 0.1)


def test_machine_ended(console: Console, guest: socket.socket) -> None:
    """A machine that is gone ends the waiting at once."""
    guest.shutdown(socket.SHUT_RDWR)
    with pytest.raises(GuestTimeoutError, match="ended"):
        console.wait_for_text("never", 60)
