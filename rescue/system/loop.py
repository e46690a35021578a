"""A range of a file or disk as a block device, for programs that take nothing else.

The kernel is asked directly (``linux/loop.h``): `losetup` attaches first and marks the device to go with its last user
afterwards. A process that is killed in between leaves the disk in use until the next start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rescue.errors import ProgramError

_GET_FREE: Final = 0x4C82
_CONFIGURE: Final = 0x4C0A  # since Linux 5.8
_READ_ONLY: Final = 1
_AUTOCLEAR: Final = 4
# struct loop_config: the file, the size of a sector, struct loop_info64, 64 reserved bytes.
_CONFIG: Final = struct.Struct("=II QQQQQ IIII 64s 64s 32s 16x 64x")
_TRIES: Final = 64  # others look for a free one, too


@contextmanager
def loop_device(path: str, *, offset: int, size: int, writable: bool = False, sector_size: int = 512) -> Iterator[str]:
    """Attach ``size`` bytes at ``offset`` (both multiples of 512) of ``path``, read-only unless ``writable``; give the node.

    It has sectors of ``sector_size`` bytes, and is detached when its last user ends, however that happens. Raises
    ProgramError: no loop device is left, or no right to use one.
    """
    mode = os.O_RDWR if writable else os.O_RDONLY
    try:
        backing = os.open(path, mode | os.O_CLOEXEC)
        try:
            node, held = _attached(backing, path, offset, size, mode, sector_size)
        finally:
            os.close(backing)
    except OSError as error:
        raise ProgramError(
            f"{path} cannot be attached as a loop device: {error.strerror}.", "That takes root, and the kernel's loop driver."
        ) from error
    try:
        yield node
    finally:
        os.close(held)


def _attached(backing: int, path: str, offset: int, size: int, mode: int, sector_size: int) -> tuple[str, int]:
    """A device that goes with its last user, and a descriptor that holds it. Raises OSError."""
    flags = _AUTOCLEAR | (0 if mode == os.O_RDWR else _READ_ONLY)
    name = os.fsencode(path)[:63]
    config = _CONFIG.pack(backing, sector_size, 0, 0, 0, offset, size, 0, 0, 0, flags, name, b"", b"")
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            node = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(node, mode | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, config)
                # Whoever closes a device that was opened for writing makes udev look at it: that is left to those who write.
                return node, os.open(node, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            finally:
                os.close(device)
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
