"""The disk in an image as a block device on a Unix socket, served by threads of this process (docs/architecture.md).

Not nbdkit's Python plugin: that runs the distribution's Python, which cannot load the compiled modules of another version,
brings 80 MB of cloud libraries into the rescue system, and would have to be given what opens an encrypted image.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Self

from rescue.errors import RescueError
from rescue.images.nbd.session import Blocks, Session
from rescue.model.source import Sink


class BlockServer:
    """Serves ``blocks`` at ``path`` as long as the context lasts; clients may write to ``sink``, if there is one.

    ``failed`` is told every error that a client only sees as EIO. Whoever can open ``path`` can read: it belongs into a private
    folder, with a name that is no longer than a socket's may be.
    """

    def __init__(
        self, blocks: Blocks, path: Path, failed: Callable[[RescueError], None], sink: Sink | None = None
    ) -> None:  # fmt: skip
        """Raises RescueError when the socket cannot be made."""
        self.path = path
        self._blocks = blocks
        self._failed = failed
        self._sink = sink
        self._lock = Lock()
        self._sessions: dict[socket.socket, Thread] = {}
        self._closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(os.fspath(path))
            self._listener.listen(16)
        except OSError as error:
            self._listener.close()
            raise RescueError(f"The socket {path} cannot be made: {error}.") from error
        self._thread = Thread(target=self._accept, name="nbd-server", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                thread = Thread(target=self._talk, args=(connection,), name="nbd-session", daemon=True)
                self._sessions[connection] = thread
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            Session(connection, self._blocks, self._failed, self._sink).run()
        finally:
            with self._lock:
                self._sessions.pop(connection, None)

    def close(self) -> None:
        """Hang up on all clients, wait for what is being read, remove the socket."""
        with self._lock:
            self._closed = True
            sessions = list(self._sessions.items())
        # A close alone does not wake a thread that waits in accept.
        for waiting in (self._listener, *(connection for connection, _ in sessions)):
            try:
                waiting.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._listener.close()
        self._thread.join()
        for _, thread in sessions:
            thread.join()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
