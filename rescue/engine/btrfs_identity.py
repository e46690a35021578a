"""A btrfs under another UUID for a time: the kernel finds its devices by the UUID, and must never take one copy for the other.

Only the superblocks change, as by ``btrfstune -m``; that program cannot go back while the other copy is in the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import xxhash
from blake3 import blake3

from rescue.errors import FormatError, UnsupportedError
from rescue.filesystems.btrfs_checksums import checksum
from rescue.filesystems.btrfs_trees import SUPERBLOCK, SUPERBLOCK_SIZE, read_superblock
from rescue.system.blockfile import FileSink, FileSource
from rescue.system.run import have, run
from rescue.units import GIB, MIB

_PLACES: Final = (SUPERBLOCK, 64 * MIB, 256 * GIB)
_FSID: Final = slice(32, 48)
_INCOMPAT: Final = slice(188, 196)
_METADATA_UUID: Final = slice(571, 587)
_HAS_METADATA_UUID: Final = 1 << 10
_XXHASH: Final = 1


class _Names(msgspec.Struct, frozen=True):
    """What a superblock says of who it is."""

    fsid: bytes
    metadata_uuid: bytes
    apart: bool  # whether the two differ, and the second one is used in the trees

    @staticmethod
    def of(block: bytes | bytearray) -> _Names:
        incompat = int.from_bytes(block[_INCOMPAT], "little")
        return _Names(bytes(block[_FSID]), bytes(block[_METADATA_UUID]), bool(incompat & _HAS_METADATA_UUID))

    def put(self, block: bytearray) -> None:
        incompat = int.from_bytes(block[_INCOMPAT], "little") & ~_HAS_METADATA_UUID
        block[_FSID] = self.fsid
        block[_METADATA_UUID] = self.metadata_uuid
        block[_INCOMPAT] = (incompat | (_HAS_METADATA_UUID if self.apart else 0)).to_bytes(8, "little")


@contextmanager
def as_another(path: str) -> Iterator[None]:
    """The btrfs on ``path`` has a UUID of its own until the context ends, then it is again who it was.

    Raises FormatError when there is none, UnsupportedError for one over several devices.
    """
    with FileSource(path) as volume:
        superblock = read_superblock(volume)
        if superblock.num_devices != 1:
            raise UnsupportedError("It is a btrfs over several devices.")
        before = _Names.of(volume.pread(SUPERBLOCK_SIZE, SUPERBLOCK))
    if before.apart and before.fsid == _passing(before.fsid[:8], before.metadata_uuid):
        # The power was cut, or this program was killed, before it was again who it had been.
        before = _Names(before.metadata_uuid, bytes(16), apart=False)
    used = before.metadata_uuid if before.apart else before.fsid
    _rename(path, _Names(_passing(os.urandom(8), used), used, apart=True))
    try:
        yield
    finally:
        if have("btrfs"):
            # The kernel remembers every device of a btrfs that it saw.
            run(["btrfs", "device", "scan", "--forget", path], ok=range(256))
        _rename(path, before)


def _passing(chosen: bytes, used: bytes) -> bytes:
    """A UUID that tells that it is one for a time, by 8 bytes that are chosen."""
    return chosen + blake3(b"rescue: a name for a time" + chosen + used).digest(8)


def _rename(path: str, names: _Names) -> None:
    with FileSource(path) as volume, FileSink(path) as sink:
        # The kernel wrote through the device's cache of its own.
        size = volume.size
        for place in _PLACES:
            if place + SUPERBLOCK_SIZE > size:
                continue
            block = bytearray(volume.pread(SUPERBLOCK_SIZE, place))
            if block[64:72] != b"_BHRfS_M" or int.from_bytes(block[48:56], "little") != place:
                if place == SUPERBLOCK:
                    raise FormatError(f"{path} holds no btrfs.")
                continue
            names.put(block)
            right = _checksum(bytes(block))
            block[: len(right)] = right
            sink.pwrite(bytes(block), place)
        sink.flush()


def _checksum(block: bytes) -> bytes:
    kind = int.from_bytes(block[196:198], "little")
    if kind == _XXHASH:
        return xxhash.xxh64_intdigest(block[32:]).to_bytes(8, "little")
    right = checksum(block, kind)
    if right is None:
        raise UnsupportedError(f"btrfs: its checksums are of an unknown kind ({kind}).")
    return right
