"""The disk in an image as what other programs can open: a socket, a file, a block device; writable over a throw-away overlay."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from rescue.errors import ProgramError, RescueError, TargetWriteError
from rescue.images.nbd.changed import Changed
from rescue.images.nbd.server import BlockServer
from rescue.images.nbd.session import Blocks
from rescue.system.loop import loop_device
from rescue.system.process import outliving, running
from rescue.system.run import have, run

_BLOCKS: Final = Path("/sys/block")
KEPT_IN: Final = Path("/var/tmp")


class Layer(msgspec.Struct, frozen=True):
    """A part of a disk that programs may write to, on the socket ``socket``. ``blocks`` are its bytes as they are by then."""

    socket: Path
    blocks: Changed


class Export:
    """A disk on the socket ``socket``, and parts of it in other forms. Made by :func:`exported`.

    ``error`` is what was wrong when a program was first told EIO, if one was; ``last_error`` the same of the last time.
    """

    def __init__(self, blocks: Blocks, folder: Path) -> None:
        self._blocks = blocks
        self._folder = folder
        self._count = 0
        self.socket = folder / "disk"  # speaks NBD, read-only; the export has no name
        self.error: RescueError | None = None
        self.last_error: RescueError | None = None

    def failed(self, error: RescueError) -> None:
        """Take note of an error that a program only sees as EIO. What an overlay has no room for is nothing wrong here."""
        if isinstance(error, TargetWriteError):
            return
        self.last_error = error
        if self.error is None:
            self.error = error

    @property
    def size(self) -> int:
        """Bytes."""
        return self._blocks.size

    def _name(self, kind: str) -> Path:
        self._count += 1
        return self._folder / f"{kind}-{self._count}"

    @contextmanager
    def overlay(self, start: int, end: int, *, folder: Path | None = None) -> Iterator[Layer]:
        """The bytes ``[start, end)`` of the disk on a socket of their own, writable: what is written is thrown away at the end.

        It is kept in a nameless file in ``folder``, or where such files are kept. Raises ProgramError, RescueError.
        """
        socket = self._name("overlay")
        with (
            Changed(self._blocks, start, end, folder or KEPT_IN) as changed,
            BlockServer(changed, socket, self.failed, changed),
        ):
            yield Layer(socket, changed)

    @contextmanager
    def as_volume(self, layer: Layer) -> Iterator[str]:
        """The path of a writable block device, without root of a file. Raises ProgramError."""
        if os.geteuid() == 0:
            with self.as_device(layer.socket, layer.blocks.size) as node:
                yield node
        else:
            with self.as_file(layer.socket) as file:
                yield str(file)

    @contextmanager
    def as_file(self, socket: Path) -> Iterator[Path]:
        """What is on ``socket`` as a file, by FUSE. Works without root. Raises ProgramError."""
        with self._fuse(socket) as file, outliving(mounts=[file.parent]):
            yield file

    @contextmanager
    def _fuse(self, socket: Path) -> Iterator[Path]:
        folder = self._name("file")
        folder.mkdir()
        pid = folder.with_name(f"{folder.name}.pid")
        file = folder / "disk"
        unmount = ["umount", str(folder)] if os.geteuid() == 0 else ["fusermount3", "-u", str(folder)]

        def end() -> None:
            try:
                run(unmount)
            except ProgramError:
                # Something still holds it, or it is gone already.
                run(["fusermount3", "-uz", str(folder)], ok=(0, 1))
                raise

        with running(["nbdfuse", "--pidfile", str(pid), str(file), "--unix", str(socket)], lambda: _written(pid), end=end):
            yield file

    @contextmanager
    def as_device(self, socket: Path, size: int) -> Iterator[str]:
        """What is on ``socket`` as a writable block device: by a loop device over FUSE, else the kernel's nbd.

        Needs root. Raises ProgramError.
        """
        with ExitStack() as stack:
            # The kernel's nbd was seen to wait for ever for an answer, in a slow virtual machine.
            node = "" if have("nbdfuse") or not _kernel_has_nbd() else _attach_nbd(socket, stack)
            if not node:
                file = stack.enter_context(self._fuse(socket))
                node = stack.enter_context(loop_device(str(file), offset=0, size=size, writable=True))
                device = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, device)
                stack.enter_context(outliving(device, mounts=[file.parent]))
            yield node


def _written(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _kernel_has_nbd() -> bool:
    if not have("nbd-client"):
        return False
    if not (_BLOCKS / "nbd0").exists() and have("modprobe"):
        run(["modprobe", "--quiet", "nbd"], ok=(0, 1))
    return (_BLOCKS / "nbd0").exists()


def _attach_nbd(socket: Path, stack: ExitStack) -> str:
    """The node of an nbd device that shows what is on ``socket`` as long as ``stack`` lasts; "" when none is free."""
    with ExitStack() as choosing:
        # A device counts as taken only when its client is connected: two that choose at once would take the same.
        lock = os.open(_BLOCKS, os.O_RDONLY | os.O_CLOEXEC)
        choosing.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for block in sorted(_BLOCKS.glob("nbd*"), key=lambda path: int(path.name.removeprefix("nbd"))):
            if not _is_attached(block) and not _size(block):
                node = f"/dev/{block.name}"
                # By ioctl the connection lives in the client and ends with it, also when we are killed. One that was made
                # by netlink would stay with a device that answers nothing.
                command = ["nbd-client", "-nonetlink", "-nofork", "-unix", str(socket), node, "-name", "", "-timeout", "60"]
                stack.enter_context(running(command, partial(_shows, block)))
                return node
    return ""


def _is_attached(block: Path) -> bool:
    return (block / "pid").exists()


def _shows(block: Path) -> bool:
    return _is_attached(block) and _size(block) > 0


def _size(block: Path) -> int:
    return int((block / "size").read_text())


@contextmanager
def exported(blocks: Blocks) -> Iterator[Export]:
    """Serve ``blocks`` (an ImageView) as long as the context lasts. Raises RescueError."""
    folder = Path(tempfile.mkdtemp(prefix="rescue-"))
    try:
        export = Export(blocks, folder)
        with BlockServer(blocks, export.socket, export.failed):
            yield export
    finally:
        shutil.rmtree(folder, ignore_errors=True)
