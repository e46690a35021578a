"""What libblkid finds on a Source that is no file: it is shown the places that it looks at."""

from __future__ import annotations

import os
from typing import Final

from rescue.filesystems.identify import identify
from rescue.model.source import Source
from rescue.model.volume import Identity
from rescue.units import KIB, MIB

# libblkid (util-linux 2.41) looks at the first 2 MiB for all that people use (the superblocks of reiser4 and zfs, at most
# 256 KiB; the copies of LUKS2's header are at 4 MiB at most) and at the last 1 MiB (RAID, ZFS, DRBD).
_HEAD: Final = 5 * MIB
_TAIL: Final = 2 * MIB
_NTFS: Final = b"NTFS    "
_MFT: Final = 64 * KIB


def identify_source(source: Source) -> Identity:
    """Identify what is on a Source, as :func:`~rescue.filesystems.identify.identify`. Raises ProgramError, SourceReadError."""
    if not source.size:
        return Identity()
    # A sparse file in memory: what is not copied reads as zeros.
    copy = os.memfd_create("probe")
    try:
        os.ftruncate(copy, source.size)
        head = _copy(source, copy, 0, _HEAD)
        _copy(source, copy, max(source.size - _TAIL, min(_HEAD, source.size)), _TAIL)
        if head[3:11] == _NTFS:
            _copy(source, copy, _mft(head), _MFT)
        return identify(f"/proc/self/fd/{copy}", 0, source.size, pass_fds=(copy,))
    finally:
        os.close(copy)


def _copy(source: Source, copy: int, offset: int, length: int) -> bytes:
    length = min(length, source.size - offset)
    if length <= 0:
        return b""
    data = source.pread(length, offset)
    os.pwrite(copy, data, offset)
    return data


def _mft(boot: bytes) -> int:
    """Where the file table of NTFS begins, which holds the label."""
    return int.from_bytes(boot[48:56], "little") * boot[13] * int.from_bytes(boot[11:13], "little")
