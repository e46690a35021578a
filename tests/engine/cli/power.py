"""A disk whose power can be cut: of what was not flushed, any part is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rescue.system.run import run
from tests.engine.cli import volatile_disk
from tests.engine.devices.loops import sparse


@dataclass
class VolatileDisk:
    """Lives in a folder; is a loop device while it has power."""

    folder: Path
    size: int

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.backing = self.folder / "backing.raw"
        if not self.backing.exists():
            sparse(self.backing, self.size)
        self.pending = self.folder / "pending"
        self._point = self.folder / "disk"
        self._point.touch()
        self._server: subprocess.Popen[bytes] | None = None

    @contextmanager
    def powered(self) -> Iterator[str]:
        """The device. At the end, what was not flushed waits in ``pending``: see :meth:`lose`."""
        pidfile = self.folder / "pid"
        pidfile.unlink(missing_ok=True)
        plugin = ["python", volatile_disk.__file__, f"backing={self.backing}", f"pending={self.pending}"]
        self._server = subprocess.Popen(
            ["nbdfuse", str(self._point), "--command", "nbdkit", "-s", "-P", str(pidfile), *plugin], stderr=subprocess.DEVNULL
        )
        device = ""
        try:
            deadline = time.monotonic() + 30
            while self._point.stat().st_size != self.size:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            device = run(["losetup", "--find", "--show", str(self._point)]).text.strip()
            yield device
        finally:
            self.cut()
            if device:
                run(["losetup", "--detach", device])
            run(["umount", "--lazy", str(self._point)], ok=(0, 1, 32))
            _wait_for_end(pidfile)

    def cut(self) -> None:
        """Power off, now."""
        if self._server is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait()
            self._server = None

    def lose(self, chance: random.Random) -> tuple[int, int]:
        """Decide which of the blocks that were not flushed the disk has written; how many waited, and how many are lost."""
        data = self.pending.read_bytes()
        record = volatile_disk.HEAD.size + volatile_disk.BLOCK
        latest: dict[int, bytes] = {}
        share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        waiting = len(data) // record
        lost = 0
        for start in range(0, waiting * record, record):
            if chance.random() < share:
                lost += 1
                continue
            (number,) = volatile_disk.HEAD.unpack_from(data, start)
            latest[number] = data[start + volatile_disk.HEAD.size : start + record]
        with self.backing.open("r+b") as file:
            for number, block in latest.items():
                file.seek(number * volatile_disk.BLOCK)
                file.write(block)
        self.pending.write_bytes(b"")
        return waiting, lost


def _wait_for_end(pidfile: Path) -> None:
    """Until the server has gone: it writes nothing any more then."""
    if not pidfile.exists():
        return
    pid = int(pidfile.read_text())
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def mounted_volatile(device: str, point: Path) -> Iterator[Path]:
    """The ext4 on it, which replays its journal now; also away when there is no power any more."""
    point.mkdir(exist_ok=True)
    run(["mount", "-t", "ext4", device, str(point)])
    try:
        yield point
    finally:
        run(["umount", str(point)], ok=(0, 32))
        run(["umount", "--lazy", str(point)], ok=(0, 1, 32))
