"""The journal of a job: its events as JSON lines. It is the only thing that a face reads of a running job."""

from __future__ import annotations

import os
from pathlib import Path

from rescue.model import documents
from rescue.model.progress import Event


class JournalWriter:
    """Appends events; each line goes out whole, at once."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, event: Event) -> None:
        """Append one event."""
        os.write(self._fd, documents.encode(event) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class JournalReader:
    """Follows a journal from its beginning. The file may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Event]:
        """The events since the last call. A line that is not complete yet waits for the next one."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self._offset += end
        return [documents.decode(line, Event) for line in data[:end].splitlines()]
