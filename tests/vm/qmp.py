"""QEMU's control channel (QMP): one JSON object a line, answers in order, events in between."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from rescue.errors import RescueError


class QmpError(RescueError):
    """QEMU refused a command or stopped talking."""


class Qmp:
    """A connected control channel, past its greeting. All times are seconds of ``clock``."""

    def __init__(self, connection: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._connection = connection
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        self._message(self._clock() + 30)
        self.command("qmp_capabilities")

    def command(self, name: str, arguments: Mapping[str, object] | None = None, *, timeout: float = 30.0) -> Any:
        """Run one command and return its answer. Raises QmpError."""
        request = {"execute": name, "arguments": dict(arguments or {})}
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise QmpError("QEMU has ended.") from error
        deadline = self._clock() + timeout
        while True:
            message = self._message(deadline)
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise QmpError(f"QEMU refused {name}: {message['error'].get('desc')}")
            elif "return" in message:
                return message["return"]

    def wait_for_event(self, name: str, timeout: float) -> dict[str, Any]:
        """The first event of this name that was not asked for before. Raises QmpError."""
        deadline = self._clock() + timeout
        while True:
            for index, event in enumerate(self._events):
                if event["event"] == name:
                    return self._events.pop(index)
            message = self._message(deadline)
            if "event" in message:
                self._events.append(message)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._connection.settimeout(0.5)
            try:
                data = self._connection.recv(65536)
            except TimeoutError as error:
                if self._clock() < deadline:
                    continue
                raise QmpError("QEMU did not answer in time.") from error
            except OSError as error:
                raise QmpError("QEMU has ended.") from error
            if not data:
                raise QmpError("QEMU has ended.")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
