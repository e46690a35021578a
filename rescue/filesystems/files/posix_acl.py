"""POSIX ACLs in the form of the attributes system.posix_acl_access and _default (linux/posix_acl_xattr.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

ACCESS: Final = "system.posix_acl_access"
DEFAULT: Final = "system.posix_acl_default"
USER: Final = 0x02
GROUP: Final = 0x08
_NO_ID: Final = 0xFFFFFFFF


def pack(entries: Iterable[tuple[int, int, int]]) -> bytes:
    """Entries of tag, permissions and id as the kernel gives and takes them."""
    parts = [struct.pack("<I", 2)]
    for tag, permissions, number in entries:
        parts.append(struct.pack("<HHI", tag, permissions, number if tag in (USER, GROUP) else _NO_ID))
    return b"".join(parts)
