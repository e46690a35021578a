"""An nbdkit plugin (``nbdkit python volatile_disk.py backing=FILE pending=FILE``): a disk with a write cache.

What is written waits in ``pending`` until the next flush, and only then goes to ``backing``. When the server is killed, the test
decides which of the waiting blocks the disk had written already. Runs in the system's Python: the standard library only.
"""

import os
import struct

API_VERSION = 2
BLOCK = 4096
HEAD = struct.Struct("<Q")

files: dict[str, int] = {}
blocks: dict[int, bytes] = {}


def config(key: str, value: str) -> None:
    """Take one parameter."""
    files[key] = os.open(value, os.O_RDWR | os.O_CREAT, 0o600)


def open(readonly: bool) -> int:  # noqa: A001 - the name that nbdkit calls
    """Begin to serve."""
    os.ftruncate(files["pending"], 0)
    return 1


def get_size(handle: int) -> int:
    """Bytes."""
    return os.fstat(files["backing"]).st_size


def can_flush(handle: int) -> bool:
    """It is what this disk is about."""
    return True


def _block(number: int) -> bytes:
    return blocks.get(number) or os.pread(files["backing"], BLOCK, number * BLOCK)


def pread(handle: int, buffer: bytearray, offset: int, flags: int) -> None:
    """Read what was written last."""
    first, last = offset // BLOCK, (offset + len(buffer) - 1) // BLOCK
    data = b"".join(_block(number) for number in range(first, last + 1))
    start = offset - first * BLOCK
    buffer[:] = data[start : start + len(buffer)]


def pwrite(handle: int, buffer: bytes, offset: int, flags: int) -> None:
    """Keep it until a flush."""
    done = 0
    while done < len(buffer):
        number, start = divmod(offset + done, BLOCK)
        length = min(BLOCK - start, len(buffer) - done)
        data = bytearray(_block(number))
        data[start : start + length] = buffer[done : done + length]
        blocks[number] = bytes(data)
        os.write(files["pending"], HEAD.pack(number) + data)
        done += length


def flush(handle: int, flags: int) -> None:
    """Everything that was written before is on the disk now."""
    for number, data in blocks.items():
        os.pwrite(files["backing"], data, number * BLOCK)
    blocks.clear()
    os.ftruncate(files["pending"], 0)
    os.lseek(files["pending"], 0, os.SEEK_SET)
