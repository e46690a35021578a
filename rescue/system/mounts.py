"""Mounts that nobody else sees and that go away by themselves, whatever happens to this process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Final, Generic, TypeVar

from rescue.errors import ProgramError, RescueError, UnsupportedError
from rescue.system.process import outliving, running
from rescue.system.run import have, run

_T = TypeVar("_T")

_CLONE_NEWNS: Final = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


def unshare_mounts(propagation: str) -> None:
    """Give this thread, and what it starts, a mount namespace of its own: a copy of that which it had.

    With ``propagation`` "slave" nobody else sees what is mounted in it, and what others unmount is unmounted in it as well: a
    copy that stayed would keep their file system in use, and unwritten, after they were told that it is not. With "shared"
    nothing goes either way, and namespaces made of this one can be slaves of it. Raises RescueError without the right to do it.
    """
    if _libc.unshare(_CLONE_NEWNS):
        number = ctypes.get_errno()
        raise RescueError(f"File systems cannot be mounted apart from the others: {os.strerror(number)}.")
    if propagation == "shared":
        run(["mount", "--make-rprivate", "/"])
    run(["mount", f"--make-r{propagation}", "/"])


class _Private(Thread, Generic[_T]):
    """A thread in a mount namespace of its own. It is the namespace of every program that the thread starts."""

    def __init__(self, function: Callable[[], _T]) -> None:
        super().__init__(name="private-mounts")
        self._function = function
        self.answer: list[_T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            unshare_mounts("slave")
            with outliving():
                self.answer.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error


def in_private_mounts(function: Callable[[], _T]) -> _T:
    """Call ``function`` where its mounts are seen by nobody else. They end with it, and with this process, even when killed.

    It runs in a thread of its own. Raises what it raises; RescueError without the right to mount (root).
    """
    thread = _Private(function)
    thread.start()
    thread.join()
    if thread.error is not None:
        raise thread.error
    return thread.answer[0]


def unmount(folder: Path) -> None:
    """End a mount; one that is in use is taken out of sight, and ends with its last user. Raises ProgramError."""
    if os.path.ismount(folder) and run(["umount", "--", str(folder)], ok=(0, 32)).code:
        run(["umount", "--lazy", "--", str(folder)])


def _kernel_has(driver: str) -> bool:
    if have("modprobe"):
        run(["modprobe", "--quiet", driver], ok=range(256))
    return driver in Path("/proc/filesystems").read_text().split()


@contextmanager
def mounted(device: str, folder: Path, driver: str, options: Sequence[str]) -> Iterator[Path]:
    """A block device mounted at an existing folder; ``driver`` "ntfs-3g" is a program, others are the kernel's.

    Nothing on it is executed or taken for a device. Raises UnsupportedError when this system has no such driver, ProgramError.
    """
    joined = ",".join([*options, "nosuid", "nodev", "noexec"])
    if driver == "ntfs-3g":
        if not have("ntfs-3g"):
            raise UnsupportedError("ntfs-3g is not installed.")
        command = ["ntfs-3g", "-o", f"{joined},no_detach", device, str(folder)]
        with running(command, lambda: os.path.ismount(folder), end=lambda: unmount(folder)):
            yield folder
        return
    if not _kernel_has(driver):
        raise UnsupportedError(f"The kernel has no driver for {driver}.")
    done = run(["mount", "-t", driver, "-o", joined, "--", device, str(folder)], timeout=300, ok=range(256))
    if done.code:
        # The first line tells; the last one only says where to look for more.
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.code}"]
        raise ProgramError(said[0].removeprefix(f"mount: {folder}: "))
    try:
        yield folder
    finally:
        unmount(folder)
